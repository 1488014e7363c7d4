"""The exponential moving average of the weights, against its definition."""

from __future__ import annotations

import pytest
import torch
from exact import make_air

from attend_infer_repeat.air import AIR
from attend_infer_repeat.training.averaging import ExponentialMovingAverage


def set_weights(air: AIR, value: float) -> None:
    with torch.no_grad():
        for parameter in air.parameters():
            parameter.fill_(value)


def walk(decay: float, values: list[float], first_step: int = 0) -> float:
    """Return the mean of weights that take these values, one a step, after starting at 7."""
    air = make_air()
    set_weights(air, 7.0)
    mean = ExponentialMovingAverage(air, decay)
    for step, value in enumerate(values, first_step):
        set_weights(air, value)
        mean.update(step)
    (weight,) = {weight.item() for p in mean.air.parameters() for weight in p.unique()}
    return weight


def test_without_decay_the_mean_is_the_last_weights() -> None:
    assert walk(0.0, [1.0, 5.0, -2.0]) == -2.0


def test_after_many_steps_the_mean_is_exponential() -> None:
    expected = 0.9 * (0.9 * 7.0 + 0.1 * 1.0) + 0.1 * 3.0
    assert walk(0.9, [1.0, 3.0], first_step=1_000) == pytest.approx(expected)


def test_the_first_weights_are_soon_forgotten() -> None:
    """Of a decay of 0.99 alone, 82% of them would still be in the mean."""
    assert walk(0.99, [0.0] * 20) < 7.0 * 0.001


def test_buffers_are_those_of_the_source() -> None:
    air = make_air()
    mean = ExponentialMovingAverage(air, 0.9)
    air.model.count_prior.success.fill_(0.125)
    mean.update(0)
    assert mean.air.model.count_prior.success.item() == 0.125


def test_the_mean_draws_with_its_own_decoder_and_trains_nothing() -> None:
    """A copied guide must not look at what the source's decoder draws."""
    air = make_air()
    mean = ExponentialMovingAverage(air, 0.9)
    images = torch.rand(3, 1, 8, 8)
    before = mean.air.rollout(images, sample=False).residual(torch.tensor([3, 3, 3]))
    set_weights(air, 0.1)
    after = mean.air.rollout(images, sample=False).residual(torch.tensor([3, 3, 3]))
    assert torch.equal(before, after)
    assert not any(p.requires_grad for p in mean.air.parameters())
    assert all(p.requires_grad for p in air.parameters())
