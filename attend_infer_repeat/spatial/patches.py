"""Between a window and its patch of the canvas: what an object changes costs its window.

A patch is a rectangle of whole pixels of a canvas, one to a row of a batch, all of one size and
within their canvases. What is read from a patch, or rendered on it, is what ``transformer`` reads
from the canvas or renders on it: the same weights for the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..provenance import one_operation
from .transformer import image_to_object, kernel_weights, pixel_centers, scale_and_shifts

SIDES = 4  # sides of patches are multiples of it, so that shapes repeat
LARGEST_SHARE = 0.5  # of a canvas that is read: a larger patch costs more than the whole canvas


class Place(NamedTuple):
    """Where patches lie on their canvases."""

    top: Tensor  # (num,), pixels
    left: Tensor  # (num,), pixels
    size: tuple[int, int]  # (h, w), pixels

    def select(self, chosen: slice) -> Place:
        """Return the places of some patches."""
        return Place(self.top[chosen], self.left[chosen], self.size)

    def rows(self) -> Tensor:
        """Return the patches' rows of pixels: (num, h)."""
        return self.top[:, None] + torch.arange(self.size[0], device=self.top.device)

    def columns(self) -> Tensor:
        """Return the patches' columns of pixels: (num, w)."""
        return self.left[:, None] + torch.arange(self.size[1], device=self.left.device)

    def pixels(self, canvases: Tensor, on: Tensor | None = None) -> Tensor:
        """Return where the patches' pixels lie in memory: (num, channels, h, w).

        Args:
            canvases: (batch, channels, height, width), contiguous.
            on: (num,), the canvases that the patches lie on; None: one on each.
        """
        channels, height, width = canvases.shape[1:]
        on = torch.arange(len(self.top), device=self.top.device) if on is None else on
        corner = (on * (channels * height) + self.top) * width + self.left
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


def paint(z_where: Tensor, windows: Tensor, canvas_size: tuple[int, int]) -> tuple[Tensor, Place]:
    """Render each window at its pose on a patch of an empty canvas: ``object_to_image``.

    Args:
        z_where: (num, 3), rows (s, x, y).
        windows: (num, channels, h, w), intensity.
        canvas_size: (height, width) in pixels.
    Returns: patches (num, channels, h, w), differentiable in both inputs, and their place. The rest
        of the canvas is 0.
    """
    scale, shift_x, shift_y = scale_and_shifts(z_where)
    shifts, window_size = (shift_y, shift_x), windows.shape[-2:]
    with torch.no_grad():
        # Canvas point u is reached if s u + shift is within the window, or up to one pixel beyond
        # the middle of its outermost one.
        place = _place(
            [
                ((-1 - 1 / n - shift) / scale, (1 + 1 / n - shift) / scale)
                for shift, n in zip(shifts, window_size, strict=True)
            ],
            canvas_size,
        )
    rows, columns = (
        kernel_weights(
            torch.addcmul(shift, scale, (2 * at.to(scale) + 1) / side - 1),
            pixel_centers(n, scale),
            n,
        )
        for shift, at, side, n in zip(
            shifts, (place.rows(), place.columns()), canvas_size, window_size, strict=True
        )
    )
    return _resample(rows, windows, columns), place


@one_operation
def cut(
    z_where: Tensor,
    images: tuple[tuple[Tensor, Tensor | None], ...],
    window_size: tuple[int, int],
    kernel_radius: int = 1,
) -> Tensor:
    """Cut the window at each pose out of its images: ``image_to_object``.

    Args:
        z_where: (num, 3), rows (s, x, y).
        images: of equal shapes (batch, channels, height, width), contiguous, each with the rows
            that are meant, (num,), or None for all. They are data.
        window_size: (h, w) in pixels.
        kernel_radius: see ``image_to_object``.
    Returns: (num, channels of all images, h, w), differentiable in the pose.
    """
    if torch.compiler.is_compiling():  # patches have the sizes of the data
        whole = torch.cat([x if on is None else x.index_select(0, on) for x, on in images], dim=1)
        return image_to_object(z_where, whole, window_size, kernel_radius)
    canvas_size = images[0][0].shape[-2], images[0][0].shape[-1]
    rows, columns, place = _reading(z_where, canvas_size, window_size, kernel_radius)
    windows = [_resample(rows, _seen(image, on, place), columns) for image, on in images]
    return windows[0] if len(windows) == 1 else torch.cat(windows, dim=1)


def _reading(
    z_where: Tensor,
    canvas_size: tuple[int, int],
    window_size: tuple[int, int],
    kernel_radius: int,
) -> tuple[Tensor, Tensor, Place]:
    """Return the weights of rows, (num, h, ..), and columns, (num, w, ..), of patches to read."""
    scale, shift_x, shift_y = scale_and_shifts(z_where)
    shifts = shift_y, shift_x
    points = [
        (pixel_centers(n, scale) - shift) / scale
        for n, shift in zip(window_size, shifts, strict=True)
    ]
    reach = [2 * kernel_radius / side for side in canvas_size]
    with torch.no_grad():
        ends = [(p[:, :1] - r, p[:, -1:] + r) for p, r in zip(points, reach, strict=True)]
        place = _place(ends, canvas_size, LARGEST_SHARE)
    rows, columns = (
        kernel_weights(p, (2 * at.to(scale) + 1) / side - 1, side, kernel_radius)
        for p, at, side in zip(points, (place.rows(), place.columns()), canvas_size, strict=True)
    )
    return rows, columns, place


class GridCut(nn.Module):
    """``cut`` at poses of one scale on a square grid, whose weights are computed once.

    Args:
        poses: (num * num, 3), row by row.
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
        canvas_size: tuple[int, int],
        window_size: tuple[int, int],
        kernel_radius: int,
    ) -> None:
        super().__init__()
        self.num = math.isqrt(len(poses))
        diagonal = poses[:: self.num + 1]  # all rows and all columns of the grid
        rows, columns, place = _reading(diagonal, canvas_size, window_size, kernel_radius)
        self.size = place.size
        # Constants of the sizes: no part of the weights that are saved.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns.transpose(-1, -2).contiguous(), persistent=False)
        self.register_buffer("top", place.top, persistent=False)
        self.register_buffer("left", place.left, persistent=False)

    @one_operation
    def forward(self, points: Tensor, images: tuple[tuple[Tensor, Tensor | None], ...]) -> Tensor:
        """Cut the windows at grid points, (num,), out of their images, as ``cut`` does."""
        y, x = points // self.num, points % self.num
        place = Place(self.top[y], self.left[x], self.size)
        rows, columns = self.rows[y][:, None], self.columns[x][:, None]
        windows = [rows @ (_seen(image, on, place) @ columns) for image, on in images]
        return torch.cat(windows, dim=1)


def _seen(image: Tensor, on: Tensor | None, place: Place) -> Tensor:
    """Return patches of images, or the images themselves where the patches are as large."""
    if on is None and place.size == image.shape[-2:]:
        return image
    return gather(image, place.pixels(image, on))


def _resample(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    return rows[:, None] @ (images @ columns[:, None].transpose(-1, -2))


def _place(
    ends: Sequence[tuple[Tensor, Tensor]], canvas_size: tuple[int, int], largest: float = 1.0
) -> Place:
    """Return patches that hold all pixel centers between two ends along each axis.

    Args:
        ends: of rows and of columns, first and last, (num, 1), in [-1, 1] over the canvas.
        canvas_size: (height, width) in pixels.
        largest: share of the canvas; a larger patch becomes the whole canvas.
    """
    firsts, lengths = [], []
    for (low, high), side in zip(ends, canvas_size, strict=True):
        first, last = (((end[:, 0] + 1) * side - 1) / 2 for end in (low, high))
        first, last = first.ceil().clamp(0, side), last.floor().clamp(-1, side - 1)
        firsts.append(first)
        lengths.append((last - first).amax() + 1 if len(first) else first.new_zeros(()))
    height, width = (
        min(max(SIDES * math.ceil(length / SIDES), SIDES), side)
        for length, side in zip(torch.stack(lengths).tolist(), canvas_size, strict=True)
    )
    if height * width > largest * canvas_size[0] * canvas_size[1]:
        height, width = canvas_size
    top, left = (
        first.clamp(max=side - n).long()
        for first, side, n in zip(firsts, canvas_size, (height, width), strict=True)
    )
    return Place(top, left, (height, width))
