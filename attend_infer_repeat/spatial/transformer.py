"""Between window and canvas: the spatial transformer (Jaderberg et al. 2015), axis by axis.

A pose z_where = (s, x, y) scales and shifts, so the points that are read form a grid of columns x_j
and rows y_i. Coordinates run from -1 to 1 over an image, pixel centres as in
``align_corners=False``; outside an image the intensity is 0.

A pose never turns, so reading splits into a matrix of weights for the rows and one for the columns:
R @ image @ C^T. Where these are large and reading is bilinear, ``grid_sample`` is quicker; the
results are the same, those of ``affine_grid`` followed by ``grid_sample``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ShapeError
from ..provenance import one_operation

# The smallest scale that is ever used: a window five canvases wide. Differs from the paper,
# where s may be any real number: a scale of 0 in image_to_object divides by zero and a negative
# one mirrors the object. Both directions clamp alike, so they stay each other's inverse.
MIN_SCALE = 0.2

FAINT = 0.02  # the intensity up to which nothing is drawn

POINTS = 4  # of ``Seek``, to a tent's width

# The largest side of an image that is read by matrix products where grid_sample would do as well.
# On a CPU both cost the same at about 24 pixels, at 20 the products save a tenth.
LARGEST_FACTOR = 24


@one_operation
def object_to_image(z_where: Tensor, windows: Tensor, canvas_size: tuple[int, int]) -> Tensor:
    """Paint each window at its place on an empty canvas.

    Canvas point u reads window point s * u + (x, y).

    Args:
        z_where: (..., 3), rows (s, x, y).
        windows: (..., channels, h, w), intensity.
        canvas_size: (height, width) in pixels.
    Returns: (..., channels, height, width), differentiable in both inputs.
    Raises: ShapeError if the leading axes differ.
    Source: Eslami et al. 2016, figure 2.
    """
    _check_leading_axes(z_where, windows)
    scale, shift_x, shift_y = _scale_and_shifts(z_where)
    return _read(windows, scale, shift_x, shift_y, canvas_size)


@one_operation
def image_to_object(
    z_where: Tensor, images: Tensor, window_size: tuple[int, int], reach: int = 1
) -> Tensor:
    """Cut the window at each pose out of its image: the inverse of ``object_to_image``.

    Window point v reads canvas point (v - (x, y)) / s.

    Args:
        z_where: (..., 3), rows (s, x, y).
        images: (..., channels, height, width), intensity.
        window_size: (h, w) in pixels.
        reach: how far from that point a canvas pixel still counts, in pixels along each axis: 1 is
            bilinear; a window that shrinks what it shows by r reads every pixel with a reach of r.
    Returns: (..., channels, h, w), differentiable in both inputs.
    Raises: ShapeError if the leading axes differ.
    Source: Eslami et al. 2016, figure 2.
    """
    _check_leading_axes(z_where, images)
    scale, shift_x, shift_y = _scale_and_shifts(z_where)
    inverse = 1 / scale
    return _read(images, inverse, -shift_x * inverse, -shift_y * inverse, window_size, reach)


class Shrink(nn.Module):
    """Show each whole image in a window: ``image_to_object`` at (1, 0, 0), with enough reach.

    Args:
        canvas_size: (height, width) of the images in pixels.
        window_size: (h, w) in pixels.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, canvas_size: tuple[int, int], window_size: tuple[int, int]) -> None:
        super().__init__()
        reach = max(math.ceil(a / b) for a, b in zip(canvas_size, window_size, strict=True))
        (height, width), (h, w) = canvas_size, window_size
        one, zero = torch.ones(1), torch.zeros(1)
        rows, columns = (
            _tent_weights(one, zero, points, pixels, reach)
            for points, pixels in ((h, height), (w, width))
        )
        # Constants of the sizes: no part of the weights that are saved.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns.t().contiguous(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (..., channels, h, w) of images (..., channels, height, width), intensity."""
        return self.rows @ (images @ self.columns)


class Seek(nn.Module):
    """Find the place of each image where a window holds most of its energy.

    The squared intensities are weighed with a tent as wide as the window, or narrower, around each
    point of a grid of a quarter of the tent's width; the first of the best points is taken.

    Args:
        canvas_size: (height, width) of the images in pixels.
        scale: the window's, canvas width / window width.
        focus: window width / tent width.
    """

    rows: Tensor
    columns: Tensor
    places: Tensor

    def __init__(self, canvas_size: tuple[int, int], scale: float, focus: float = 1.0) -> None:
        super().__init__()
        tent = focus * scale
        one, zero = torch.ones(1), torch.zeros(1)
        # Along each axis: windows have the canvas's shape.
        num = math.ceil(POINTS * max(tent, 1.0))
        rows, columns = (
            _tent_weights(one, zero, num, pixels, max(round(pixels / (2 * tent)), 1))
            for pixels in canvas_size
        )
        centres = _pixel_centres(num, one)
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        # The window's middle, 0, is read by canvas point u where scale u + (x, y) = 0.
        places = torch.stack((torch.full_like(x, scale), -scale * x, -scale * y), dim=-1)
        # Constants of the sizes: no part of the weights that are saved.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns.t().contiguous(), persistent=False)
        self.register_buffer("places", places.flatten(0, 1), persistent=False)

    @one_operation
    def forward(self, images: Tensor) -> Tensor:
        """Return poses (batch, 3) of images (batch, channels, height, width), intensity."""
        energy = self.rows @ (images.square().sum(dim=-3) @ self.columns)  # (batch, num, num)
        return self.places[energy.flatten(-2).argmax(dim=-1)]


def window_boxes(z_where: Tensor, canvas_size: tuple[int, int]) -> Tensor:
    """Return where each window lies on the canvas; it may reach beyond its edges.

    Args:
        z_where: (..., 3), rows (s, x, y).
        canvas_size: (height, width) in pixels.
    Returns: (..., 4), pixels x0, y0, x1, y1 with (0, 0) at the canvas's upper left corner.
    """
    height, width = canvas_size
    scale, shift_x, shift_y = _scale_and_shifts(z_where)
    edges = torch.tensor([-1.0, 1.0], dtype=z_where.dtype, device=z_where.device)
    x = ((edges - shift_x) / scale + 1) * (width / 2)  # (..., 2)
    y = ((edges - shift_y) / scale + 1) * (height / 2)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), dim=-1)


def ink_boxes(objects: Tensor) -> Tensor:
    """Return the bounds of what is drawn on each canvas: where it reaches a third of its peak.

    Args:
        objects: (..., channels, height, width), intensity; one object each.
    Returns: (..., 4), pixels x0, y0, x1, y1; NaN where nothing is drawn.
    """
    brightest = objects.amax(dim=-3)  # (..., height, width)
    peak = brightest.amax(dim=(-2, -1), keepdim=True)
    ink = (brightest >= peak / 3) & (peak > FAINT)
    low, high = [], []
    for axis in (-2, -1):  # columns have ink in some row, and the other way round
        line = ink.any(dim=axis).to(objects.dtype)
        low.append(line.argmax(dim=-1))
        high.append(line.shape[-1] - line.flip(-1).argmax(dim=-1))
    boxes = torch.stack((*low, *high), dim=-1).to(objects.dtype)
    return boxes.masked_fill(~ink.flatten(-2).any(dim=-1)[..., None], torch.nan)


def _check_leading_axes(z_where: Tensor, images: Tensor) -> None:
    if z_where.shape[:-1] != images.shape[:-3] or z_where.shape[-1] != 3:
        raise ShapeError(
            f"z_where: expected {(*images.shape[:-3], 3)} beside images of "
            f"{tuple(images.shape)}, got {tuple(z_where.shape)}."
        )


def _scale_and_shifts(z_where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split z_where into s, x, y, each (..., 1), with s kept away from zero."""
    scale, shift_x, shift_y = z_where.split(1, dim=-1)
    return scale.clamp(min=MIN_SCALE), shift_x, shift_y


def _pixel_centres(size: int, like: Tensor) -> Tensor:
    """Return the coordinates in [-1, 1] of the centres of ``size`` pixels."""
    last = 1 - 1 / size
    return torch.linspace(-last, last, size, dtype=like.dtype, device=like.device)


def _read(
    images: Tensor,
    scale: Tensor,
    shift_x: Tensor,
    shift_y: Tensor,
    size: tuple[int, int],
    reach: int = 1,
) -> Tensor:
    """Read images at the points scale * u + (shift_x, shift_y), u the pixel centres of ``size``.

    Args:
        images: (..., channels, h, w).
        scale, shift_x, shift_y: (..., 1).
        size: (height, width) of what is returned.
        reach: see ``image_to_object``.
    Returns: (..., channels, height, width).
    """
    if reach > 1 or max(images.shape[-2:]) <= LARGEST_FACTOR:
        return _read_by_products(images, scale, shift_x, shift_y, size, reach)
    height, width = size
    x = torch.addcmul(shift_x, scale, _pixel_centres(width, scale))  # (..., width)
    y = torch.addcmul(shift_y, scale, _pixel_centres(height, scale))  # (..., height)
    whole = *scale.shape[:-1], height, width
    # x and y one after the other in memory: quicker to write, and grid_sample reads them as well.
    grid = torch.stack((x[..., None, :].expand(whole), y[..., None].expand(whole)), dim=-3)
    grid = grid.reshape(-1, 2, height, width).permute(0, 2, 3, 1)
    flat = images.reshape(-1, *images.shape[-3:])  # grid_sample knows one leading axis
    out = F.grid_sample(flat, grid, align_corners=False)
    return out.reshape(*images.shape[:-2], height, width)


def _read_by_products(
    images: Tensor,
    scale: Tensor,
    shift_x: Tensor,
    shift_y: Tensor,
    size: tuple[int, int],
    reach: int,
) -> Tensor:
    """Read with any reach, as R @ image @ C^T; all else as in ``_read``."""
    rows = _tent_weights(scale, shift_y, size[0], images.shape[-2], reach)
    columns = _tent_weights(scale, shift_x, size[1], images.shape[-1], reach)
    return rows[..., None, :, :] @ (images @ columns[..., None, :, :].transpose(-1, -2))


def _tent_weights(
    scale: Tensor, shift: Tensor, num_points: int, num_pixels: int, reach: int
) -> Tensor:
    """Return the weight of each pixel of a line at points along it: a tent, of sum 1.

    Point i is scale * u_i + shift, where u_i is the centre of the i-th of ``num_points`` pixels;
    all coordinates run from -1 to 1 over their line. Beyond the line the weights fall to 0 within
    ``reach`` pixels.

    Args:
        scale, shift: (..., 1).
        num_points: number of points.
        num_pixels: number of pixels.
        reach: half the tent's width in pixels.
    Returns: (..., num_points, num_pixels).
    """
    # In pixels, 0 in the middle of the line, all divided by reach^2: few numbers are, then.
    unit = num_pixels / (2 * reach**2)
    points = torch.addcmul(shift, scale, _pixel_centres(num_points, scale)) * unit
    pixels = _pixel_centres(num_pixels, scale) * unit
    return (1 / reach - (points[..., None] - pixels).abs()).relu()
