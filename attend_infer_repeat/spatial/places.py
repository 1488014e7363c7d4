"""Where patches lie on their canvases, and how large they are.

A patch has the usual size, that of a window of the usual scale, or is larger in steps of a half.
Which it is, its own pose says: so a result does not depend on what else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .transformer import MIN_SCALE

MULTIPLE = 4  # sides of patches are multiples of it, or the canvas's
GROWTH = 1.5  # of the sides, from one size to the next
LARGEST_SHARE = 0.12  # of a canvas, of a usual patch that costs less than the canvas


def patches_pay(like: Tensor, canvas_size: tuple[int, int], usual: tuple[int, int]) -> bool:
    """Whether patches are had, and cost less than whole canvases.

    Their sizes follow the data: a compiler does not know them, and the host would wait for a GPU to
    tell them. On small canvases, whole ones cost less, since more threads can share them.

    Args:
        like: a tensor on the device.
        canvas_size: (height, width) in pixels.
        usual: size of a usual patch, (h, w).
    """
    is_small = math.prod(usual) <= LARGEST_SHARE * math.prod(canvas_size)
    return is_small and like.device.type == "cpu" and not torch.compiler.is_compiling()


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


def _first_pixels(low: Tensor, side: int) -> Tensor:
    """Return the first pixel whose center lies above an end in [-1, 1], (num, 1): (num,)."""
    return (((low[:, 0] + 1) * side - 1) / 2).ceil().clamp(0, side).nan_to_num(nan=side)


def place_at(lows: Sequence[Tensor], canvas_size: tuple[int, int], size: tuple[int, int]) -> Place:
    """Return patches of a size that begin at ends along both axes, or earlier, on the canvas."""
    top, left = (
        _first_pixels(low, side).clamp(max=side - n).long()
        for low, side, n in zip(lows, canvas_size, size, strict=True)
    )
    return Place(top, left, size)


def places_of(
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
            yield None, place_at(lows, canvas_size, size)
        else:
            rows = (kinds == kind).nonzero()[:, 0]
            yield rows, place_at([low[rows] for low in lows], canvas_size, size)
