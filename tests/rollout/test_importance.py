"""Importance weighting against scenes of known evidence."""

from __future__ import annotations

import pytest
import torch
from exact import (
    TINY,
    assert_mean,
    drawn_terms,
    exact_posterior_scene,
    fix_output,
    linear_scene,
    log_evidence,
    make_air,
    random_images,
    scale_output,
    scenes_from,
)

from attend_infer_repeat.config import replace
from attend_infer_repeat.distributions import gaussian
from attend_infer_repeat.errors import ShapeError
from attend_infer_repeat.rollout.importance import (
    effective_sample_size,
    importance_log_weights,
    importance_weighted_bound,
    importance_weighted_count_probs,
    rollout_log_weights,
)


@torch.no_grad()
def test_with_the_exact_posterior_every_walk_weighs_the_exact_evidence() -> None:
    air, image = exact_posterior_scene()
    log_weights = importance_log_weights(air.guide, image.expand(50, -1, -1, -1), 1)
    evidence = log_evidence(air, image).expand(50)
    # The poses' own width, 1e-8, moves log densities of 100 nats per unit of pose: 1e-5 is ample.
    torch.testing.assert_close(log_weights.logsumexp(dim=(0, 2)), evidence, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_mean_weight_of_walks_from_the_prior_is_the_evidence() -> None:
    air = linear_scene(steps=2)
    what_dim = air.config.appearance.encoder_latent_size
    standard = torch.cat((torch.zeros(what_dim), scale_output(torch.ones(what_dim))))
    fix_output(air.guide.reading.encoder.layers, standard)
    for image in scenes_from(air, 2).split(1):
        repeated = image.expand(100_000, -1, -1, -1)
        weights = importance_log_weights(air.guide, repeated, 1).logsumexp(dim=(0, 2))
        assert_mean((weights - log_evidence(air, image)).exp(), 1.0)


@torch.no_grad()
def test_more_samples_raise_the_bound_from_the_elbo_towards_the_evidence() -> None:
    air = linear_scene(steps=2)
    images = scenes_from(air, 4)
    repeated = images.repeat(500, 1, 1, 1)
    bounds = [
        importance_weighted_bound(importance_log_weights(air.guide, repeated, k)).mean()
        for k in (1, 5, 50)
    ]
    elbo, evidence = drawn_terms(air, repeated).elbo.mean(), log_evidence(air, images).mean()
    assert elbo < bounds[0] < bounds[1] < bounds[2] < evidence
    assert evidence - bounds[2] < (evidence - elbo) / 2


@torch.no_grad()
def test_count_probs_are_the_shares_of_the_counts_in_the_weights() -> None:
    air = make_air(gain=2)
    images = random_images(6)
    log_weights = importance_log_weights(air.guide, images, 20)
    probs = importance_weighted_count_probs(log_weights)
    torch.testing.assert_close(probs.sum(dim=-1), torch.ones(6))
    shares = log_weights.exp().sum(dim=0)
    torch.testing.assert_close(probs, shares / shares.sum(dim=-1, keepdim=True))


@torch.no_grad()
def test_given_noise_gives_the_weights_that_the_same_noise_drawn_inside_gives() -> None:
    air, images = make_air(gain=2), random_images(4)
    torch.manual_seed(3)
    noise = torch.stack([air.noise(4) for _ in range(5)])
    given = importance_log_weights(air.guide, images, 5, noise)
    torch.manual_seed(3)
    torch.testing.assert_close(given, importance_log_weights(air.guide, images, 5), rtol=0, atol=0)
    alone = importance_log_weights(air.guide, images[2:3], 5, noise[:, 2:3])
    torch.testing.assert_close(alone, given[:, 2:3])


@torch.no_grad()
def test_weights_are_those_of_the_densities_where_objects_are_of_many_sizes() -> None:
    """The Pyro programs' own; also in rollouts that some images have left."""
    config = replace(TINY, guide="memoryless", size_range=4.0, unbounded=True, step_limit=4)
    air = make_air(config, gain=2)
    images = random_images(30, config)
    rollout = air.rollout(images, counts=1 + torch.arange(30) % 4)
    weights = rollout_log_weights(air.model, rollout)
    assert not weights.isnan().any()
    left = weights[:, 1:] > -torch.inf
    assert left[:, 0].any()
    assert not left.all()
    law, where, what = air.model.poses.law, rollout.z_where[:, 0], rollout.z_what[:, 0]
    own = [
        gaussian(q.loc[:, 0], q.scale[:, 0]) for q in (rollout.z_where_dist, rollout.z_what_dist)
    ]
    p = law(air.model.z_where_dist()).log_prob(where) + air.model.z_what_dist().log_prob(what).sum(
        1
    )
    q = law(own[0]).log_prob(where) + own[1].log_prob(what).sum(dim=1)
    one = rollout.log_likelihood[:, 1] + air.model.count_prior.log_prob()[1] + p - q
    torch.testing.assert_close(weights[left[:, 0], 1], one[left[:, 0]])


@pytest.mark.parametrize("axis", range(4))
def test_noise_for_other_walks_images_steps_or_codes_is_refused(axis: int) -> None:
    air, images = make_air(), random_images(4)
    noise = torch.stack([air.noise(4) for _ in range(5)])
    short = noise.narrow(axis, 0, noise.shape[axis] - 1)
    with pytest.raises(ShapeError, match=r"\(5, 4, 3, 6\)"):
        importance_log_weights(air.guide, images, 5, short)


@pytest.mark.parametrize("log_weight", [0.0, -2_000.0, 2_000.0])  # exp of which is 1, 0, inf
@pytest.mark.parametrize("num_samples", [1, 2, 50])
def test_equal_weights_count_in_full(num_samples: int, log_weight: float) -> None:
    log_weights = torch.full((num_samples, 3, 4), log_weight)
    expected = torch.full((3,), float(num_samples))
    torch.testing.assert_close(effective_sample_size(log_weights), expected)


def test_one_dominant_walk_counts_as_one() -> None:
    log_weights = torch.zeros(50, 3, 4)
    log_weights[7] = 100.0
    torch.testing.assert_close(effective_sample_size(log_weights), torch.ones(3))


def test_effective_sample_size_is_of_the_weights_summed_over_the_counts() -> None:
    # Image 0: W = (1 + 1, 4 + 0); image 1: W = (3 + 1, 2 + 2).
    weights = torch.tensor([[[1.0, 1.0], [3.0, 1.0]], [[4.0, 0.0], [2.0, 2.0]]])
    expected = torch.tensor([(2 + 4) ** 2 / (2**2 + 4**2), 2.0])
    torch.testing.assert_close(effective_sample_size(weights.log()), expected)


def test_a_common_factor_changes_no_effective_sample_size() -> None:
    log_weights = 3 * torch.randn(20, 5, 4)
    scaled = log_weights + 1_000 * torch.randn(5)[:, None]
    torch.testing.assert_close(effective_sample_size(scaled), effective_sample_size(log_weights))
