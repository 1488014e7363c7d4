"""Between a window and its patch of the canvas: what an object changes costs its window.

A patch is a rectangle of whole pixels of a canvas, one to a row of a batch and within its canvas.
What is read from a patch, or rendered on it, is what ``transformer`` reads from the canvas or
renders on it: the same weights for the same pixels.

A patch has the usual size, that of a window of the usual scale, or is larger in steps of a half.
Which it is, its own pose says: so a result does not depend on what else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..provenance import one_operation
from .transformer import (
    MIN_SCALE,
    image_to_object,
    kernel_weights,
    pixel_centers,
    scale_and_shifts,
)

MULTIPLE = 4  # sides of patches are multiples of it, or the canvas's
GROWTH = 1.5  # of the sides, from one size to the next
LARGEST_SHARE = 0.5  # of a canvas: a larger patch costs more than the whole canvas

Images = tuple[tuple[Tensor, Tensor | None], ...]
"""Images of equal shapes (batch, channels, height, width), contiguous, each with the rows that are
meant, (num,), or None for all."""


def patches_follow_data(like: Tensor) -> bool:
    """Whether patches may have sizes that the data decide; else whole canvases serve.

    A compiler does not know them, and the host would wait for a GPU to tell them.
    """
    return like.device.type == "cpu" and not torch.compiler.is_compiling()


class Place(NamedTuple):
    """Where patches lie on their canvases."""

    top: Tensor  # (num,), pixels
    left: Tensor  # (num,), pixels
    size: tuple[int, int]  # (h, w), pixels

    def pixel_rows(self) -> Tensor:
        """Return the patches' rows of pixels: (num, h)."""
        return self.top[:, None] + torch.arange(self.size[0], device=self.top.device)

    def pixel_columns(self) -> Tensor:
        """Return the patches' columns of pixels: (num, w)."""
        return self.left[:, None] + torch.arange(self.size[1], device=self.left.device)

    def pixels(self, canvases: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return where the patches' pixels lie in memory: (num, channels, h, w).

        Args:
            canvases: (batch, channels, height, width), contiguous.
            rows: (num,), of the canvases that the patches lie on; None: one on each.
        """
        channels, height, width = canvases.shape[1:]
        if rows is None:
            rows = torch.arange(len(self.top), device=self.top.device)
        corner = (rows * (channels * height) + self.top) * width + self.left
        channel, row, column = (
            torch.arange(num, device=corner.device) * stride
            for num, stride in zip((channels, *self.size), (height * width, width, 1), strict=True)
        )
        return corner[:, None, None, None] + (channel[:, None, None] + row[:, None] + column)


def gather(canvases: Tensor, index: Tensor) -> Tensor:
    """Read patches: (num, channels, h, w), of contiguous canvases."""
    return canvases.view(-1).index_select(0, index.view(-1)).view(index.shape)


def scatter_(canvases: Tensor, index: Tensor, patches: Tensor) -> None:
    """Write patches into contiguous canvases, in place; no two may overlap."""
    canvases.view(-1).scatter_(0, index.view(-1), patches.reshape(-1))


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
    for rows, place in _places(ends, canvas_size, usual):
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
    if not patches_follow_data(z_where):
        whole = torch.cat([x if on is None else x.index_select(0, on) for x, on in images], dim=1)
        return image_to_object(z_where, whole, window_size, kernel_radius)
    canvas_size = images[0][0].shape[-2], images[0][0].shape[-1]
    scale, *shifts = scale_and_shifts(z_where)
    points = [
        (pixel_centers(n, scale) - shift) / scale
        for n, shift in zip(window_size, reversed(shifts), strict=True)
    ]
    usual = _readable(
        usual_reading(canvas_size, window_size, usual_scale, kernel_radius), canvas_size
    )
    with torch.no_grad():
        ends = _reading_ends(points, canvas_size, kernel_radius)
    found: Tensor | None = None
    for rows, place in _places(ends, canvas_size, usual, LARGEST_SHARE):
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
        scales, *shifts = scale_and_shifts(poses[:: self.num + 1])  # all rows, all columns
        points = [
            (pixel_centers(n, scales) - shift) / scales
            for n, shift in zip(window_size, reversed(shifts), strict=True)
        ]
        self.size = _readable(
            usual_reading(canvas_size, window_size, scale, kernel_radius), canvas_size
        )
        ends = _reading_ends(points, canvas_size, kernel_radius)
        place = _place([low for low, _ in ends], canvas_size, self.size)
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


def usual_size(
    canvas_size: tuple[int, int], reach: Sequence[float], scale: float
) -> tuple[int, int]:
    """Return the size of a patch that holds what a window reaches, (h, w).

    Args:
        canvas_size: (height, width) in pixels.
        reach: of rows and columns, in half windows.
        scale: the window's.
    """
    lengths = [
        math.floor(side * far / max(scale, MIN_SCALE)) + 1
        for side, far in zip(canvas_size, reach, strict=True)
    ]
    height, width = (
        min(MULTIPLE * math.ceil(length / MULTIPLE), side)
        for length, side in zip(lengths, canvas_size, strict=True)
    )
    return height, width


def usual_reading(
    canvas_size: tuple[int, int], window_size: tuple[int, int], scale: float, kernel_radius: int
) -> tuple[int, int]:
    """Return the size of a patch that holds what is read for a window, (h, w)."""
    reach = [
        1 - 1 / n + 2 * kernel_radius * max(scale, MIN_SCALE) / side
        for n, side in zip(window_size, canvas_size, strict=True)
    ]
    return usual_size(canvas_size, reach, scale)


def _readable(size: tuple[int, int], canvas_size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a patch, or of the whole canvas if that costs no more."""
    return canvas_size if math.prod(size) > LARGEST_SHARE * math.prod(canvas_size) else size


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
    if on is None and place.size == image.shape[-2:]:
        return image
    return gather(image, place.pixels(image, on))


def _resample(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    return rows[:, None] @ (images @ columns[:, None].transpose(-1, -2))


def _first_pixels(low: Tensor, side: int) -> Tensor:
    """Return the first pixel whose center lies above an end in [-1, 1], (num, 1): (num,)."""
    return (((low[:, 0] + 1) * side - 1) / 2).ceil().clamp(0, side).nan_to_num(nan=side)


def _place(lows: Sequence[Tensor], canvas_size: tuple[int, int], size: tuple[int, int]) -> Place:
    """Return patches of a size that begin at ends along both axes, or earlier, on the canvas."""
    top, left = (
        _first_pixels(low, side).clamp(max=side - n).long()
        for low, side, n in zip(lows, canvas_size, size, strict=True)
    )
    return Place(top, left, size)


def _places(
    ends: Sequence[tuple[Tensor, Tensor]],
    canvas_size: tuple[int, int],
    usual: tuple[int, int],
    largest: float = 1.0,
) -> Iterator[tuple[Tensor | None, Place]]:
    """Yield patches that hold all pixel centers between two ends along each axis, size by size.

    Args:
        ends: of rows and of columns, first and last, (num, 1), in [-1, 1] over the canvas.
        canvas_size: (height, width) in pixels.
        usual: the smallest size.
        largest: share of the canvas; a larger patch is the whole canvas.
    Yields: the rows of ``ends`` with patches of one size, (num,), or None for all; and the place.
    """
    lows = [low for low, _ in ends]
    needed = []  # in patches of the usual size, along each axis
    for (low, high), side, length in zip(ends, canvas_size, usual, strict=True):
        last = (((high[:, 0] + 1) * side - 1) / 2).floor().clamp(-1, side - 1).nan_to_num(nan=-1)
        needed.append((last - _first_pixels(low, side) + 1) / length)
    # The k-th size is GROWTH^k times the usual one.
    kinds = (torch.maximum(*needed).clamp(min=1).log() / math.log(GROWTH)).ceil()
    present = kinds.unique().tolist() or [0.0]
    for kind in present:
        size = tuple(
            min(MULTIPLE * math.ceil(GROWTH**kind * length / MULTIPLE), side)
            for length, side in zip(usual, canvas_size, strict=True)
        )
        size = canvas_size if math.prod(size) > largest * math.prod(canvas_size) else size
        if len(present) == 1:
            yield None, _place(lows, canvas_size, size)
        else:
            rows = (kinds == kind).nonzero()[:, 0]
            yield rows, _place([low[rows] for low in lows], canvas_size, size)
