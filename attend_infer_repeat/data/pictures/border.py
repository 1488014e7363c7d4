"""The background of a single picture by its border: where no data set decides on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .pixels import from_intensity

Invert = Literal["auto", "yes", "no"]

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
    kind = background_kind(pixels) if invert == "auto" else {"yes": "bright", "no": "dark"}[invert]
    level = border_level(pixels)[:, None, None]
    if kind == "bright":
        level = np.maximum(level, 1)
        return from_intensity((level - pixels) / level)
    if kind == "gray":
        return from_intensity((pixels - level) / np.maximum(255 - level, 1))
    return pixels


def border_level(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the median of each channel's border, (channels,)."""
    return np.median(_border(pixels), axis=1).astype(np.float32)


def background_kind(pixels: NDArray[np.uint8]) -> Literal["bright", "gray", "dark"]:
    """Tell what the background of a picture, (channels, height, width), is.

    It is what most of the border agrees on; where that is nothing, as in a photo, it counts as
    dark. A gray one only counts where something brighter shows on it.
    """
    low, middle, high = border_quartiles(pixels)
    if high - low > EVEN:
        return "dark"
    if low > 127:
        return "bright"
    return "gray" if low > GRAY_BACKGROUND and pixels.max() - middle >= CONTRAST else "dark"


def border_quartiles(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the quartiles of the border's brightness, (3,)."""
    return np.percentile(_border(pixels).mean(axis=0), (25, 50, 75))


def _border(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pixels of the border, (channels, n)."""
    edges = (pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1])
    return np.concatenate(edges, axis=1)


def has_contrast(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether a picture shows anything beside its background."""
    away = np.abs(pixels - border_level(pixels)[:, None, None])
    return bool(away.max() >= CONTRAST)
