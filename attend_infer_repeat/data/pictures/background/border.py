"""The background of a single picture by its border: where no data set decides on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..reading.pixels import from_intensity
from ..reading.rasters import Size
from ..reading.sampling import windows
from .parts import Everywhere, Read

Invert = Literal["auto", "yes", "no"]
Kind = Literal["bright", "gray", "dark"]

KINDS: dict[Invert, Kind] = {"yes": "bright", "no": "dark"}
"""What a background is taken for without a look at it."""

GRAY_BACKGROUND = 24
"""The darkest background, of 255, that is taken away."""

CONTRAST = 48
"""The difference from its background, of 255, at which a picture shows something."""

EVEN = 40
"""The largest spread of the middle half of the border, of 255, that is one background."""


@dataclass(frozen=True)
class ByBorder:
    """Brings each picture to bright objects on black by its own border; see ``on_black``."""

    invert: Invert = "auto"

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture, (channels, height, width), with bright objects on black."""
        return on_black(pixels, self.invert)

    def of_drawing(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the same of what was drawn on a canvas: a drawing has a border, too."""
        return self(pixels)

    def in_parts(self, read: Read, size: Size) -> KnownBorder:
        """Return the same for all parts of one picture: as the border of the whole has it."""
        width, height = size
        edges = [(0, 0, width, 1), (0, height - 1, width, height)]
        edges += [(0, 1, 1, height - 1), (width - 1, 1, width, height - 1)]
        parts = [read(box) for box in edges if box[1] < box[3]]
        border = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
        brightest = max(int(read(box).max()) for box in windows(size))
        kind = _kind(_quartiles(border), brightest) if self.invert == "auto" else KINDS[self.invert]
        return KnownBorder(kind, tuple(_level(border).tolist()))


@dataclass(frozen=True)
class KnownBorder(Everywhere):
    """Brings parts of one picture to bright objects on black, by the border of the whole.

    Attributes:
        kind: of its background.
        level: (channels,), the median of its border.
    """

    kind: Kind
    level: tuple[float, ...]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a part, (channels, height, width), with bright objects on black."""
        return _without(pixels, self.kind, np.array(self.level, np.float32))


def on_black(pixels: NDArray[np.uint8], invert: Invert = "auto") -> NDArray[np.uint8]:
    """Return a picture with bright objects on black.

    Where the background is bright, intensity becomes how much darker a pixel is; where it is gray,
    how much brighter; both as a share of what is possible, per channel. A dark background is left
    as it is.

    Args:
        pixels: (channels, height, width).
        invert: ``yes`` takes the background for bright, ``no`` leaves the picture as it is, and
            ``auto`` looks at the border.
    """
    kind = background_kind(pixels) if invert == "auto" else KINDS[invert]
    return _without(pixels, kind, border_level(pixels))


def _without(
    pixels: NDArray[np.uint8], kind: Kind, level: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Take a background of a kind and a level, (channels,), away."""
    level = level[:, None, None]
    if kind == "bright":
        level = np.maximum(level, 1)
        return from_intensity((level - pixels) / level)
    if kind == "gray":
        return from_intensity((pixels - level) / np.maximum(255 - level, 1))
    return pixels


def border_level(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the median of each channel's border, (channels,)."""
    return _level(_border(pixels))


def _level(border: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.median(border, axis=1).astype(np.float32)


def background_kind(pixels: NDArray[np.uint8]) -> Kind:
    """Tell what the background of a picture, (channels, height, width), is.

    It is what most of the border agrees on; where that is nothing, as in a photo, it counts as
    dark. A gray one only counts where something brighter shows on it.
    """
    return _kind(border_quartiles(pixels), int(pixels.max()))


def _kind(quartiles: NDArray[np.float64], brightest: int) -> Kind:
    """Tell what a background is from the quartiles of the border and the brightest pixel."""
    low, middle, high = quartiles
    if high - low > EVEN:
        return "dark"
    if low > 127:
        return "bright"
    return "gray" if low > GRAY_BACKGROUND and brightest - middle >= CONTRAST else "dark"


def border_quartiles(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the quartiles of the border's brightness, (3,)."""
    return _quartiles(_border(pixels))


def _quartiles(border: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.percentile(border.mean(axis=0), (25, 50, 75))


def _border(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pixels of the border, (channels, n)."""
    edges = (pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1])
    return np.concatenate(edges, axis=1)


def has_contrast(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether a picture shows anything beside its background."""
    away = np.abs(pixels - border_level(pixels)[:, None, None])
    return bool(away.max() >= CONTRAST)
