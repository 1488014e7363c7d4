"""Patches of canvases: what is rendered on them and read from them is what whole canvases give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attend_infer_repeat.spatial import EnergySearch, image_to_object, object_to_image
from attend_infer_repeat.spatial.patches import GridCut, Place, cut, gather, paint, scatter_

SIZES = [(20, 20), (13, 37), (50, 9), (3, 3)]  # of canvases
WINDOWS = [(8, 8), (5, 11), (28, 28)]


def poses(num: int) -> Tensor:
    """Return poses of all kinds: large and small, partly and wholly off the canvas."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.exp(torch.empty(num).uniform_(-2.5, 3.0, generator=generator))
    shift = torch.empty(num, 2).normal_(0, 1.5, generator=generator) * scale[:, None]
    shift[: num // 4] *= 20  # far away
    return torch.cat((scale[:, None], shift), dim=1)


def on_canvases(patches: Tensor, place: Place, size: tuple[int, int]) -> Tensor:
    canvases = patches.new_zeros(*patches.shape[:2], *size)
    scatter_(canvases, place.pixels(canvases), patches)
    return canvases


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_object_on_its_patch_is_the_object_on_the_canvas(
    size: tuple[int, int], window: tuple[int, int], channels: int
) -> None:
    for some in poses(200).split([40, 1, 159]):
        z_where = some.clone().requires_grad_()
        windows = torch.rand(len(some), channels, *window, requires_grad=True)
        patches, place = paint(z_where, windows, size)
        assert patches.shape[-2:] == place.size
        found = on_canvases(patches, place, size)
        expected = object_to_image(z_where, windows, size)
        torch.testing.assert_close(found, expected)
        weights = torch.randn_like(found)
        inputs = z_where, windows
        got = torch.autograd.grad((gather(weights, place.pixels(weights)) * patches).sum(), inputs)
        want = torch.autograd.grad((weights * expected).sum(), inputs)
        torch.testing.assert_close(got, want)


def test_a_patch_is_as_large_as_its_objects_need_and_no_larger() -> None:
    z_where = torch.tensor([[8.0, 0.0, 0.0], [10.0, 3.0, -4.0]])
    patches, _ = paint(z_where, torch.rand(2, 1, 8, 8), (200, 400))
    # An eighth of 200 x 400 pixels, and half of one of its 8 x 8 pixels on both sides.
    assert patches.shape[-2:] == (28, 56)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_what_is_cut_out_of_a_patch_is_what_the_canvas_shows(
    size: tuple[int, int], window: tuple[int, int], radius: int
) -> None:
    z_where = poses(60).requires_grad_()
    one, other = torch.rand(60, 2, *size), torch.rand(90, 1, *size)
    on = torch.randperm(90)[:60]
    found = cut(z_where, ((one, None), (other, on)), window, radius)
    expected = image_to_object(z_where, torch.cat((one, other[on]), dim=1), window, radius)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    gradients = [
        torch.autograd.grad((weights * seen).sum(), z_where)[0] for seen in (found, expected)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("focus", [1.0, 2.0])
def test_scores_follow_a_change_on_patches(size: tuple[int, int], focus: float) -> None:
    search = EnergySearch(size, 2.5, focus)
    images = torch.rand(60, 3, *size)
    changed = images.clone()
    patches, place = paint(poses(60), torch.rand(60, 3, 8, 8), size)
    index = place.pixels(changed)
    before = gather(changed, index)
    scatter_(changed, index, before - patches)
    energy = ((before - patches).square() - before.square()).sum(dim=1)
    found = search.scores(images) + search.change(energy, place)
    torch.testing.assert_close(found, search.scores(changed))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [1.0, 3.0, 12.0])
def test_windows_at_grid_points_are_cut_as_any_others(size: tuple[int, int], scale: float) -> None:
    search = EnergySearch(size, scale, 2.0)
    points = torch.randint(search.num**2, (40,))
    images = (torch.rand(40, 2, *size), None), (torch.rand(50, 1, *size), torch.randperm(50)[:40])
    poses = search.poses / 2
    found = GridCut(poses, size, (7, 6), 2)(points, images)
    torch.testing.assert_close(found, cut(poses[points], images, (7, 6), 2))


def test_patches_of_some_canvases_of_a_batch_leave_the_others_alone() -> None:
    canvases, on = torch.zeros(5, 2, 6, 7), torch.tensor([3, 1])
    place = Place(torch.tensor([0, 2]), torch.tensor([4, 1]), (4, 3))
    patches = torch.rand(2, 2, 4, 3)
    index = place.pixels(canvases, on)
    scatter_(canvases, index, patches)
    assert torch.equal(canvases[3, :, 0:4, 4:7], patches[0])
    assert torch.equal(canvases[1, :, 2:6, 1:4], patches[1])
    assert torch.equal(gather(canvases, index), patches)
    assert torch.equal(canvases.sum(), patches.sum())
