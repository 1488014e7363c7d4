"""Between window and canvas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attend_infer_repeat import ShapeError
from attend_infer_repeat.spatial import (
    MIN_SCALE,
    EnergySearch,
    Thumbnail,
    foreground_boxes,
    image_to_object,
    object_to_image,
    window_boxes,
)
from attend_infer_repeat.spatial.search import first_best
from attend_infer_repeat.spatial.transformer import _read, _read_by_products

SIZES = [((8, 8), (4, 4)), ((7, 12), (5, 3)), ((12, 7), (3, 6)), ((50, 50), (28, 28))]
BOTH = [object_to_image, image_to_object]


def random_poses(*batch: int) -> Tensor:
    """Return poses from larger than the canvas to a fifth of it, some partly outside."""
    return torch.stack(
        (torch.empty(batch).uniform_(0.4, 5), *torch.empty(2, *batch).uniform_(-3, 3)), dim=-1
    )


def affine(z_where: Tensor) -> Tensor:
    """Return PyTorch's (batch, 2, 3) matrices that read window points s * u + (x, y)."""
    s, x, y = z_where.unbind(-1)
    zero = torch.zeros_like(s)
    return torch.stack((torch.stack((s, zero, x), -1), torch.stack((zero, s, y), -1)), -2)


def inverse(z_where: Tensor) -> Tensor:
    """Return the pose whose affine map undoes that of ``z_where``."""
    s, x, y = z_where.unbind(-1)
    return torch.stack((1 / s, -x / s, -y / s), -1)


def reference(pose: Tensor, source: Tensor, size: tuple[int, int]) -> Tensor:
    grid = F.affine_grid(affine(pose), [*source.shape[:2], *size], align_corners=False)
    return F.grid_sample(source, grid, padding_mode="zeros", align_corners=False)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("canvas", "window"), SIZES)
@pytest.mark.parametrize("function", BOTH)
def test_equals_affine_grid_and_grid_sample_in_value_and_gradient(
    function: Callable[..., Tensor], canvas: tuple[int, int], window: tuple[int, int], channels: int
) -> None:
    source_size, size = (window, canvas) if function is object_to_image else (canvas, window)
    pose = random_poses(20).requires_grad_()
    source = torch.rand(20, channels, *source_size, requires_grad=True)
    ours = function(pose, source, size)
    torchs = reference(pose if function is object_to_image else inverse(pose), source, size)
    torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-12)

    weights = torch.randn_like(ours)
    gradients = torch.autograd.grad((ours * weights).sum(), (pose, source))
    expected = torch.autograd.grad((torchs * weights).sum(), (pose, source))
    for gradient, reference_gradient in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, reference_gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("function", BOTH)
def test_gradients_equal_finite_differences(function: Callable[..., Tensor]) -> None:
    pose = random_poses(3).requires_grad_()
    source = torch.rand(3, 2, 5, 4, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z, y: function(z, y, (6, 7)), (pose, source))


@pytest.mark.parametrize("function", BOTH)
def test_single_precision_errs_by_rounding_alone(function: Callable[..., Tensor]) -> None:
    """The bound: coordinates of about 5 canvases, 50 pixels each, to within a few half-ulps."""
    source_size, size = (
        ((28, 28), (50, 50)) if function is object_to_image else ((50, 50), (28, 28))
    )
    pose, source = random_poses(200).requires_grad_(), torch.rand(200, 1, *source_size)
    exact = function(pose, source, size)
    single_pose = pose.detach().float().requires_grad_()
    single = function(single_pose, source.float(), size)
    ulp = torch.finfo(torch.float32).eps
    # A point errs by some ulps of its coordinate, up to 8 * 25 pixels; neighbors differ by <= 1.
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=4 * 200 * ulp)


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_wider_kernel_is_a_bilinear_look_at_blurred_images(radius: int) -> None:
    images = F.pad(torch.rand(20, 2, 9, 12), [radius] * 4)  # blurring must not lose any light
    triangle = radius - torch.arange(1 - radius, radius).abs()
    kernel = torch.outer(triangle, triangle).expand(2, 1, -1, -1).to(images) / radius**4
    blurred = F.conv2d(images, kernel, padding=radius - 1, groups=2)
    poses = random_poses(20)
    torch.testing.assert_close(
        image_to_object(poses, images, (5, 4), radius), image_to_object(poses, blurred, (5, 4))
    )


def test_bilinear_reading_is_that_of_radius_one() -> None:
    images, scale = torch.rand(20, 2, 9, 12), torch.empty(20, 1).uniform_(0.2, 2)
    shift_x, shift_y = torch.empty(2, 20, 1).uniform_(-1, 1)
    torch.testing.assert_close(
        _read(images, scale, shift_x, shift_y, (5, 4)),
        _read_by_products(images, scale, shift_x, shift_y, (5, 4), kernel_radius=1),
    )


@pytest.mark.parametrize(("window", "radius"), [((5, 4), 3), ((9, 12), 1), ((20, 12), 1)])
def test_a_shrunk_image_is_the_window_over_the_whole_canvas(
    window: tuple[int, int], radius: int
) -> None:
    images = torch.rand(6, 2, 9, 12)
    everything = torch.tensor([1.0, 0.0, 0.0]).expand(6, 3)
    torch.testing.assert_close(
        Thumbnail((9, 12), window)(images), image_to_object(everything, images, window, radius)
    )


def test_image_to_object_undoes_object_to_image_on_smooth_windows() -> None:
    side, canvas, sd = 40, (240, 200), 0.25
    centers = (2 * torch.arange(side) + 1) / side - 1
    bump = torch.exp(-(centers**2) / (2 * sd**2))
    windows = (bump[:, None] * bump).expand(5, 1, side, side)
    poses = torch.tensor(  # all windows lie inside the canvas: |x|, |y| <= s - 1
        [[1.0, 0.0, 0.0], [1.5, 0.4, -0.3], [2.0, -0.9, 0.8], [1.2, 0.1, 0.2], [2.5, 1.0, -1.4]]
    )
    again = image_to_object(poses, object_to_image(poses, windows, canvas), (side, side))
    # Linear interpolation of f at spacing d errs by at most d^2 / 8 max |f''| per axis, and here
    # |f''| <= 1 / sd^2. The spacing is 2 / side when painting and at most 2 s / 200, in window
    # units, when cutting. Beyond the last pixel center, the window falls off to 0.
    spacings = (2 / side, 2 * poses[:, 0].max().item() / min(canvas))
    edge = math.exp(-((1 - 1 / side) ** 2) / (2 * sd**2))
    tolerance = sum(2 * d**2 / (8 * sd**2) for d in spacings) + edge
    assert tolerance < 0.02
    torch.testing.assert_close(again, windows, rtol=0, atol=tolerance)


@pytest.mark.parametrize("canvas", [(50, 50), (30, 44)])
def test_window_boxes_frame_the_ink_of_a_full_window(canvas: tuple[int, int]) -> None:
    poses = random_poses(50)
    ink = object_to_image(poses, torch.ones(50, 1, 6, 6), canvas)[:, 0]
    x0, y0, x1, y1 = window_boxes(poses, canvas)[:, :, None, None].unbind(1)
    rows, columns = (torch.arange(size) + 0.5 for size in canvas)
    inside = (x0 < columns) & (columns < x1) & (y0 < rows[:, None]) & (rows[:, None] < y1)
    # Ink fades from 1 to 0 across the box's edge: it is 1/2 on the edge, 1/4 in a corner, so
    # that near a corner the bilinear product is below 1/2 although the pixel is inside.
    assert not (ink > 0.5)[~inside].any()
    assert (ink[inside] >= 0.25).all()
    assert inside.any()


def test_window_boxes_of_the_unit_pose_are_the_canvas() -> None:
    box = window_boxes(torch.tensor([1.0, 0.0, 0.0]), (30, 44))
    torch.testing.assert_close(box, torch.tensor([0.0, 0.0, 44.0, 30.0]))


@pytest.mark.parametrize("scale", [0.0, -0.0, -3.0, 1e-12, 1e-300, 1e12])
@pytest.mark.parametrize("function", BOTH)
def test_extreme_scales_give_finite_values_and_gradients(
    function: Callable[..., Tensor], scale: float
) -> None:
    pose = torch.tensor([[scale, 0.3, -0.2]], requires_grad=True)
    source = torch.rand(1, 1, 5, 5, requires_grad=True)
    out = function(pose, source, (6, 6))
    assert torch.isfinite(out).all()
    for gradient in torch.autograd.grad(out.square().sum(), (pose, source)):
        assert torch.isfinite(gradient).all()
    assert torch.isfinite(window_boxes(pose, (6, 6))).all()


@pytest.mark.parametrize("scale", [-3.0, 0.0, 0.1])
@pytest.mark.parametrize("function", BOTH)
def test_scales_too_small_act_as_the_smallest_allowed_in_both_directions(
    function: Callable[..., Tensor], scale: float
) -> None:
    source = torch.rand(1, 1, 5, 5)
    pose, smallest = torch.tensor([[scale, 0.1, 0.2]]), torch.tensor([[MIN_SCALE, 0.1, 0.2]])
    assert torch.equal(function(pose, source, (6, 6)), function(smallest, source, (6, 6)))
    assert torch.equal(window_boxes(pose, (6, 6)), window_boxes(smallest, (6, 6)))


@pytest.mark.parametrize("function", BOTH)
def test_leading_axes_are_kept(function: Callable[..., Tensor]) -> None:
    poses, source = random_poses(2, 3), torch.rand(2, 3, 1, 5, 5)
    together = function(poses, source, (6, 7))
    assert together.shape == (2, 3, 1, 6, 7)
    torch.testing.assert_close(together[1, 2], function(poses[1, 2], source[1, 2], (6, 7)))


@pytest.mark.parametrize(
    ("pose_shape", "source_shape"),
    [
        ((2, 3), (3, 1, 5, 5)),
        ((3,), (1, 1, 5, 5)),
        ((2, 1, 3), (2, 3, 1, 5, 5)),
        ((2, 4), (2, 1, 5, 5)),
    ],
)
@pytest.mark.parametrize("function", BOTH)
def test_differing_leading_axes_are_refused(
    function: Callable[..., Tensor], pose_shape: tuple[int, ...], source_shape: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match="z_where"):
        function(torch.ones(pose_shape), torch.ones(source_shape), (6, 6))


# Where an object's ink is


def test_the_bounds_of_the_foreground_are_where_it_reaches_half_of_its_peak() -> None:
    objects = torch.zeros(2, 3, 3, 10, 12)
    objects[0, 0, 1, 2:5, 3:9] = 0.9
    objects[0, 0, 2, 7, 1] = 0.46  # above a half, in another color
    objects[0, 1, 0, 0, 0] = 0.05  # faint, and all there is
    objects[1, 2, :, 4:6, 11] = 0.5
    objects[1, 2, 0, 9, 0] = 0.24  # below a half
    nothing = [torch.nan] * 4
    expected = torch.tensor(
        [
            [[1.0, 2.0, 9.0, 8.0], [0.0, 0.0, 1.0, 1.0], nothing],
            [nothing, nothing, [11.0, 4.0, 12.0, 6.0]],
        ]
    )
    torch.testing.assert_close(foreground_boxes(objects), expected, equal_nan=True)


@pytest.mark.parametrize("stretch", [2.0, 9.0, 40.0])
def test_the_bounds_are_the_same_where_bright_objects_are_shown_with_less_contrast(stretch) -> None:
    from attend_infer_repeat.data.pictures.background.background import stretched

    distance = (torch.arange(30) - 14.5).abs()
    blurred = torch.sigmoid(7.2 - distance)
    peaks = torch.tensor([0.1, 0.4, 1.0])[:, None, None, None]
    objects = peaks * blurred[:, None] * blurred  # (3, 1, 30, 30)
    shown = torch.from_numpy(stretched(objects.numpy(), stretch))
    assert (shown[0] > 1.2 * objects[0]).any()
    torch.testing.assert_close(foreground_boxes(shown, stretch), foreground_boxes(objects))


def test_a_painted_window_full_of_ink_has_its_ink_where_the_window_is() -> None:
    z_where = torch.tensor([[3.0, 0.5, -0.7], [4.0, -1.0, 1.5]])
    drawn = object_to_image(z_where, torch.ones(2, 1, 8, 8), (60, 60))
    torch.testing.assert_close(
        foreground_boxes(drawn), window_boxes(z_where, (60, 60)), rtol=0, atol=1.0
    )


@pytest.mark.parametrize("scale", [1.0, 2.5, 7.0])
@pytest.mark.parametrize("canvas_size", [(16, 16), (30, 50), (256, 200)])
def test_seek_finds_a_window_of_its_size_wherever_it_lies(
    canvas_size: tuple[int, int], scale: float
) -> None:
    search = EnergySearch(canvas_size, scale)
    within = 2 * torch.rand(20, 2) - 1
    centers = within * max(1 - 1 / scale, 0.0)  # the window lies on the canvas
    s = torch.full((20, 1), scale)
    drawn = object_to_image(torch.cat((s, -s * centers), -1), torch.ones(20, 1, 8, 8), canvas_size)
    found = search.poses[first_best(search.scores(drawn).flatten(1))]
    distance = (-found[:, 1:] / scale - centers).abs()
    # Points stand a quarter of a window apart; a window's edges blur by a pixel.
    assert (distance <= 2 / (4 * scale) + 1 / min(canvas_size)).all()


def test_seek_needs_no_weights() -> None:
    assert not EnergySearch((16, 16), 3.0).state_dict()


def test_a_narrow_kernel_finds_one_of_two_close_objects() -> None:
    """A wide one finds their middle."""
    images = torch.zeros(1, 1, 60, 60)
    images[0, 0, 27:33, 19:25] = images[0, 0, 27:33, 35:41] = 1.0  # centers at 22 and 38
    centers = {}
    for focus in (1.0, 2.0):
        search = EnergySearch((60, 60), 2.0, focus)
        best = first_best(search.scores(images).flatten(1))
        x0, _, x1, _ = window_boxes(search.poses[best], (60, 60))[0]
        assert x1 - x0 == 30  # the window is as wide as before
        centers[focus] = float(x0 + x1) / 2
    assert abs(centers[1.0] - 30) < 4  # half a step of the grid
    assert abs(centers[2.0] - 22) < 2
