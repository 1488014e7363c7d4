"""What is behind the objects of pictures, decided for a whole data set, and how it is taken away.

The model draws bright objects on black. Of a picture x whose background is b it is shown

    |x - b| / contrast,   max(x - b, 0) / contrast   or   max(b - x, 0) / contrast

as objects differ from their background in both directions, are brighter or are darker, and where a
few objects are much brighter than most, the logarithm of that, nearly (``stretched``). Four kinds
of b: nothing (black); one level; a smooth image (haze, a gradient, a vignette), found in each
picture by itself; and an image that all pictures share (a tray, a fixed camera, a game's screen).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ...config import FramingConfig
from ...errors import ConfigError, ShapeError
from .border import ByBorder
from .pixels import from_intensity
from .smooth import level_of, smooth_background

Objects = Literal["brighter", "darker", "both"]
"""How objects differ from what is behind them."""


class Background(Protocol):
    """What is behind the objects of one data set's pictures."""

    def of(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the background of a picture.

        Args:
            pixels: (channels, height, width), intensity.
        Returns: of a shape that broadcasts to it.
        Raises: ShapeError if the picture cannot have such a background.
        """


@dataclass(frozen=True)
class Black:
    """Nothing: objects lie on black."""

    def of(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return 0."""
        return np.zeros((1, 1, 1), np.float32)


@dataclass(frozen=True)
class Level:
    """One intensity for each channel.

    Attributes:
        level: (channels,), of all pictures; each picture's own if empty.
    """

    level: tuple[float, ...] = ()

    def of(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the level, (channels, 1, 1)."""
        level = np.array(self.level, np.float32) if self.level else level_of(pixels)
        return level[:, None, None]


@dataclass(frozen=True)
class Smooth:
    """A smooth image, found in each picture by itself.

    Attributes:
        width: standard deviation, in pixels, of the Gaussian kernel that draws it.
    """

    width: float

    def of(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the smooth image, (channels, height, width)."""
        return np.stack([smooth_background(channel, self.width) for channel in pixels])


@dataclass(frozen=True, eq=False)
class Common:
    """Images that are behind the objects of all pictures: of each pixel, the nearer one.

    Attributes:
        image: (channels, height, width), intensity.
        other: likewise: what a pixel also is in many pictures, as on a score board; where there is
            no such thing, the same as ``image``.
    """

    image: NDArray[np.floating]
    other: NDArray[np.floating]

    def of(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return what is behind each pixel."""
        if pixels.shape != self.image.shape:
            raise ShapeError(
                f"{pixels.shape[2]} x {pixels.shape[1]} pixels once scaled, where the background "
                f"that pictures share has {self.image.shape[2]} x {self.image.shape[1]}; give "
                "pictures of the size of those trained on."
            )
        away, other = (np.abs(pixels - own).max(axis=0) for own in (self.image, self.other))
        return np.where(away <= other, self.image, self.other)


class Foreground(Protocol):
    """Brings pictures to bright objects on black."""

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture, (channels, height, width), with bright objects on black.

        Raises: ShapeError if the pictures that this is made for have another size.
        """

    def of_drawing(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the same of what was drawn on a canvas, which is no picture of the data set."""


@dataclass(frozen=True)
class Difference:
    """How far pictures differ from a background that was decided on for the data set."""

    background: Background
    objects: Objects = "brighter"
    contrast: float = 1.0
    """The difference from the background, of the full range, that becomes white."""
    stretch: float = 0.0
    """See ``stretched``."""

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture, (channels, height, width), with bright objects on black."""
        intensity = pixels.astype(np.float32) / 255
        away = directed(intensity - self.background.of(intensity), self.objects)
        return from_intensity(stretched(away / self.contrast, self.stretch))

    def of_drawing(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a drawing as it is: it is bright on black."""
        return pixels


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
    return Difference(background, config.objects, config.contrast, config.stretch)


def resized(image: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.floating]:
    """Scale an image, (channels, height, width), to (width, height)."""
    from PIL import Image
    from PIL.Image import Resampling

    return np.stack(
        [np.asarray(Image.fromarray(c).resize(size, Resampling.BILINEAR)) for c in image]
    )


def encode_common(common: Common, size: tuple[int, int]) -> str:
    """Return a common background, scaled to (width, height), as a PNG in base64 with 8 bits.

    Its two images stand one below the other.
    """
    from PIL import Image

    both = np.concatenate([resized(common.image, size), resized(common.other, size)], axis=1)
    pixels = from_intensity(both)
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def decode_common(text: str) -> Common:
    """Return a background that ``encode_common`` wrote.

    Raises: ConfigError if the text is damaged.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as png:
            pixels = np.asarray(png)
    except (ValueError, OSError, SyntaxError) as error:
        raise ConfigError(f"common_image: damaged ({error}); train anew.") from error
    both = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1).astype(np.float32) / 255
    image, other = np.split(both, 2, axis=1)
    return Common(image, other)


def stretched(shares: NDArray[np.floating], stretch: float) -> NDArray[np.floating]:
    """Return asinh(K d) / asinh(K) of differences d, which are shares of white; of K = 0, d.

    It is linear up to 1 / K and logarithmic beyond, and keeps 0 and 1.

    Source: Lupton, Gunn and Szalay 1999, "A modified magnitude system".
    """
    return np.arcsinh(stretch * shares) / np.arcsinh(stretch) if stretch else shares


def directed(difference: NDArray[np.floating], objects: Objects) -> NDArray[np.floating]:
    """Return how far pixels differ from the background in the direction in which objects do."""
    if objects == "both":
        return np.abs(difference)
    return np.maximum(difference if objects == "brighter" else -difference, 0)
