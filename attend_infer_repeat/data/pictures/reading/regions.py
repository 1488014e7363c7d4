"""A picture that may be larger than memory, of which one region after the other is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .decoding import errors_in_one_line
from .modes import Values
from .planes import in_mode
from .rasters import AT_ONCE, Box, Planes, Size

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Regions:
    """A picture of which one region after the other is read, since it may be larger than memory.

    Pickled, it is where its file is, and no pixels.

    Attributes:
        planes: its channels.
        values: what becomes black and what white; as its type has it if None.
        channels: those to take, from 0; all if there are none.
        mode: ``L`` or ``RGB``.
        box: which part of the planes it is.
    """

    planes: Planes
    values: Values | None
    channels: tuple[int, ...]
    mode: str
    box: Box

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    def convert(self, mode: str) -> Regions:
        """Return the same picture in another mode."""
        return replace(self, mode=mode)

    def crop(self, box: Box) -> Regions:
        """Return a part of it, which is not read yet."""
        left, top = self.box[:2]
        return replace(self, box=(left + box[0], top + box[1], left + box[2], top + box[3]))

    def load(self) -> Image.Image:
        """Read all of it.

        Raises: DataError, in one line, if it cannot be read.
        """
        with errors_in_one_line(self.planes.name):
            pixels = self.planes.read(self.box)
            return in_mode(pixels, self.values, self.channels).convert(self.mode)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        """Return its pixels, as ``np.asarray`` asks for them: (height, width) or (..., 3)."""
        return np.asarray(self.load(), dtype)

    def resize(
        self, size: Size, resample: int, *, reducing_gap: float | None = None
    ) -> Image.Image:
        """Return it scaled, from a coarser version of it if the file has one.

        Raises: DataError, in one line, if it cannot be read.
        """
        own = self
        if self.size == self.planes.size:
            planes = self.planes.coarser((2 * size[0], 2 * size[1]))
            own = replace(self, planes=planes, box=(0, 0, *planes.size))
        return own.scaled(size, (0, 0, *size), resample, reducing_gap)

    def scaled(
        self, size: Size, part: Box, resample: int, reducing_gap: float | None = None
    ) -> Image.Image:
        """Return a part of the picture as it is once scaled as a whole.

        Args:
            size: that the whole picture is scaled to.
            part: of the scaled picture.
            resample, reducing_gap: as in Pillow's ``resize``.
        Raises: DataError, in one line, if it cannot be read.
        """
        from PIL import Image

        left, top, right, bottom = part
        target = Image.new(self.mode, (right - left, bottom - top))
        shrink = max(self.size[0] / size[0], self.size[1] / size[1])
        side = max(int(math.sqrt(AT_ONCE) / shrink), 1)
        for own in _blocks(part, side):
            scaled = self._scaled(size, own, resample, reducing_gap)
            target.paste(scaled, (own[0] - left, own[1] - top))
        return target

    def _scaled(self, size: Size, part: Box, resample: int, gap: float | None) -> Image.Image:
        across, down = (
            _source(have, want, part[axis], part[axis + 2], gap)
            for axis, (have, want) in enumerate(zip(self.size, size, strict=True))
        )
        picture = self.crop((across.first, down.first, across.last, down.last)).load()
        if max(across.factor, down.factor) > 1:
            picture = picture.reduce((across.factor, down.factor))
        box = (across.low, down.low, across.high, down.high)
        return picture.resize((part[2] - part[0], part[3] - part[1]), resample, box)


@dataclass(frozen=True)
class _Source:
    """What a part of a scaled picture is made from, along one axis.

    Attributes:
        first, last: pixels that are read.
        factor: by which they are reduced at first.
        low, high: where the part begins and ends in those, once reduced.
    """

    first: int
    last: int
    factor: int
    low: float
    high: float


def _source(have: int, want: int, begin: int, end: int, gap: float | None) -> _Source:
    """Return what ``begin`` to ``end`` of a length, ``have`` scaled to ``want``, are made from.

    Whole pixels are averaged first, as Pillow does with a ``reducing_gap``, and the same ones as in
    the whole picture: what is read begins at a multiple of the factor.
    """
    shrink = have / want
    factor = 1 if gap is None else int(have / want / gap) or 1
    low, high = begin * shrink, min(end * shrink, have)
    radius = max(shrink, 1) + factor + 1  # of the kernel: no filter is wider than BILINEAR
    first = max(math.floor((low - radius) / factor) * factor, 0)
    last = min(math.ceil((high + radius) / factor) * factor, have)
    return _Source(first, last, factor, (low - first) / factor, (high - first) / factor)


def _blocks(box: Box, side: int) -> Iterator[Box]:
    """Divide a box into blocks of a side, row by row."""
    left, top, right, bottom = box
    for y in range(top, bottom, side):
        for x in range(left, right, side):
            yield x, y, min(x + side, right), min(y + side, bottom)
