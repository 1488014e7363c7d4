"""Between a window and its patch of the canvas: what an object changes costs its window.

A patch is a rectangle of whole pixels of a canvas, one to a row of a batch and within its canvas.
What is read from a patch, or rendered on it, is what ``transformer`` reads from the canvas or
renders on it: the same weights for the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..provenance import one_operation
from .places import Place, gather, patches_pay, place_at, places_of, usual_size
from .transformer import (
    MIN_SCALE,
    image_to_object,
    kernel_weights,
    pixel_centers,
    scale_and_shifts,
)

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
    scale, *shifts = scale_and_shifts(z_where)
    window_size = windows.shape[-2], windows.shape[-1]
    # Canvas point u is reached if s u + shift is within the window, or up to one pixel beyond the
    # middle of its outermost one.
    reach = [1 + 1 / n for n in window_size]
    usual = usual_size(canvas_size, reach, usual_scale)
    with torch.no_grad():
        ends = [
            ((-r - shift) / scale, (r - shift) / scale)
            for r, shift in zip(reach, reversed(shifts), strict=True)
        ]
    painted = []
    for rows, place in places_of(ends, canvas_size, usual):
        s, x, y, these = (v if rows is None else v[rows] for v in (scale, *shifts, windows))
        weights = [
            kernel_weights(
                torch.addcmul(shift, s, (2 * at.to(s) + 1) / side - 1), pixel_centers(n, s), n
            )
            for shift, at, side, n in zip(
                (y, x),
                (place.pixel_rows(), place.pixel_columns()),
                canvas_size,
                window_size,
                strict=True,
            )
        ]
        painted.append(Patches(rows, _resample(weights[0], these, weights[1]), place))
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
    points = _window_points(z_where, window_size)
    with torch.no_grad():
        ends = _reading_ends(points, canvas_size, kernel_radius)
    found: Tensor | None = None
    for rows, place in places_of(ends, canvas_size, usual, LARGEST_READ):
        these = points if rows is None else [p[rows] for p in points]
        seen = (
            images
            if rows is None
            else tuple((x, rows if on is None else on[rows]) for x, on in images)
        )
        windows = _read(these, seen, place, canvas_size, kernel_radius)
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
    top: Tensor
    left: Tensor

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
        points = _window_points(diagonal, window_size)
        usual = usual_reading(canvas_size, window_size, scale, kernel_radius)
        is_large = math.prod(usual) > LARGEST_READ * math.prod(canvas_size)
        self.size = canvas_size if is_large else usual
        ends = _reading_ends(points, canvas_size, kernel_radius)
        place = place_at([low for low, _ in ends], canvas_size, self.size)
        rows, columns = _reading_weights(points, place, canvas_size, kernel_radius)
        # Constants of the sizes: no part of the weights that are saved.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns.transpose(-1, -2).contiguous(), persistent=False)
        self.register_buffer("top", place.top, persistent=False)
        self.register_buffer("left", place.left, persistent=False)

    @one_operation
    def forward(self, points: Tensor, images: Images) -> Tensor:
        """Cut the windows at grid points, (num,), out of their images, as ``cut`` does."""
        y, x = points // self.num, points % self.num
        place = Place(self.top[y], self.left[x], self.size)
        rows, columns = self.rows[y][:, None], self.columns[x][:, None]
        windows = [rows @ (_seen(image, on, place) @ columns) for image, on in images]
        return torch.cat(windows, dim=1)


def usual_reading(
    canvas_size: tuple[int, int], window_size: tuple[int, int], scale: float, kernel_radius: int
) -> tuple[int, int]:
    """Return the size of a patch that holds what is read for a window, (h, w)."""
    reach = [
        1 - 1 / n + 2 * kernel_radius * max(scale, MIN_SCALE) / side
        for n, side in zip(window_size, canvas_size, strict=True)
    ]
    return usual_size(canvas_size, reach, scale)


def _window_points(z_where: Tensor, window_size: tuple[int, int]) -> list[Tensor]:
    """Return where windows' rows and columns of pixels lie on the canvas, (num, n) each."""
    scale, shift_x, shift_y = scale_and_shifts(z_where)
    return [
        (pixel_centers(n, scale) - shift) / scale
        for n, shift in zip(window_size, (shift_y, shift_x), strict=True)
    ]


def _reading_ends(
    points: Sequence[Tensor], canvas_size: tuple[int, int], kernel_radius: int
) -> list[tuple[Tensor, Tensor]]:
    """Return the ends, along each axis, of what is read for points (num, n) on a canvas."""
    reach = [2 * kernel_radius / side for side in canvas_size]
    return [(p[:, :1] - r, p[:, -1:] + r) for p, r in zip(points, reach, strict=True)]


def _reading_weights(
    points: Sequence[Tensor], place: Place, canvas_size: tuple[int, int], kernel_radius: int
) -> tuple[Tensor, Tensor]:
    """Return the weights of a patch's rows, (num, n, h), and columns, (num, n, w), at points."""
    rows, columns = (
        kernel_weights(p, (2 * at.to(p) + 1) / side - 1, side, kernel_radius)
        for p, at, side in zip(
            points, (place.pixel_rows(), place.pixel_columns()), canvas_size, strict=True
        )
    )
    return rows, columns


def _read(
    points: Sequence[Tensor],
    images: Images,
    place: Place,
    canvas_size: tuple[int, int],
    kernel_radius: int,
) -> Tensor:
    """Read images at points, from patches."""
    rows, columns = _reading_weights(points, place, canvas_size, kernel_radius)
    windows = [_resample(rows, _seen(image, on, place), columns) for image, on in images]
    return windows[0] if len(windows) == 1 else torch.cat(windows, dim=1)


def _seen(image: Tensor, on: Tensor | None, place: Place) -> Tensor:
    """Return patches of images, or the images themselves where the patches are as large."""
    if place.size == image.shape[-2:]:
        return image if on is None else image.index_select(0, on)
    return gather(image, place.pixels(image, on))


def _resample(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    return rows[:, None] @ (images @ columns[:, None].transpose(-1, -2))
