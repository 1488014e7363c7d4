"""Where patches lie on their canvases, and how large they are.

A patch has the usual size, that of a window of the usual scale, or is larger in steps of a half.
Which it is, its own pose says: so a result does not depend on what else is in the batch.

What belongs to both axes is one tensor, rows first and columns second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property, lru_cache
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

    corner: Tensor  # (num, 2), the first row and the first column, pixels
    size: tuple[int, int]  # (h, w), pixels

    def addresses(self, canvases: Tensor, rows: Tensor | None = None) -> Addresses:
        """Return where the patches lie in memory.

        Args:
            canvases: (batch, channels, height, width), contiguous.
            rows: (num,), of the canvases that the patches lie on; None: one on each.
        """
        channels, height, width = canvases.shape[1:]
        top, left = self.corner.unbind(dim=1)
        if rows is None:
            rows = torch.arange(len(top), device=top.device)
        first = torch.add(left, top, alpha=width).add_(rows, alpha=channels * height * width)
        channel = torch.arange(0, channels * height * width, height * width, device=top.device)
        row = torch.arange(0, self.size[0] * width, width, device=top.device)
        return Addresses(first[:, None, None] + (channel[:, None] + row), self.size[1])

    def centers(self, canvas_size: tuple[int, int], like: Tensor) -> Tensor:
        """Return the centers of the patches' pixels, (num, 2, the longer side).

        In [-1, 1] over the canvas; along the shorter side they go on beyond the patch.

        Args:
            canvas_size: (height, width) in pixels.
            like: of the type and device of what is returned.
        """
        first = centers_along(canvas_size, max(self.size), like)
        height, width = canvas_size
        step = along_axes(2 / height, 2 / width, like)[:, None]
        return torch.addcmul(first, self.corner.to(like.dtype)[..., None], step)


def centers_along(sides: tuple[int, int], num: int, like: Tensor) -> Tensor:
    """Return the centers of the first ``num`` pixels along both axes, (2, num).

    Args:
        sides: pixels along each axis, whose centers lie in [-1, 1]; those beyond lie above.
        num: how many.
        like: of the type and device of what is returned.
    """
    return _centers_along(sides, num, like.dtype, like.device)


def along_axes(of_rows: float, of_columns: float, like: Tensor) -> Tensor:
    """Return a constant of each axis, (2,), of the type and device of ``like``."""
    return _along_axes(of_rows, of_columns, like.dtype, like.device)


# Constants of sizes, of which there are few: to make one anew takes as long as to use it. They are
# never tensors of an inference mode, which no backward pass may use.


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _centers_along(
    sides: tuple[int, int], num: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    pixels = torch.arange(num, dtype=dtype, device=device)
    return torch.stack([(2 * pixels + 1) / side - 1 for side in sides])


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _along_axes(
    of_rows: float, of_columns: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return torch.tensor((of_rows, of_columns), dtype=dtype, device=device)


class Addresses:
    """Where patches lie in the memory of canvases.

    Args:
        starts: (num, channels, h), of the patches' rows of pixels.
        width: w, of each row.
    """

    def __init__(self, starts: Tensor, width: int) -> None:
        self.starts, self.width = starts, width

    @cached_property
    def pixels(self) -> Tensor:
        """Where the pixels lie, (num, channels, h, w)."""
        return self.starts[..., None] + torch.arange(self.width, device=self.starts.device)


def gather(canvases: Tensor, addresses: Addresses) -> Tensor:
    """Read patches: (num, channels, h, w), of contiguous canvases."""
    starts, width = addresses.starts, addresses.width
    # Each row of pixels is copied as a whole, which is quicker than pixel by pixel.
    rows = canvases.view(-1).unfold(0, width, 1).index_select(0, starts.view(-1))
    return rows.view(*starts.shape, width)


def scatter_(canvases: Tensor, addresses: Addresses, patches: Tensor) -> None:
    """Write patches into contiguous canvases, in place; no two may overlap."""
    canvases.view(-1).scatter_(0, addresses.pixels.view(-1), patches.reshape(-1))


def usual_size(
    canvas_size: tuple[int, int], reach: tuple[float, float], scale: float
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


def place_at(low: Tensor, canvas_size: tuple[int, int], size: tuple[int, int]) -> Place:
    """Return patches of a size that begin at ends (num, 2), or earlier, on the canvas."""
    return _place_at(_first_pixels(low, canvas_size), canvas_size, size)


def places_of(
    low: Tensor,
    high: Tensor,
    canvas_size: tuple[int, int],
    usual: tuple[int, int],
    largest: float = 1.0,
) -> Iterator[tuple[Tensor | None, Place]]:
    """Yield patches that hold all pixel centers between two ends along each axis, size by size.

    Args:
        low, high: the ends, (num, 2), in [-1, 1] over the canvas.
        canvas_size: (height, width) in pixels.
        usual: the smallest size.
        largest: share of the canvas; a larger patch is the whole canvas.
    Yields: the rows of the ends with patches of one size, (num,), or None for all; and the place.
    """
    first = _first_pixels(low, canvas_size)
    height, width = canvas_size
    last = _pixels_at(high, canvas_size).floor_().nan_to_num_(nan=-1)
    last = last.minimum(along_axes(height - 1, width - 1, last)).clamp_(min=-1)
    needed = (last - first).add_(1).div_(along_axes(*usual, last)).amax(dim=1)
    # The k-th size is GROWTH^k times the usual one.
    kinds = needed.clamp_(min=1).log_().div_(math.log(GROWTH)).ceil_()
    for kind in kinds.unique().tolist() or [0.0]:
        size = _size_of(kind, canvas_size, usual, largest)
        rows = (kinds == kind).nonzero()[:, 0]
        if len(rows) == len(kinds):
            yield None, _place_at(first, canvas_size, size)
        else:
            yield rows, _place_at(first[rows], canvas_size, size)


def _size_of(
    kind: float, canvas_size: tuple[int, int], usual: tuple[int, int], largest: float
) -> tuple[int, int]:
    h, w = (
        min(MULTIPLE * math.ceil(GROWTH**kind * length / MULTIPLE), side)
        for length, side in zip(usual, canvas_size, strict=True)
    )
    return canvas_size if h * w > largest * math.prod(canvas_size) else (h, w)


def _place_at(first: Tensor, canvas_size: tuple[int, int], size: tuple[int, int]) -> Place:
    """Return patches of a size at their first pixels, (num, 2), or before, on the canvas."""
    (height, width), (h, w) = canvas_size, size
    return Place(first.minimum(along_axes(height - h, width - w, first)).long(), size)


def _first_pixels(low: Tensor, canvas_size: tuple[int, int]) -> Tensor:
    """Return the first pixels whose centers lie above ends, (num, 2), in [-1, 1]."""
    first = _pixels_at(low, canvas_size).ceil_().nan_to_num_(nan=torch.inf).clamp_(min=0)
    return first.minimum(along_axes(*canvas_size, first))


def _pixels_at(points: Tensor, canvas_size: tuple[int, int]) -> Tensor:
    """Return where points, (num, 2), in [-1, 1], lie in pixels; 0 is the first one's center."""
    height, width = canvas_size
    middle = along_axes((height - 1) / 2, (width - 1) / 2, points)
    return torch.addcmul(middle, points, along_axes(height / 2, width / 2, points))
