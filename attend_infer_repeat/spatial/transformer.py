"""Between window and canvas: the spatial transformer (Jaderberg et al. 2015), axis by axis.

A pose z_where = (s, x, y) scales and shifts, so the points that are read form a grid of columns x_j
and rows y_i. Coordinates run from -1 to 1 over an image, pixel centers as in
``align_corners=False``; outside an image the intensity is 0.

A pose does not rotate, so resampling separates into a matrix of weights for the rows and one for
the columns: R @ image @ C^T. For large images and bilinear weights ``grid_sample`` is quicker; both
give the results of ``affine_grid`` followed by ``grid_sample``.
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

# Largest side of an image that is read by matrix products where grid_sample would serve as well.
# On a CPU both cost the same at about 24 pixels; at 20, the products save a tenth.
LARGEST_PRODUCT_SIDE = 24


@one_operation
def object_to_image(z_where: Tensor, windows: Tensor, canvas_size: tuple[int, int]) -> Tensor:
    """Render each window at its pose on an empty canvas.

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
    scale, shift_x, shift_y = scale_and_shifts(z_where)
    return _read(windows, scale, shift_x, shift_y, canvas_size)


@one_operation
def image_to_object(
    z_where: Tensor, images: Tensor, window_size: tuple[int, int], kernel_radius: int = 1
) -> Tensor:
    """Cut the window at each pose out of its image: the inverse of ``object_to_image``.

    Window point v reads canvas point (v - (x, y)) / s.

    Args:
        z_where: (..., 3), rows (s, x, y).
        images: (..., channels, height, width), intensity.
        window_size: (h, w) in pixels.
        kernel_radius: half the width of the triangular kernel around that point, in canvas pixels:
            1 is bilinear; to shrink by a factor r without aliasing takes a radius of r.
    Returns: (..., channels, h, w), differentiable in both inputs.
    Raises: ShapeError if the leading axes differ.
    Source: Eslami et al. 2016, figure 2.
    """
    _check_leading_axes(z_where, images)
    scale, shift_x, shift_y = scale_and_shifts(z_where)
    inverse = 1 / scale
    shifts = -shift_x * inverse, -shift_y * inverse
    return _read(images, inverse, *shifts, window_size, kernel_radius)


class Thumbnail(nn.Module):
    """Show each whole image in a window: ``image_to_object`` at (1, 0, 0), without aliasing.

    Args:
        canvas_size: (height, width) of the images in pixels.
        window_size: (h, w) in pixels.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, canvas_size: tuple[int, int], window_size: tuple[int, int]) -> None:
        super().__init__()
        kernel_radius = max(math.ceil(a / b) for a, b in zip(canvas_size, window_size, strict=True))
        (height, width), (h, w) = canvas_size, window_size
        one, zero = torch.ones(1), torch.zeros(1)
        rows, columns = (
            triangular_weights(one, zero, points, pixels, kernel_radius)
            for points, pixels in ((h, height), (w, width))
        )
        # Constants of the sizes: no part of the weights that are saved.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns.t().contiguous(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (..., channels, h, w) of images (..., channels, height, width), intensity."""
        return self.rows @ (images @ self.columns)


def _check_leading_axes(z_where: Tensor, images: Tensor) -> None:
    if z_where.shape[:-1] != images.shape[:-3] or z_where.shape[-1] != 3:
        raise ShapeError(
            f"z_where: expected {(*images.shape[:-3], 3)} beside images of "
            f"{tuple(images.shape)}, got {tuple(z_where.shape)}."
        )


def scale_and_shifts(z_where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split z_where into s, x, y, each (..., 1), with s kept away from zero."""
    scale, shift_x, shift_y = z_where.split(1, dim=-1)
    return scale.clamp(min=MIN_SCALE), shift_x, shift_y


def pixel_centers(size: int, like: Tensor) -> Tensor:
    """Return the coordinates in [-1, 1] of the centers of ``size`` pixels."""
    last = 1 - 1 / size
    return torch.linspace(-last, last, size, dtype=like.dtype, device=like.device)


def _read(
    images: Tensor,
    scale: Tensor,
    shift_x: Tensor,
    shift_y: Tensor,
    size: tuple[int, int],
    kernel_radius: int = 1,
) -> Tensor:
    """Read images at the points scale * u + (shift_x, shift_y), u the pixel centers of ``size``.

    Args:
        images: (..., channels, h, w).
        scale, shift_x, shift_y: (..., 1).
        size: (height, width) of what is returned.
        kernel_radius: see ``image_to_object``.
    Returns: (..., channels, height, width).
    """
    if kernel_radius > 1 or max(images.shape[-2:]) <= LARGEST_PRODUCT_SIDE:
        return _read_by_products(images, scale, shift_x, shift_y, size, kernel_radius)
    height, width = size
    x = torch.addcmul(shift_x, scale, pixel_centers(width, scale))  # (..., width)
    y = torch.addcmul(shift_y, scale, pixel_centers(height, scale))  # (..., height)
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
    kernel_radius: int,
) -> Tensor:
    """Read with a kernel of any radius, as R @ image @ C^T; all else as in ``_read``."""
    rows = triangular_weights(scale, shift_y, size[0], images.shape[-2], kernel_radius)
    columns = triangular_weights(scale, shift_x, size[1], images.shape[-1], kernel_radius)
    return rows[..., None, :, :] @ (images @ columns[..., None, :, :].transpose(-1, -2))


def triangular_weights(
    scale: Tensor, shift: Tensor, num_points: int, num_pixels: int, kernel_radius: float
) -> Tensor:
    """Return the weight of each pixel of a line at points along it: a triangular kernel, sum 1.

    Point i is scale * u_i + shift, where u_i is the center of the i-th of ``num_points`` pixels;
    all coordinates run from -1 to 1 over their line. Beyond the line the weights fall to 0 within
    ``kernel_radius`` pixels.

    Args:
        scale, shift: (..., 1).
        num_points: number of points.
        num_pixels: number of pixels.
        kernel_radius: half the kernel's width in pixels; the sum is 1 if it is a whole number.
    Returns: (..., num_points, num_pixels).
    """
    points = torch.addcmul(shift, scale, pixel_centers(num_points, scale))
    return kernel_weights(points, pixel_centers(num_pixels, scale), num_pixels, kernel_radius)


def kernel_weights(
    points: Tensor, centers: Tensor, num_pixels: int | Tensor, kernel_radius: float = 1
) -> Tensor:
    """Return the weight of each pixel at points along a line: a triangular kernel, sum 1.

    Args:
        points: (..., num_points), in [-1, 1] over the line.
        centers: (..., num), of pixels, likewise.
        num_pixels: of the whole line; (..., 1) where the lines differ.
        kernel_radius: half the kernel's width in pixels; the sum is 1 if it is a whole number.
    Returns: (..., num_points, num).
    """
    # In pixels, 0 in the middle of the line, divided by kernel_radius^2 while the arrays are small.
    unit = num_pixels / (2 * kernel_radius**2)
    distance = (points * unit)[..., :, None] - (centers * unit)[..., None, :]
    return (1 / kernel_radius - distance.abs()).relu()
