"""A look at one picture: as a whole, and at parts of a large one, closer and closer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..background.border import background_kind, has_contrast
from ..canvas.scaled import as_pixels
from ..reading.modes import is_colored
from ..reading.rasters import Raster

VIEW = 512
"""Longest side of a view of a picture, in pixels: larger pictures are shrunk, or cut."""


class View(NamedTuple):
    """A picture, or a part of it."""

    pixels: NDArray[np.uint8]  # (channels, height, width)
    shrink: float  # picture pixels per view pixel
    whole: bool  # whether it shows all of the picture


PARTS, BUSY = 8, 0.2
"""Parts along the shorter side of a picture, one of which is looked at closely, and the energy, as
a share of the most, from which a part shows something."""


@dataclass(frozen=True)
class Look:
    """What one picture looks like.

    Attributes:
        size: (width, height) in pixels.
        colored: whether it has colors.
        is_light: whether it shows something on a background that is bright or gray at its border.
        views: of the whole first, then of parts of it, closer and closer.
    """

    size: tuple[int, int]
    colored: bool
    is_light: bool
    views: tuple[View, ...]


def channels_of(looks: Sequence[Look]) -> int:
    """Return 3 if at least one picture in twenty has colors, else 1."""
    return 3 if np.mean([look.colored for look in looks]) >= 0.05 else 1


def largest_size(looks: Sequence[Look]) -> tuple[int, int]:
    """Return the largest width and the largest height of pictures."""
    widths, heights = zip(*(look.size for look in looks), strict=True)
    return max(widths), max(heights)


def look_at(picture: Raster, closely: bool = True) -> Look:
    """Look at a picture, ``L`` or ``RGB``: as a whole and, closely, at parts of a large one.

    Raises: DataError, in one line, if it cannot be read.
    """
    views = tuple(islice(_views(picture), None if closely else 1))
    whole = views[0]
    return Look(
        picture.size,
        is_colored(picture),
        has_contrast(whole.pixels) and background_kind(whole.pixels) != "dark",
        views,
    )


def _views(picture: Raster) -> Iterator[View]:
    from PIL.Image import Resampling

    shrink = max(max(picture.size) / VIEW, 1.0)
    small = _shrunk(picture.size, shrink)
    whole = picture.resize(small, Resampling.BOX, reducing_gap=2.0) if shrink > 1 else picture
    yield View(as_pixels(whole), shrink, True)
    center = _busy_point(as_pixels(whole))
    while shrink > 1:
        shrink = max(shrink / 2, 1.0)
        side = VIEW * shrink
        box = []
        for at, length in zip(center, picture.size, strict=True):
            span = min(side, length)
            low = min(max(at * length - span / 2, 0), length - span)
            box += [low, low + span]
        left, right, top, bottom = (round(edge) for edge in box)
        part = picture.crop((left, top, right, bottom))
        small = _shrunk(part.size, shrink)
        yield View(as_pixels(part.resize(small, Resampling.BOX)), shrink, False)


def _shrunk(size: tuple[int, int], shrink: float) -> tuple[int, int]:
    return max(round(size[0] / shrink), 1), max(round(size[1] / shrink), 1)


def _busy_point(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Return where, (x, y) as shares, the middle one of the parts lies that show something."""
    from scipy import ndimage

    away = np.abs(pixels - np.median(pixels, axis=(1, 2), keepdims=True)).max(axis=0)
    side = max(min(away.shape) // PARTS, 1)
    energy = ndimage.uniform_filter(away.astype(np.float32) ** 2, side)
    energy = energy[side // 2 :: side, side // 2 :: side]
    busy = np.flatnonzero(energy >= BUSY * energy.max())
    chosen = busy[np.argsort(energy.flat[busy])[len(busy) // 2]]
    y, x = np.unravel_index(chosen, energy.shape)
    return (x + 0.5) * side / away.shape[1], (y + 0.5) * side / away.shape[0]
