"""Pictures that are scaled, with bright objects on black: as a whole, or part by part."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..background.background import Foreground
from ..background.border import EVEN, GRAY_BACKGROUND, border_level, border_quartiles
from ..reading.rasters import Box, Raster, Size
from ..reading.regions import Regions

REDUCING_GAP = 3.0
"""How much larger than on the canvas a picture is when it is resampled; whole pixels are averaged
before, which is quick, and from here on makes no difference that is seen."""

MARGIN_SIDES = 2
"""Largest margin of a part, in its longer sides: what is read for one canvas stays small."""

LARGEST_BLOCK, LARGEST_SOURCE = 2048, 4096
"""Side of a part that is scaled at once, in scaled pixels, and in the picture's own."""


class Scaled(Protocol):
    """A picture that is scaled, with bright objects on black."""

    size: Size
    """(width, height) in scaled pixels."""
    block: float
    """Side of the parts in which it is best asked for, in scaled pixels."""

    def around(self, box: Box) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return pixels, (channels, height, width), that hold a box, and where they begin: y, x.

        Raises: DataError, in one line, if they cannot be read.
        """


class ScaledWhole:
    """A picture whose scaled pixels are all in memory.

    Args:
        pixels: (channels, height, width), with bright objects on black.
    """

    block = math.inf

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels
        self.size = pixels.shape[2], pixels.shape[1]

    def around(self, box: Box) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """See ``Scaled.around``: all of them."""
        return self._pixels, (0, 0)


class ScaledInParts:
    """A picture of which a part is read, scaled and put onto black whenever it is asked for.

    A part is read with a margin, so that its pixels are those of the whole picture.

    Args:
        picture: in the canvas's mode.
        size: (width, height) that it is scaled to.
        foreground: brings pictures to bright objects on black.
    Raises: DataError, in one line, if it cannot be read; ShapeError as ``scaled_of``.
    """

    def __init__(self, picture: Regions, size: Size, foreground: Foreground) -> None:
        self._picture, self.size = picture, size
        self.block = float(min(LARGEST_BLOCK, LARGEST_SOURCE * size[0] // picture.size[0] or 1))
        self._foreground = foreground.in_parts(self._read, size)

    def around(self, box: Box) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """See ``Scaled.around``."""
        side = max(box[2] - box[0], box[3] - box[1])
        margin = min(self._foreground.margin, MARGIN_SIDES * side)
        left, top = (max(edge - margin, 0) for edge in box[:2])
        right, bottom = (min(box[axis + 2] + margin, self.size[axis]) for axis in (0, 1))
        part = left, top, right, bottom
        return self._foreground.part(part)(self._read(part)), (top, left)

    def _read(self, box: Box) -> NDArray[np.uint8]:
        from PIL.Image import Resampling

        return as_pixels(self._picture.scaled(self.size, box, Resampling.BILINEAR, REDUCING_GAP))


def scaled_of(picture: Raster, size: Size, channels: int, foreground: Foreground) -> Scaled:
    """Scale a picture to (width, height), and put its background to black.

    Raises: ShapeError if the picture is not of the size for which its background is known.
    """
    picture = picture.convert("L" if channels == 1 else "RGB")
    if isinstance(picture, Regions):
        return ScaledInParts(picture, size, foreground)
    if size != picture.size:
        from PIL.Image import Resampling

        picture = picture.resize(size, Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    return ScaledWhole(foreground(as_pixels(picture)))


def as_pixels(picture: Raster) -> NDArray[np.uint8]:
    """Return the pixels of a picture, ``L`` or ``RGB``: (channels, height, width)."""
    return np.asarray(picture).reshape(*picture.size[::-1], -1).transpose(2, 0, 1)


def canvas_at(
    scaled: Scaled, start: tuple[int, int], canvas_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Cut a canvas, (channels, height, width), out of a picture.

    Args:
        scaled: the picture.
        start: row and column of the canvas's first pixel in it.
        canvas_size: (height, width).
    Raises: DataError, in one line, if it cannot be read.
    """
    pixels, (top, left) = scaled.around(covered(start, canvas_size, scaled.size))
    return cut(pixels, (start[0] - top, start[1] - left), canvas_size)


def covered(start: tuple[int, int], extent: tuple[int, int], size: Size) -> Box:
    """Return the part of the picture that a rectangle covers.

    Args:
        start: row and column of the rectangle's first pixel in the picture.
        extent: (height, width) of the rectangle.
        size: (width, height) of the picture.
    """
    (top, left), (height, width) = start, extent
    return (
        *(max(left, 0), max(top, 0)),
        *(min(left + width, size[0]), min(top + height, size[1])),
    )


def cut(
    pixels: NDArray[np.uint8], start: tuple[int, int], canvas_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Cut a canvas out of a picture, (channels, h, w); beyond the picture is its background.

    Args:
        start: row and column of the canvas's first pixel in the picture.
    """
    canvas = np.empty((len(pixels), *canvas_size), np.uint8)
    axes = list(zip(start, pixels.shape[1:], canvas_size, strict=True))
    if any(first < 0 or first + want > have for first, have, want in axes):
        canvas[:] = _behind(pixels)[:, None, None]
    source, target = [slice(None)], [slice(None)]
    for first, have, want in axes:
        source.append(slice(max(first, 0), min(first + want, have)))
        target.append(slice(max(-first, 0), min(have - first, want)))
    canvas[tuple(target)] = pixels[tuple(source)]
    return canvas


def _behind(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the level, (channels,), that a picture's border agrees on if that is not black."""
    low, _, high = border_quartiles(pixels)
    if low > GRAY_BACKGROUND and high - low <= EVEN:
        return border_level(pixels).astype(np.uint8)
    return np.zeros(len(pixels), np.uint8)
