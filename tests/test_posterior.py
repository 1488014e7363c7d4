"""The posterior by importance weighting: neither batches nor neighbors change it."""

from __future__ import annotations

import pytest
import torch
from exact import make_air, random_images

from attend_infer_repeat.air import AIR
from attend_infer_repeat.posterior import CountPosterior, count_posterior, picture_noise
from attend_infer_repeat.rollout.importance import importance_log_weights, importance_weighted_bound

SAMPLES = 7


@pytest.fixture
def air() -> AIR:
    return make_air(gain=3)


def assert_close(one: CountPosterior, other: CountPosterior) -> None:
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second)


def test_a_picture_has_the_same_posterior_alone_as_among_others(air: AIR) -> None:
    canvases = (255 * random_images(5)).round().byte()
    noises = [picture_noise(air, canvas.numpy(), SAMPLES, seed=3) for canvas in canvases]
    noise = torch.stack(noises, dim=1)
    together = count_posterior(air, canvases, SAMPLES, noise=noise)
    for size in (1, 2):
        apart = count_posterior(air, canvases, SAMPLES, noise=noise, batch_size=size)
        assert_close(apart, together)


def test_it_is_what_the_weights_of_its_samples_say(air: AIR) -> None:
    images = random_images(4)
    noise = torch.stack([picture_noise(air, i.numpy(), SAMPLES, 0) for i in images], dim=1)
    posterior = count_posterior(air, images, SAMPLES, noise=noise)
    with torch.no_grad():
        log_weights = importance_log_weights(air.guide, images, SAMPLES, noise)
    torch.testing.assert_close(posterior.bound, importance_weighted_bound(log_weights).double())
    torch.testing.assert_close(posterior.count_probs.sum(dim=1), torch.ones(4))
    sizes = posterior.effective_sample_size
    assert ((sizes >= 1 - 1e-9) & (sizes <= SAMPLES + 1e-9)).all()
    weights = log_weights.logsumexp(dim=-1).softmax(dim=0)
    torch.testing.assert_close(sizes, 1 / weights.square().sum(dim=0))


def test_a_seed_decides_the_samples_and_the_global_generator_stays(air: AIR) -> None:
    images = random_images(4)
    state = torch.get_rng_state()
    first, again = (count_posterior(air, images, SAMPLES, seed=1) for _ in range(2))
    assert_close(first, again)
    assert not torch.equal(first.bound, count_posterior(air, images, SAMPLES, seed=2).bound)
    assert torch.equal(torch.get_rng_state(), state)
