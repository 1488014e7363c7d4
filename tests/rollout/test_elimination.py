"""What is taken back explains less than it costs; what is left explains more."""

from __future__ import annotations

import itertools

import pytest
import torch
from exact import TINY, make_air, random_images
from torch import Tensor

from attend_infer_repeat import AIR
from attend_infer_repeat.config import ModelConfig, replace
from attend_infer_repeat.rollout import Rollout
from attend_infer_repeat.rollout.elimination import _left, counts_of_those, objects_that_pay
from attend_infer_repeat.rollout.terms import count_terms

CONFIGS = [
    replace(TINY, elimination=True, likelihood_sd=0.5, z_pres_prior=0.2),
    replace(
        TINY, elimination=True, guide="memoryless", unbounded=True, step_limit=4, z_pres_prior=0.05
    ),
    replace(TINY, elimination=True, likelihood_sd=0.5, channels=3, guide="memoryless"),
]


def worth(air: AIR, rollout: Rollout, images: Tensor, row: int, kept: tuple[int, ...]) -> float:
    """Return log p(x | kept objects) less what they cost, from drawings made anew."""
    terms = count_terms(air.model, rollout)
    kl = (terms.kl_where + terms.kl_what).diff(dim=-1)[row]
    residual = images[row] - air.model.background(rollout.z_background)[row]
    for k in kept:
        residual = residual - air.model.draw(rollout.z_where[row, k], rollout.z_what[row, k])
    log_ratio = float(air.model.count_prior.law.log_ratio())
    return float(air.model.log_likelihood(residual[None])[0] - kl[list(kept)].sum()) + (
        log_ratio * len(kept)
    )


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_no_object_that_is_left_would_be_better_away(config: ModelConfig) -> None:
    air, images = make_air(config, gain=3), random_images(30, config)
    rollout = air.rollout(images, sample=False)
    counts = torch.full((30,), rollout.num_steps)
    left = objects_that_pay(air.model, rollout, counts)
    assert 0 < left.sum() < left.numel()
    for row in range(30):
        kept = tuple(left[row].nonzero()[:, 0].tolist())
        best = worth(air, rollout, images, row, kept)
        assert best >= worth(air, rollout, images, row, tuple(range(rollout.num_steps))) - 1e-9
        for fewer in itertools.combinations(kept, max(len(kept) - 1, 0)):
            assert best >= worth(air, rollout, images, row, fewer) - 1e-9


def test_of_two_copies_of_an_object_one_is_taken_back() -> None:
    model, y = make_air(TINY).model, torch.rand(12)
    drawn = torch.stack((y, y, torch.zeros(12)))
    costs = torch.full((3,), 0.01)
    one, other, empty = _left(model, drawn, -y, costs).tolist()
    assert one != other
    assert not empty
    assert _left(model, drawn, torch.zeros(12), costs).tolist() == [True, True, False]
    assert not _left(model, drawn, torch.zeros(12), costs + 1e9).any()


def test_numbers_of_objects_that_are_left_have_the_probability_of_those_found() -> None:
    probs = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(2, -1)
    left = torch.tensor([[True, False, True], [True, True, True]])
    counts = torch.tensor([2, 3])  # of the first image the last step found nothing
    expected = torch.tensor([[0.1, 0.5, 0.4, 0.0], [0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(counts_of_those(probs, left, counts), expected)


@pytest.mark.parametrize("config", CONFIGS)
def test_scenes_hold_what_is_left_and_nothing_else_changes(config: ModelConfig) -> None:
    air, images = make_air(config, gain=3), random_images(40, config)
    with torch.no_grad():
        rollout = air.rollout(images, sample=False)
        before, after = air.scenes_along(images, rollout), air.scenes_of(images, rollout)
        left = objects_that_pay(air.model, rollout, before.counts)
    changed = left.sum(dim=1) < before.counts
    assert 0 < changed.sum() < 40
    for own, other in zip(before.fields(), after.fields(), strict=True):
        assert torch.equal(own[~changed], other[~changed]) or own.isnan().any()
    assert (after.counts == after.count_probs.argmax(dim=1)).all()
    assert (after.counts <= before.counts).all()
    torch.testing.assert_close(after.count_probs.sum(dim=1), torch.ones(40).float())
    for row in changed.nonzero()[:, 0].tolist():
        scene = after[row]
        kept = left[row].nonzero()[: scene.count, 0]
        assert torch.equal(after.z_where[row, : scene.count], rollout.z_where[row, kept].float())
        drawn = air.model.draw(rollout.z_where[row, kept], rollout.z_what[row, kept]).sum(dim=0)
        behind = images[row] - rollout.residual(torch.zeros_like(before.counts))[row]
        torch.testing.assert_close(scene.reconstruction, (behind + drawn).float())
        assert not after.boxes[row, : scene.count].isnan().any()
        assert after.boxes[row, scene.count :].isnan().all()


def test_nothing_is_taken_back_where_objects_hide_one_another() -> None:
    config = replace(TINY, elimination=True, composition="over", z_pres_prior=0.01)
    air, images = make_air(config, gain=3), random_images(20, config)
    plain = make_air(replace(config, elimination=False), gain=3)
    assert (air.infer(images).counts == plain.infer(images).counts).all()
