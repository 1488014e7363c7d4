"""Between a window and its patch of the canvas: what an object changes costs its window.

A patch is a rectangle of whole pixels of a canvas, one to a row of a batch and within its canvas.
What is read from a patch, or rendered on it, is what ``transformer`` reads from the canvas or
renders on it: the same weights for the same pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..provenance import one_operation
from .places import (
    Place,
    along_axes,
    centers_along,
    gather,
    patches_pay,
    place_at,
    places_of,
    usual_size,
)
from .transformer import MIN_SCALE, image_to_object, kernel_weights

LARGEST_READ = 0.5  # share of a canvas: to read a larger patch costs more than the whole canvas

Images = tuple[tuple[Tensor, Tensor | None], ...]
"""Images of equal shapes (batch, channels, height, width), contiguous, each with the rows that are
meant, (num,), or None for all."""


class Patches(NamedTuple):
    """Patches of one size."""

    rows: Tensor | None  # (num,), whose they are, of the poses; None: all
    values: Tensor  # (num, channels, h, w)
    place: Place


@one_operation
def paint(
    z_where: Tensor, windows: Tensor, canvas_size: tuple[int, int], usual_scale: float
) -> list[Patches]:
    """Render each window at its pose on a patch of an empty canvas: ``object_to_image``.

    Args:
        z_where: (num, 3), rows (s, x, y).
        windows: (num, channels, h, w), intensity.
        canvas_size: (height, width) in pixels.
        usual_scale: of which windows have patches of the usual size.
    Returns: patches, differentiable in both inputs; the rest of each canvas is 0.
    """
    scale, shift = _scale_and_shift(z_where)
    window_size = windows.shape[-2], windows.shape[-1]
    # Canvas point u is reached if s u + shift is within the window, or up to one pixel beyond the
    # middle of its outermost one.
    of_rows, of_columns = (1 + 1 / n for n in window_size)
    usual = usual_size(canvas_size, (of_rows, of_columns), usual_scale)
    with torch.no_grad():
        middle, half = -shift / scale, along_axes(of_rows, of_columns, scale) / scale
    painted = []
    for rows, place in places_of(middle - half, middle + half, canvas_size, usual):
        s, yx, these = (v if rows is None else v[rows] for v in (scale, shift, windows))
        points = torch.addcmul(yx[..., None], s[..., None], place.centers(canvas_size, s))
        pixels = centers_along(window_size, max(window_size), s)
        weights = kernel_weights(points, pixels, along_axes(*window_size, s)[:, None])
        painted.append(Patches(rows, _resample(weights, these, place.size), place))
    return painted


@one_operation
def cut(
    z_where: Tensor,
    images: Images,
    window_size: tuple[int, int],
    usual_scale: float,
    kernel_radius: int = 1,
) -> Tensor:
    """Cut the window at each pose out of its images, which are data: ``image_to_object``.

    Args:
        z_where: (num, 3), rows (s, x, y).
        images: what is read.
        window_size: (h, w) in pixels.
        usual_scale: of which windows are read from patches of the usual size.
        kernel_radius: see ``image_to_object``.
    Returns: (num, channels of all images, h, w), differentiable in the pose.
    """
    canvas_size = images[0][0].shape[-2], images[0][0].shape[-1]
    usual = usual_reading(canvas_size, window_size, usual_scale, kernel_radius)
    if not patches_pay(z_where, canvas_size, usual):
        whole = torch.cat([x if on is None else x.index_select(0, on) for x, on in images], dim=1)
        return image_to_object(z_where, whole, window_size, kernel_radius)
    reading = _Reading(z_where, canvas_size, window_size, kernel_radius)
    found: Tensor | None = None
    for rows, place in places_of(*reading.ends(), canvas_size, usual, LARGEST_READ):
        weights = reading.weights(place, rows)
        parts = [
            _resample(weights, _seen(image, _select(on, rows), place), window_size)
            for image, on in images
        ]
        windows = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        if rows is None:
            return windows
        if found is None:
            found = windows.new_zeros(len(z_where), *windows.shape[1:])
        found = found.index_copy(0, rows, windows)
    assert found is not None
    return found


class GridCut(nn.Module):
    """``cut`` at poses of one scale on a square grid, whose weights are computed once.

    Args:
        poses: (num * num, 3), row by row.
        scale: theirs.
        canvas_size: (height, width) in pixels.
        window_size, kernel_radius: see ``cut``.
    """

    rows: Tensor
    columns: Tensor
    corners: Tensor

    def __init__(
        self,
        poses: Tensor,
        scale: float,
        canvas_size: tuple[int, int],
        window_size: tuple[int, int],
        kernel_radius: int,
    ) -> None:
        super().__init__()
        self.num = math.isqrt(len(poses))
        diagonal = poses[:: self.num + 1]  # all rows, all columns
        reading = _Reading(diagonal, canvas_size, window_size, kernel_radius)
        usual = usual_reading(canvas_size, window_size, scale, kernel_radius)
        is_large = math.prod(usual) > LARGEST_READ * math.prod(canvas_size)
        self.size = canvas_size if is_large else usual
        place = place_at(reading.ends()[0], canvas_size, self.size)
        rows, columns = _split_axes(reading.weights(place), window_size, self.size)
        # Constants of the sizes: no part of the weights that are saved.
        self.register_buffer("rows", rows.contiguous(), persistent=False)
        self.register_buffer("columns", columns.transpose(1, 2).contiguous(), persistent=False)
        self.register_buffer("corners", place.corner, persistent=False)

    @one_operation
    def forward(self, points: Tensor, images: Images) -> Tensor:
        """Cut the windows at grid points, (num,), out of their images, as ``cut`` does."""
        y, x = points // self.num, points % self.num
        corner = torch.stack((self.corners[y, 0], self.corners[x, 1]), dim=1)
        place = Place(corner, self.size)
        rows, columns = self.rows.index_select(0, y), self.columns.index_select(0, x)
        windows = [_product(rows, _seen(image, on, place), columns) for image, on in images]
        return torch.cat(windows, dim=1)


def usual_reading(
    canvas_size: tuple[int, int], window_size: tuple[int, int], scale: float, kernel_radius: int
) -> tuple[int, int]:
    """Return the size of a patch that holds what is read for a window, (h, w)."""
    of_rows, of_columns = (
        1 - 1 / n + 2 * kernel_radius * max(scale, MIN_SCALE) / side
        for n, side in zip(window_size, canvas_size, strict=True)
    )
    return usual_size(canvas_size, (of_rows, of_columns), scale)


class _Reading:
    """Windows that are to be read from patches.

    Args:
        z_where: (num, 3), rows (s, x, y).
        canvas_size: (height, width) in pixels.
        window_size, kernel_radius: see ``cut``.
    """

    def __init__(
        self,
        z_where: Tensor,
        canvas_size: tuple[int, int],
        window_size: tuple[int, int],
        kernel_radius: int,
    ) -> None:
        self.canvas_size, self.window_size = canvas_size, window_size
        self.kernel_radius = kernel_radius
        self.scale, self.shift = _scale_and_shift(z_where)
        pixels = centers_along(window_size, max(window_size), z_where)
        # On the canvas: (num, 2, the window's longer side).
        self.points = (pixels - self.shift[..., None]) / self.scale[..., None]

    @torch.no_grad()
    def ends(self) -> tuple[Tensor, Tensor]:
        """Return the ends of what is read, two of (num, 2)."""
        (h, w), (height, width) = self.window_size, self.canvas_size
        middle = -self.shift / self.scale
        half = along_axes(1 - 1 / h, 1 - 1 / w, middle) / self.scale
        diameter = 2 * self.kernel_radius
        half = half + along_axes(diameter / height, diameter / width, middle)
        return middle - half, middle + half

    def weights(self, place: Place, rows: Tensor | None = None) -> Tensor:
        """Return weights for ``_resample``, of patches of some of the windows, or all."""
        points = self.points if rows is None else self.points[rows]
        sides = along_axes(*self.canvas_size, points)[:, None]
        centers = place.centers(self.canvas_size, points)
        return kernel_weights(points, centers, sides, self.kernel_radius)


def _scale_and_shift(z_where: Tensor) -> tuple[Tensor, Tensor]:
    """Split z_where, (num, 3), into s, (num, 1), kept from zero, and (y, x), (num, 2)."""
    return z_where[:, :1].clamp(min=MIN_SCALE), z_where[:, 1:].flip(1)


def _select(on: Tensor | None, rows: Tensor | None) -> Tensor | None:
    """Return the images of some rows, where ``on`` lists those of all; None: all."""
    if on is None:
        return rows
    return on if rows is None else on[rows]


def _seen(image: Tensor, on: Tensor | None, place: Place) -> Tensor:
    """Return patches of images, or the images themselves where the patches are as large."""
    if place.size == image.shape[-2:]:
        return image if on is None else image.index_select(0, on)
    return gather(image, place.addresses(image, on))


def _split_axes(
    weights: Tensor, points: tuple[int, int], pixels: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Split weights (num, 2, the most points, the most pixels) into those of rows and columns."""
    rows, columns = (
        weights[:, axis, : points[axis], : pixels[axis]] for axis in range(len(points))
    )
    return rows, columns


def _resample(weights: Tensor, images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images that are read at points of a grid, (num, channels, *size).

    Args:
        weights: (num, 2, the most points, the most pixels), of both axes.
        images: (num, channels, h, w), what is read.
        size: points along each axis.
    """
    rows, columns = _split_axes(weights, size, (images.shape[-2], images.shape[-1]))
    return _product(rows, images, columns.transpose(1, 2))


def _product(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """Return rows @ image @ columns for every channel: (num, channels, a, b).

    Args:
        rows: (num, a, h).
        images: (num, channels, h, w).
        columns: (num, w, b).
    """
    channels = images.shape[1]
    # The channels of an image one below the other, so that one product has them all.
    across = torch.bmm(images.flatten(1, 2), columns)
    if channels == 1:
        return torch.bmm(rows, across)[:, None]
    return rows[:, None] @ across.unflatten(1, (channels, -1))
