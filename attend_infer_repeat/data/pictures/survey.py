"""A quick look at some of the pictures: what they are, and how large the things in them look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .framing import background_kind, has_contrast, on_black
from .modes import is_colored

SAMPLE = 400
"""Pictures that are looked at, evenly spread over all."""

LARGEST_SIDE = 512
"""The longest side at which a picture is looked at, in pixels; larger ones are shrunk."""

FOREGROUND = 0.25
"""Intensity, as a share of the picture's brightest, above which a pixel is foreground."""

SPECK = 1 / 60
"""The longest side of a speck, as a share of the picture's: anything smaller is left out."""


@dataclass(frozen=True)
class Look:
    """What one picture looks like.

    Attributes:
        size: (width, height) in pixels.
        colored, shows_something: whether it has colors, and anything on its background.
        background: its background, ``bright``, ``gray`` or ``dark``.
        sides: (n,), the longer side of each component of the foreground, in pixels of the picture.
        energies: (n,), the sum of its squared intensities over pixels and channels.
    """

    size: tuple[int, int]
    colored: bool
    shows_something: bool
    background: str
    sides: NDArray[np.float64]
    energies: NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """What a sample of pictures looks like; from the first to the last, evenly spread."""

    looks: tuple[Look, ...]

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many pictures have each (width, height)."""
        return Counter(look.size for look in self.looks)

    @property
    def channels(self) -> int:
        """3 if at least one picture in twenty has colors, else 1."""
        return 3 if np.mean([look.colored for look in self.looks]) >= 0.05 else 1

    @property
    def any_light_background(self) -> bool:
        """Whether any picture shows something on a bright or gray background."""
        return any(look.background != "dark" and look.shows_something for look in self.looks)

    @property
    def sides(self) -> NDArray[np.float64]:
        """The longer side of every connected component, in pixels of its picture."""
        return np.concatenate([look.sides for look in self.looks])

    @property
    def shares(self) -> NDArray[np.float64]:
        """The longer side of every connected component, as a share of its picture's longer side."""
        return np.concatenate([look.sides / max(look.size) for look in self.looks])

    @property
    def energies(self) -> NDArray[np.float64]:
        """The sum of the squared intensities of every connected component."""
        return np.concatenate([look.energies for look in self.looks])

    @property
    def numbers(self) -> NDArray[np.int64]:
        """How many connected components each picture has."""
        return np.array([len(look.sides) for look in self.looks], np.int64)


def spread(num: int, sample: int = SAMPLE) -> NDArray[np.int64]:
    """Return the positions of ``sample`` of ``num`` things, evenly spread, or of all of them."""
    return np.unique(np.linspace(0, num - 1, min(num, sample)).round().astype(np.int64))


def survey(pictures: Sequence[Image.Image]) -> Survey:
    """Look at pictures."""
    return Survey(tuple(look_at(picture) for picture in pictures))


def look_at(picture: Image.Image) -> Look:
    """Look at a picture: the background is that of its border, what differs from it foreground."""
    from PIL.Image import Resampling

    size, shrink = picture.size, max(max(picture.size) / LARGEST_SIDE, 1.0)
    colored = is_colored(picture)
    if shrink > 1:
        small = max(round(size[0] / shrink), 1), max(round(size[1] / shrink), 1)
        picture = picture.resize(small, Resampling.BOX, reducing_gap=2.0)
    pixels = np.asarray(picture).reshape(*picture.size[::-1], -1).transpose(2, 0, 1)
    shows_something = has_contrast(pixels)
    shown = on_black(pixels) if shows_something else np.zeros_like(pixels)
    sides, energies = connected_components(shown)
    return Look(
        *(size, colored, shows_something, background_kind(pixels)),
        *(sides * shrink, energies * shrink**2),
    )


def connected_components(
    pixels: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the longer side, in pixels, and the energy of each connected component.

    Gaps of a hundredth of the picture, as in a broken stroke, are closed first.

    Args:
        pixels: (channels, height, width), bright on black.
    """
    from scipy import ndimage

    foreground = pixels.max(axis=0) > max(FOREGROUND * float(pixels.max()), 1)
    neighbors = ndimage.generate_binary_structure(2, 2)
    radius = max(pixels.shape[1:]) // 100
    if radius:
        foreground = ndimage.binary_dilation(foreground, neighbors, radius)
    found, num = ndimage.label(foreground, neighbors)
    sides = np.array(
        [max(s.stop - s.start for s in part) - 2 * radius for part in ndimage.find_objects(found)],
        np.float64,
    )
    energy = ((pixels / 255) ** 2).sum(axis=0)
    energies = np.asarray(ndimage.sum_labels(energy, found, np.arange(1, num + 1)), np.float64)
    real = sides > max(SPECK * max(pixels.shape[1:]), 2)
    return sides[real], energies[real]
