"""What is taken back explains less than it costs; what is left explains more."""

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
def test_no_object_that_is_left_would_be_better_away(config: ModelConfig) -> None:
    model, images = make_air(config).model, random_images(30, config)
    num_left = 0
    for image in images:
        residual = image.flatten()
        drawn = torch.rand(3, len(residual)) * torch.rand(3, 1)
        residual = residual - drawn.sum(dim=0) * torch.rand(())
        costs = 5 * torch.rand(3)
        left = those_that_pay(model, drawn, residual, costs)
        num_left += int(left.sum())
        best = worth(model, residual, drawn, costs, ~left)
        assert best >= worth(model, residual, drawn, costs, torch.zeros_like(left)) - 1e-9
        for more in left.nonzero()[:, 0].tolist():
            back = ~left
            back[more] = True
            assert best >= worth(model, residual, drawn, costs, back) - 1e-9
    assert 0 < num_left < 90


@torch.no_grad()
def test_of_two_copies_of_an_object_one_is_taken_back() -> None:
    model, y = make_air(TINY).model, torch.rand(12)
    drawn = torch.stack((y, y, torch.zeros(12)))
    costs = torch.full((3,), 0.01)
    one, other, empty = those_that_pay(model, drawn, -y, costs).tolist()
    assert one != other
    assert not empty
    assert those_that_pay(model, drawn, torch.zeros(12), costs).tolist() == [True, True, False]
    assert not those_that_pay(model, drawn, torch.zeros(12), costs + 1e9).any()


def test_the_order_of_objects_does_not_matter() -> None:
    model, y = make_air(TINY).model, torch.rand(4, 12)
    residual, costs = torch.rand(12) - 0.5, torch.rand(4)
    left = those_that_pay(model, y, residual, costs)
    for order in map(list, itertools.permutations(range(4))):
        assert torch.equal(those_that_pay(model, y[order], residual, costs[order]), left[order])
