"""What is behind the objects of pictures, decided for a whole data set, and how it is taken away.

The model draws bright objects on black. Of a picture x whose background is b it is shown

    |x - b| / contrast,   max(x - b, 0) / contrast   or   max(b - x, 0) / contrast

as objects differ from their background in both directions, are brighter or are darker, and where a
few objects are much brighter than most, the logarithm of that, nearly (``stretched``). Four kinds
of b: nothing (black); one level; a smooth image (haze, a gradient, a vignette), found in each
picture by itself; and an image that all pictures share (a tray, a fixed camera, a game's screen).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ....config import FramingConfig
from ....errors import ConfigError
from ..reading.pixels import from_intensity
from ..reading.rasters import Box, Size
from ..reading.sampling import windows
from .border import ByBorder
from .common import decode_common
from .parts import Everywhere, Read
from .smooth import level_of, smooth_background

Objects = Literal["brighter", "darker", "both"]
"""How objects differ from what is behind them."""


KERNEL_RADIUS, LARGEST_RADIUS = 3, 512
"""Radius of a smooth background's kernel, in its standard deviations; and in pixels at most, for a
part of a picture: what is smoother than that, the quadratic surface through the part follows."""


class Background(Protocol):
    """What is behind the objects of one data set's pictures."""

    @property
    def margin(self) -> int:
        """Pixels around a part of a picture that must be known for the background of the part."""

    def of(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the background of a picture.

        Args:
            pixels: (channels, height, width), intensity.
        Returns: of a shape that broadcasts to it.
        Raises: ShapeError if the picture cannot have such a background.
        """

    def in_parts(self, read: Read, size: Size) -> Background:
        """Return the background of all parts of one picture, which is never read as a whole.

        Args:
            read: returns the intensity of a part of it.
            size: (width, height) of the picture, once scaled.
        Raises: ShapeError as ``of``.
        """

    def part(self, box: Box) -> Background:
        """Return the background of a part of that picture."""


@dataclass(frozen=True)
class Black(Everywhere):
    """Nothing: objects lie on black."""

    def of(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return 0."""
        return np.zeros((1, 1, 1), np.float32)


@dataclass(frozen=True)
class Level(Everywhere):
    """One intensity for each channel.

    Attributes:
        level: (channels,), of all pictures; each picture's own if empty.
    """

    level: tuple[float, ...] = ()

    def of(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the level, (channels, 1, 1)."""
        level = np.array(self.level, np.float32) if self.level else level_of(pixels)
        return level[:, None, None]

    def in_parts(self, read: Read, size: Size) -> Level:
        """Return the level of a sample of the picture."""
        if self.level:
            return self
        parts = [read(box) for box in windows(size)]
        sample = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
        return Level(tuple(level_of(sample).tolist()))


@dataclass(frozen=True)
class Smooth(Everywhere):
    """A smooth image, found in each picture by itself.

    Attributes:
        width: standard deviation, in pixels, of the Gaussian kernel that draws it.
    """

    width: float

    @property
    def margin(self) -> int:
        """The radius of the kernel."""
        return min(math.ceil(KERNEL_RADIUS * self.width), LARGEST_RADIUS)

    def of(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the smooth image, (channels, height, width)."""
        return np.stack([smooth_background(channel, self.width) for channel in pixels])


class ForegroundInParts(Protocol):
    """Brings parts of one picture to bright objects on black."""

    @property
    def margin(self) -> int:
        """Pixels around a part of the picture that must be known to bring the part to black."""

    def part(self, box: Box) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
        """Return what brings a part, (channels, height, width), to bright objects on black."""


class Foreground(Protocol):
    """Brings pictures to bright objects on black."""

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture, (channels, height, width), with bright objects on black.

        Raises: ShapeError if the pictures that this is made for have another size.
        """

    def of_drawing(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the same of what was drawn on a canvas, which is no picture of the data set."""

    def in_parts(self, read: Read, size: Size) -> ForegroundInParts:
        """Return what brings all parts of one picture to black, which is never read as a whole.

        Args:
            read: returns a part of it, uint8.
            size: (width, height) of the picture, once scaled.
        Raises: as for a picture in memory.
        """


def stretched(shares: NDArray[np.floating], stretch: float) -> NDArray[np.floating]:
    """Return asinh(K d) / asinh(K) of differences d, which are shares of white; of K = 0, d.

    It is linear up to 1 / K and logarithmic beyond, and keeps 0 and 1.

    Source: Lupton, Gunn and Szalay 1999, "A modified magnitude system".
    """
    return np.arcsinh(stretch * shares) / np.arcsinh(stretch) if stretch else shares


class Tone(NamedTuple):
    """How bright pixels are shown that differ from the background."""

    contrast: float = 1.0
    """The difference, of the full range, that becomes white."""
    stretch: float = 0.0
    """See ``stretched``."""

    def __call__(self, difference: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return intensities: above 1 where the difference is larger than the contrast."""
        return stretched(difference / self.contrast, self.stretch)


@dataclass(frozen=True)
class Difference:
    """How far pictures differ from a background that was decided on for the data set."""

    background: Background
    objects: Objects = "brighter"
    tone: Tone = field(default_factory=Tone)

    @property
    def margin(self) -> int:
        """That of the background."""
        return self.background.margin

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture, (channels, height, width), with bright objects on black."""
        intensity = pixels.astype(np.float32) / 255
        away = directed(intensity - self.background.of(intensity), self.objects)
        return from_intensity(self.tone(away))

    def of_drawing(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a drawing as it is: it is bright on black."""
        return pixels

    def in_parts(self, read: Read, size: Size) -> Difference:
        """Return the difference from what is behind all parts of one picture."""
        behind = self.background.in_parts(lambda box: read(box).astype(np.float32) / 255, size)
        return replace(self, background=behind)

    def part(self, box: Box) -> Difference:
        """Return the difference from what is behind a part of a picture."""
        return replace(self, background=self.background.part(box))


def foreground_of(config: FramingConfig) -> Foreground:
    """Return how a model's pictures come to bright objects on black.

    Raises: ConfigError if they share a background, and it is not there.
    """
    if config.subtract == "border":
        return ByBorder(config.invert)
    if config.subtract == "common" and not config.common_image:
        raise ConfigError(
            "subtract: the pictures have no image in common that could be subtracted, or nobody "
            "looked; use --preset auto, and another --subtract or none."
        )
    kinds: dict[str, Callable[[], Background]] = {
        "nothing": Black,
        "level": lambda: Level(config.subtract_level),
        "smooth": lambda: Smooth(config.subtract_width),
        "common": lambda: decode_common(config.common_image),
    }
    background = kinds[config.subtract]()
    return Difference(background, config.objects, Tone(config.contrast, config.stretch))


def directed(difference: NDArray[np.floating], objects: Objects) -> NDArray[np.floating]:
    """Return how far pixels differ from the background in the direction in which objects do."""
    if objects == "both":
        return np.abs(difference)
    return np.maximum(difference if objects == "brighter" else -difference, 0)
