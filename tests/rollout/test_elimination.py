"""What is taken back explains less than it costs, but only because of the others."""

from __future__ import annotations

import itertools

import pytest
import torch
from exact import TINY, make_air, random_images
from torch import Tensor

from attend_infer_repeat.config import ModelConfig, replace
from attend_infer_repeat.model import SceneModel
from attend_infer_repeat.rollout.elimination import those_that_pay

CONFIGS = [TINY, replace(TINY, likelihood_sd=0.5, channels=3)]


def worth(model: SceneModel, residual: Tensor, drawn: Tensor, costs: Tensor, back: Tensor) -> float:
    """Return log p(x | what is left), less what that costs."""
    without = (residual + drawn[back].sum(dim=0)).view(model.config.channels, -1, 1)
    return float(model.log_likelihood(without) - costs[~back].sum())


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_no_object_that_is_left_would_be_better_away_but_those_that_pay_not_even_alone(
    config: ModelConfig,
) -> None:
    model, images = make_air(config).model, random_images(40, config)
    num_left = num_back = num_poor = 0
    for image in images:
        residual = image.flatten()
        drawn = torch.rand(3, len(residual)) * torch.rand(3, 1)
        residual = residual - drawn.sum(dim=0) * torch.rand(())
        costs = 5 * torch.rand(3)
        left = those_that_pay(model, drawn, residual, costs)
        best = worth(model, residual, drawn, costs, ~left)
        assert best >= worth(model, residual, drawn, costs, torch.zeros_like(left)) - 1e-9
        nothing = worth(model, residual, drawn, costs, torch.ones_like(left))
        for t in range(3):
            alone = torch.arange(3) == t
            pays_alone = worth(model, residual, drawn, costs, ~alone) >= nothing
            assert left[t] or pays_alone
            gains_away = worth(model, residual, drawn, costs, ~left | alone) > best + 1e-9
            if left[t] and gains_away:
                assert not pays_alone
                num_poor += 1
        num_left += int(left.sum())
        num_back += int((~left).sum())
    assert num_left > num_poor > 0
    assert num_back > 0


@torch.no_grad()
def test_of_two_copies_of_an_object_one_is_taken_back() -> None:
    model, y = make_air(TINY).model, torch.rand(12)
    drawn = torch.stack((y, y, torch.zeros(12)))
    costs = torch.full((3,), 0.01)
    one, other, empty = those_that_pay(model, drawn, -y, costs).tolist()
    assert one != other
    assert empty  # the others do not explain it
    assert those_that_pay(model, drawn, torch.zeros(12), costs).all()
    assert those_that_pay(model, drawn, -y, costs + 1e9).all()


@torch.no_grad()
def test_what_does_not_pay_alone_does_not_change_what_becomes_of_the_others() -> None:
    """A small and dim object, far from the others."""
    model, y = make_air(TINY).model, torch.rand(6)
    bright = torch.cat((y, torch.zeros(6)))
    dim = torch.cat((torch.zeros(6), 0.01 * y))
    costs = torch.full((3,), 0.5)
    one, other, poor = those_that_pay(
        model, torch.stack((bright, bright, dim)), -bright, costs
    ).tolist()
    assert one != other
    assert poor


def test_the_order_of_objects_does_not_matter() -> None:
    model, y = make_air(TINY).model, torch.rand(4, 12)
    residual, costs = torch.rand(12) - 0.5, torch.rand(4)
    left = those_that_pay(model, y, residual, costs)
    for order in map(list, itertools.permutations(range(4))):
        assert torch.equal(those_that_pay(model, y[order], residual, costs[order]), left[order])
