"""Importance weighting against scenes of known evidence."""

from __future__ import annotations

import torch
from exact import (
    assert_mean,
    exact_posterior_scene,
    fix_output,
    linear_scene,
    log_evidence,
    make_air,
    random_images,
    scale_output,
    scenes_from,
)

from attend_infer_repeat.importance import (
    importance_log_weights,
    importance_weighted_bound,
    importance_weighted_count_probs,
)
from attend_infer_repeat.objectives import count_terms


@torch.no_grad()
def test_with_the_exact_posterior_every_walk_weighs_the_exact_evidence() -> None:
    air, image = exact_posterior_scene()
    log_weights = importance_log_weights(air, image.expand(50, -1, -1, -1), 1)
    evidence = log_evidence(air, image).expand(50)
    # The poses' own width, 1e-8, moves log densities of 100 nats per unit of pose: 1e-5 is ample.
    torch.testing.assert_close(log_weights.logsumexp(dim=(0, 2)), evidence, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_mean_weight_of_walks_from_the_prior_is_the_evidence() -> None:
    air = linear_scene(steps=2)
    what_dim = air.config.encoder_latent_size
    standard = torch.cat((torch.zeros(what_dim), scale_output(torch.ones(what_dim))))
    fix_output(air.guide.encode.layers, standard)
    for image in scenes_from(air, 2).split(1):
        repeated = image.expand(100_000, -1, -1, -1)
        weights = importance_log_weights(air, repeated, 1).logsumexp(dim=(0, 2))
        assert_mean((weights - log_evidence(air, image)).exp(), 1.0)


@torch.no_grad()
def test_more_samples_raise_the_bound_from_the_elbo_towards_the_evidence() -> None:
    air = linear_scene(steps=2)
    images = scenes_from(air, 4)
    repeated = images.repeat(500, 1, 1, 1)
    bounds = [
        importance_weighted_bound(importance_log_weights(air, repeated, k)).mean()
        for k in (1, 5, 50)
    ]
    elbo, evidence = count_terms(air, repeated).elbo.mean(), log_evidence(air, images).mean()
    assert elbo < bounds[0] < bounds[1] < bounds[2] < evidence
    assert evidence - bounds[2] < (evidence - elbo) / 2


@torch.no_grad()
def test_count_probs_are_the_shares_of_the_counts_in_the_weights() -> None:
    air = make_air(gain=2)
    images = random_images(6)
    log_weights = importance_log_weights(air, images, 20)
    probs = importance_weighted_count_probs(log_weights)
    torch.testing.assert_close(probs.sum(dim=-1), torch.ones(6))
    shares = log_weights.exp().sum(dim=0)
    torch.testing.assert_close(probs, shares / shares.sum(dim=-1, keepdim=True))
