"""Laws of poses: what is Gaussian in coordinates is a law of poses, and a step knows its size."""

from __future__ import annotations

import pytest
import torch
from exact import TINY, assert_mean, make_air
from torch.distributions import kl_divergence

from attend_infer_repeat.config import ModelConfig, PoseConfig, replace
from attend_infer_repeat.distributions import gaussian, gaussian_kl
from attend_infer_repeat.errors import ConfigError
from attend_infer_repeat.model.poses import AnySize, Poses, make_poses
from attend_infer_repeat.spatial import window_boxes

SIZES = PoseConfig(scale_prior_mean=4.0, size_range=6.0)
ONE_SIZE = PoseConfig(scale_prior_mean=3.0)


@pytest.fixture(params=[SIZES, ONE_SIZE], ids=["sizes", "one size"])
def poses(request: pytest.FixtureRequest) -> Poses:
    """Return each law."""
    return make_poses(request.param)


def test_coordinates_are_those_of_the_pose(poses: Poses) -> None:
    u = torch.randn(50, 3) * 0.5 + torch.tensor([1.3, 0.0, 0.0])
    torch.testing.assert_close(poses.coordinates(poses.pose(u)), u)


def test_a_law_of_poses_is_a_density(poses: Poses) -> None:
    """The mean of p / q over q is 1, q being another law of the same kind."""
    p = poses.law(gaussian(torch.zeros(3), torch.full((3,), 0.3)))
    q = poses.law(gaussian(torch.full((3,), 0.1), torch.full((3,), 0.4)))
    z_where = q.sample((20_000,))
    assert_mean((p.log_prob(z_where) - q.log_prob(z_where)).exp(), 1.0)


def test_a_density_is_that_of_poses_not_of_coordinates() -> None:
    """Its integral over a grid of poses is 1."""
    law = make_poses(SIZES).law(gaussian(torch.tensor([1.0, 0.2, -0.1]), torch.full((3,), 0.05)))
    s, x, y = (torch.linspace(*ends, 60) for ends in ((2.2, 3.3), (-1.4, 0.4), (-0.6, 1.1)))
    grid = torch.stack(torch.meshgrid(s, x, y, indexing="ij"), dim=-1)
    cell = (s[1] - s[0]) * (x[1] - x[0]) * (y[1] - y[0])
    torch.testing.assert_close(
        law.log_prob(grid).exp().sum() * cell, torch.tensor(1.0), rtol=1e-2, atol=0
    )


def test_divergences_are_the_same_in_poses_and_coordinates(poses: Poses) -> None:
    p, q = (gaussian(torch.randn(5, 3), torch.rand(5, 3) + 0.1) for _ in range(2))
    torch.testing.assert_close(
        kl_divergence(poses.law(q), poses.law(p)), gaussian_kl(q, p).sum(dim=-1)
    )


def test_sizes_are_likely_from_the_smallest_to_the_largest_and_anywhere() -> None:
    model = make_air(ModelConfig(pose=SIZES, guide="memoryless", canvas_size=(60, 60))).model
    z_where = model.poses.pose(model.z_where_dist().sample((20_000,)))
    widths, (largest, smallest) = 1 / z_where[:, 0], SIZES.scale_range
    assert 0.8 < ((widths > 1 / smallest) & (widths < 1 / largest)).double().mean() < 0.95
    boxes = window_boxes(z_where, (60, 60))
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    small, large = widths < 1 / 6, widths > 1 / 3
    for these in (small, large):  # the place says nothing about the size
        inside = ((center[these] > 15) & (center[these] < 45)).double().mean()
        torch.testing.assert_close(inside, torch.tensor(0.595), atol=0.03, rtol=0)


def test_a_step_is_relative_to_the_size_that_it_begins_at() -> None:
    """The same outputs of the network are the same move, in windows of any size."""
    poses = AnySize(SIZES)
    for scale in (2.0, 9.0):
        proposal = torch.tensor([[scale, 0.3 * scale, -0.2 * scale]])
        mean, unit, sd = poses.near(proposal, torch.ones(3))
        moved = poses.pose(mean + unit * torch.tensor([[0.0, 0.5, 0.5]]))
        torch.testing.assert_close(moved[:, 1:] - proposal[:, 1:], torch.full((1, 2), -0.5))
        larger = poses.pose(mean + unit * torch.tensor([[-0.7, 0.0, 0.0]]))
        torch.testing.assert_close(larger[0, 0], torch.tensor(scale / 2), atol=0.01, rtol=0.01)
        torch.testing.assert_close(sd[0, 1] * scale, sd[0, 0] * 2)


def test_only_a_guide_that_seeks_finds_sizes() -> None:
    with pytest.raises(ConfigError, match="size_range: the guide 'basic'"):
        replace(TINY, guide="basic", size_range=2.0)
