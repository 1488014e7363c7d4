"""Patches of canvases: what is rendered on them and read from them is what whole canvases give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attend_infer_repeat.spatial import EnergySearch, image_to_object, object_to_image, places
from attend_infer_repeat.spatial.patches import GridCut, Patches, cut, paint
from attend_infer_repeat.spatial.places import Place, gather, scatter_

SIZES = [(20, 20), (13, 37), (50, 9), (3, 3)]  # of canvases
WINDOWS = [(8, 8), (5, 11), (28, 28)]


@pytest.fixture(autouse=True)
def _patches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LARGEST_SHARE", 1.0)


def poses(num: int) -> Tensor:
    """Return poses of all kinds: large and small, partly and wholly off the canvas."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.exp(torch.empty(num).uniform_(-2.5, 3.0, generator=generator))
    shift = torch.empty(num, 2).normal_(0, 1.5, generator=generator) * scale[:, None]
    shift[: num // 4] *= 20  # far away
    return torch.cat((scale[:, None], shift), dim=1)


def on_canvases(painted: list[Patches], num: int, size: tuple[int, int]) -> Tensor:
    """Put patches on canvases, as autograd can follow."""
    canvases = torch.zeros(num, painted[0].values.shape[1], *size)
    for rows, values, place in painted:
        index = place.addresses(canvases, rows).pixels.view(-1)
        canvases = canvases.view(-1).index_add(0, index, values.reshape(-1)).view(canvases.shape)
    return canvases


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_object_on_its_patch_is_the_object_on_the_canvas(
    size: tuple[int, int], window: tuple[int, int], channels: int
) -> None:
    for some in poses(200).split([40, 1, 159]):
        inputs = some.clone().requires_grad_(), torch.rand(len(some), channels, *window)
        inputs[1].requires_grad_()
        found = on_canvases(paint(*inputs, size, 2.0), len(some), size)
        expected = object_to_image(*inputs, size)
        torch.testing.assert_close(found, expected)
        weights = torch.randn_like(found)
        got = torch.autograd.grad((weights * found).sum(), inputs)
        want = torch.autograd.grad((weights * expected).sum(), inputs)
        torch.testing.assert_close(got, want)


def test_what_inference_made_serves_training() -> None:
    """Constants are kept, and a backward pass may use none that an inference mode made."""
    for cached in (places._centers_along, places._along_axes):
        cached.cache_clear()
    inputs = poses(20).requires_grad_(), torch.rand(20, 1, 8, 8, requires_grad=True)
    images = ((torch.rand(20, 1, 20, 30), None),)
    for mode in (True, False):
        with torch.inference_mode(mode):
            painted, seen = paint(*inputs, (20, 30), 2.0), cut(inputs[0], images, (8, 8), 2.0)
    (sum(p.values.sum() for p in painted) + seen.sum()).backward()
    assert inputs[0].grad is not None


def test_a_patch_is_as_large_as_its_own_object_needs() -> None:
    z_where = torch.tensor([[8.0, 0.0, 0.0], [10.0, 3.0, -4.0], [5.0, 0.0, 0.0], [8.1, 1.0, 0.0]])
    (usual, larger) = paint(z_where, torch.rand(4, 1, 8, 8), (200, 400), 8.0)
    # An eighth of 200 x 400 pixels, and half of one of its 8 x 8 pixels on both sides.
    assert usual.values.shape == (3, 1, 32, 60)
    assert usual.rows is not None
    assert usual.rows.tolist() == [0, 1, 3]
    assert larger.values.shape == (1, 1, 48, 92)  # half as large again, in steps of 4
    (alone,) = paint(z_where[1:2], torch.rand(1, 1, 8, 8), (200, 400), 8.0)
    assert alone.rows is None
    assert alone.values.shape == (1, 1, 32, 60)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_pose_that_is_no_number_spoils_its_own_row_alone(part: int) -> None:
    z_where, windows = poses(20), torch.rand(20, 1, 8, 8)
    broken = z_where.clone()
    broken[7, part] = torch.nan
    images = ((torch.rand(20, 1, 20, 30), None),)
    others = torch.arange(20) != 7
    for found, expected in (
        [on_canvases(paint(z, windows, (20, 30), 2.0), 20, (20, 30)) for z in (broken, z_where)],
        [cut(z, images, (8, 8), 2.0) for z in (broken, z_where)],
    ):
        torch.testing.assert_close(found[others], expected[others], rtol=0, atol=0)
        assert found[7].isnan().any()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_what_is_cut_out_of_a_patch_is_what_the_canvas_shows(
    size: tuple[int, int], window: tuple[int, int], radius: int
) -> None:
    z_where = poses(60).requires_grad_()
    one, other = torch.rand(60, 2, *size), torch.rand(90, 1, *size)
    on = torch.randperm(90)[:60]
    found = cut(z_where, ((one, None), (other, on)), window, 2.0, radius)
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
    changed, scores = images.clone(), search.scores(images)
    for rows, values, place in paint(poses(60), torch.rand(60, 3, 8, 8), size, 2.0):
        index = place.addresses(changed, rows)
        before = gather(changed, index)
        scatter_(changed, index, before - values)
        energy = ((before - values).square() - before.square()).sum(dim=1)
        rows = torch.arange(60) if rows is None else rows
        scores[rows] += search.changes(energy, place)
    torch.testing.assert_close(scores, search.scores(changed))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [1.0, 3.0, 12.0])
def test_windows_at_grid_points_are_cut_as_any_others(size: tuple[int, int], scale: float) -> None:
    search = EnergySearch(size, scale, 2.0)
    points = torch.randint(search.num**2, (40,))
    images = (torch.rand(40, 2, *size), None), (torch.rand(50, 1, *size), torch.randperm(50)[:40])
    poses = search.poses / 2
    found = GridCut(poses, scale / 2, size, (7, 6), 2)(points, images)
    torch.testing.assert_close(found, cut(poses[points], images, (7, 6), scale / 2, 2))


def test_patches_of_some_canvases_of_a_batch_leave_the_others_alone() -> None:
    canvases, on = torch.zeros(5, 2, 6, 7), torch.tensor([3, 1])
    place = Place(torch.tensor([[0, 4], [2, 1]]), (4, 3))
    patches = torch.rand(2, 2, 4, 3)
    index = place.addresses(canvases, on)
    scatter_(canvases, index, patches)
    assert torch.equal(canvases[3, :, 0:4, 4:7], patches[0])
    assert torch.equal(canvases[1, :, 2:6, 1:4], patches[1])
    assert torch.equal(gather(canvases, index), patches)
    assert torch.equal(canvases.sum(), patches.sum())
