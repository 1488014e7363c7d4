"""Canvases out of large pictures, to train on and to measure with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...splits import is_held_out, name_digests
from ..reading.rasters import Size
from ..reading.sampling import spread
from .scaled import Scaled, canvas_at
from .tiles import Span, spans

MOST_CROPS = 4_096
"""Crops of a data set, about: the same ones in every epoch."""

MOST_PER_CELL = 64
"""Crops for each canvas that a picture holds: more are all alike."""

FEW_PICTURES = 10
"""Pictures below which parts of each are held out, not whole ones."""

LARGEST_GRID = 256
"""Canvases of the grid that a picture is measured with, at most."""

MOST_CELLS = 10_000
"""Cells of the grid of which a tenth is held out; of a larger grid, evenly spread ones."""

SHOWS = 96
"""Brightness, of 255, of a crop that shows something."""

TRIES = 16
"""Places that are tried for a crop that shows something, or is clear of what is held out."""

TRIED, MIN_CLEAR = 200, 0.5
"""Crops that are tried, and the share of them that must be clear of what is held out: of a small
picture, nothing is."""

TRAINED_ON = np.uint64(2**64 - 1)
"""Key of the crops that are never held out."""


class Crop(NamedTuple):
    """A canvas out of a picture."""

    canvas: NDArray[np.uint8]  # (channels, height, width)
    start: tuple[int, int]  # row and column in the scaled picture
    key: np.uint64  # crops of equal keys are held out together
    is_part: bool = True  # of a picture that is larger


@dataclass(frozen=True)
class Cropping:
    """How many crops are taken of each picture, and what is held out.

    Attributes:
        canvas_size: (height, width) in pixels.
        per_cell: random crops for each canvas that a picture holds.
        by_parts: whether parts of pictures are held out, since there are few pictures.
        random: take random crops; else only the grid of them.
    """

    canvas_size: tuple[int, int]
    per_cell: float
    by_parts: bool
    random: bool

    @classmethod
    def of(
        cls, canvas_size: tuple[int, int], num_pictures: int, num_pixels: float, random: bool
    ) -> Cropping:
        """Choose the numbers for so many pictures of about so many pixels, once scaled."""
        cells = num_pictures * max(num_pixels / math.prod(canvas_size), 1)
        per_cell = min(MOST_CROPS / cells, MOST_PER_CELL)
        return cls(canvas_size, per_cell, num_pictures < FEW_PICTURES, random)

    def crops(self, picture: Scaled, name: str) -> Iterator[Crop]:
        """Cut crops out of a picture.

        The grid covers it, but of the largest. Of a picture that is held out, or for a test, there
        is the grid alone; of others random crops, and those cells of the grid that are held out,
        which no random crop overlaps. Half of the random crops, at least, show something, if
        anything does.

        Args:
            picture: scaled, bright on black.
            name: of the picture; its places depend on nothing else.
        Raises: DataError, in one line, if it cannot be read.
        """
        size, (height, width) = picture.size, self.canvas_size
        whole = name_digests([name])[0]
        if size[1] <= height and size[0] <= width:
            start = self._place(size, np.random.default_rng(0))
            yield self._crop(picture, start, whole)._replace(is_part=False)
            return
        rows, columns = spans(size[1], height, 0), spans(size[0], width, 0)
        cells = len(rows) * len(columns)
        by_parts = self.by_parts and self.random
        if not by_parts and (not self.random or is_held_out(whole)):
            for cell in spread(cells, LARGEST_GRID):
                yield self._crop(picture, _start(rows, columns, cell), whole)
            return
        held = self._held(size, name, rows, columns) if by_parts and cells > 2 else []
        for start in held:
            yield self._crop(picture, start, np.uint64(0))
        # Where no part of a picture can be held out, the whole of it may be.
        key = TRAINED_ON if held else whole
        yield from self._random(picture, whole, key, held, cells)

    def _held(
        self, size: Size, name: str, rows: list[Span], columns: list[Span]
    ) -> list[tuple[int, int]]:
        """Return which cells of the grid are held out: of the largest, few in each part of it."""
        cells = spread(len(rows) * len(columns), MOST_CELLS)
        starts = [_start(rows, columns, cell) for cell in cells]
        keys = name_digests([f"{name}\0{y} {x}" for y, x in starts])
        low = is_held_out(keys) if is_held_out(keys).any() else keys == keys.min()
        held = [start for start, is_low in zip(starts, low, strict=True) if is_low]
        return held if self._leaves_enough(size, held) else []

    def _leaves_enough(self, size: Size, held: list[tuple[int, int]]) -> bool:
        """Tell whether most crops are clear of what would be held out of a picture."""
        rng = np.random.default_rng(0)
        starts = [self._place(size, rng) for _ in range(TRIED)]
        others = np.array(held)
        clear = sum(not self._overlaps(start, others) for start in starts)
        return clear >= MIN_CLEAR * TRIED

    def _random(
        self,
        picture: Scaled,
        seed: np.uint64,
        key: np.uint64,
        held: list[tuple[int, int]],
        cells: int,
    ) -> Iterator[Crop]:
        rng = np.random.default_rng(int(seed))
        num, empty = max(round(self.per_cell * cells), 1), 0
        others = np.array(held).reshape(-1, 2)
        for k in range(num):
            for last in range(TRIES):
                start = self._place(picture.size, rng)
                if self._overlaps(start, others):
                    continue
                crop = self._crop(picture, start, key)
                shows = crop.canvas.max() >= SHOWS
                if shows or 2 * empty < k or last == TRIES - 1:
                    empty += not shows
                    yield crop
                    break

    def _crop(self, picture: Scaled, start: tuple[int, int], key: np.uint64) -> Crop:
        return Crop(canvas_at(picture, start, self.canvas_size), start, key)

    def _place(self, size: Size, rng: np.random.Generator) -> tuple[int, int]:
        """Draw where a crop begins; of a picture that is smaller, its middle."""
        starts = []
        for have, want in zip(size[::-1], self.canvas_size, strict=True):
            starts.append(
                int(rng.integers(have - want + 1)) if have > want else -((want - have) // 2)
            )
        return starts[0], starts[1]

    def _overlaps(self, start: tuple[int, int], others: NDArray[np.int64]) -> bool:
        """Tell whether a crop overlaps any of the others, (n, 2)."""
        near = np.abs(others - start) < self.canvas_size
        return bool(near.all(axis=1).any())


def _start(rows: list[Span], columns: list[Span], cell: int) -> tuple[int, int]:
    """Return where a cell of the grid begins, which is counted row by row."""
    return rows[cell // len(columns)].start, columns[cell % len(columns)].start
