"""A look for many sizes proposes windows about as large as what is there, large ones first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attend_infer_repeat.config import ModelConfig
from attend_infer_repeat.guide.sizes import SoughtSizes
from attend_infer_repeat.model import Canvas, SceneModel
from attend_infer_repeat.spatial.places import Place

SIDE = 96
CONFIG = ModelConfig(
    canvas_size=(SIDE, SIDE),
    scale_prior_mean=8.0,
    size_range=8.0,
    guide="memoryless",
    window_size=6,
    inhibition=0.8,
)


def make_look(config: ModelConfig = CONFIG) -> SoughtSizes:
    return SoughtSizes(config, SceneModel(config).z_where_dist())


def disc(x: float, y: float, radius: float) -> Tensor:
    """Return an image of a disc, (1, 1, SIDE, SIDE); the unit is pixels."""
    at = torch.arange(SIDE) + 0.5
    return ((at - x).square() + (at[:, None] - y).square() < radius**2).double()[None, None]


def square(x: float, y: float, radius: float) -> Tensor:
    at = torch.arange(SIDE) + 0.5
    return (((at - x).abs() < radius) & ((at[:, None] - y).abs() < radius)).double()[None, None]


def proposed(look: SoughtSizes, image: Tensor) -> tuple[float, float, float]:
    """Return center and half side of the window that is proposed, in pixels."""
    pose, glimpse = look(Canvas(image), Canvas(image), look.scores(image))
    assert glimpse.shape == (1, look.glimpse_size)
    s, x, y = pose[0].tolist()
    return (1 - x / s) * SIDE / 2, (1 - y / s) * SIDE / 2, SIDE / 2 / s


@pytest.mark.parametrize("radius", [2.5, 4.0, 7.0, 11.0, 15.0])
@pytest.mark.parametrize("shape", [disc, square])
def test_the_window_is_about_as_large_as_what_it_shows(
    shape: Callable[[float, float, float], Tensor], radius: float
) -> None:
    look = make_look()
    for _ in range(10):
        x, y = (radius + (SIDE - 2 * radius) * torch.rand(2)).tolist()
        found_x, found_y, half = proposed(look, shape(x, y, radius))
        assert 0.7 * radius < half < 1.7 * radius
        assert abs(found_x - x) < 0.5 * radius + 1
        assert abs(found_y - y) < 0.5 * radius + 1


def test_of_objects_equally_bright_the_large_one_comes_first() -> None:
    look = make_look()
    for _ in range(10):
        small = disc(*(8 + 25 * torch.rand(2)).tolist(), 4)
        large = disc(*(58 + 15 * torch.rand(2)).tolist(), 14)
        assert proposed(look, small + large)[2] > 9
        assert proposed(look, small + 0.2 * large)[2] < 9


def test_what_is_even_draws_no_look_even_at_the_border() -> None:
    look = make_look()
    even = look.scores(torch.full((1, 1, SIDE, SIDE), 0.7))
    assert (even < 0.01).all()
    for sign in (1, -1):  # a dim dot, wherever it lies
        noise = 0.3 * torch.rand(1, 1, SIDE, SIDE)
        x = SIDE / 2 + sign * (SIDE / 2 - 6)
        found_x, found_y, half = proposed(look, noise + 0.4 * disc(x, x, 5))
        assert abs(found_x - x) < 5
        assert abs(found_y - x) < 5
        assert 3 < half < 10


def test_scores_follow_what_changes_on_patches() -> None:
    look, image, other = make_look(), torch.rand(3, 2, SIDE, SIDE), torch.rand(3, 2, SIDE, SIDE)
    corner = torch.tensor([[0, 0], [40, 17], [SIDE - 20, SIDE - 12]])
    changed, change = image.clone(), torch.zeros(3, 20, 12)
    for i, (top, left) in enumerate(corner.tolist()):
        part = (i, slice(None), slice(top, top + 20), slice(left, left + 12))
        changed[part] = other[part]
        change[i] = (changed[part].square() - image[part].square()).sum(dim=0)
    found = look.rescored(look.scores(image), change, Place(corner, (20, 12)))
    torch.testing.assert_close(found, look.scores(changed))


def test_what_was_looked_at_counts_less_but_not_what_is_much_smaller_there() -> None:
    look = make_look()
    image = disc(48, 48, 12)
    seen, before = look.unseen(look.scores(image)), None
    for _ in range(4):
        scores = look.inhibited(look.scores(image), seen)
        pose = look(Canvas(image), Canvas(image), scores)[0]
        if before is not None:
            assert not torch.equal(pose, before)
        seen, before = look.seen_at(seen, pose), pose
    assert ((seen >= 0) & (seen <= 1)).all()
    smallest = look.poses[:, 0] > 4 * before[0, 0]
    assert (look.unseen(seen)[:, smallest] == 1).all()
    assert (look.seen_at(torch.ones_like(seen), before)[:, smallest] == 1).all()
