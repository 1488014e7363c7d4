"""An image that all pictures have behind their objects, and how settings keep it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....errors import ConfigError, ShapeError
from ..reading.pixels import from_intensity
from ..reading.rasters import Box, Size
from .parts import Everywhere, Read


@dataclass(frozen=True, eq=False)
class Common(Everywhere):
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
        self._check((pixels.shape[2], pixels.shape[1]))
        away, other = (np.abs(pixels - own).max(axis=0) for own in (self.image, self.other))
        return np.where(away <= other, self.image, self.other)

    def in_parts(self, read: Read, size: Size) -> Common:
        """Return the same: ShapeError if the picture is not of its size."""
        self._check(size)
        return self

    def _check(self, size: Size) -> None:
        own = self.image.shape[2], self.image.shape[1]
        if size != own:
            raise ShapeError(
                f"{size[0]} x {size[1]} pixels once scaled, where the background that pictures "
                f"share has {own[0]} x {own[1]}; give pictures of the size of those trained on."
            )

    def part(self, box: Box) -> Common:
        """Return what is behind a part of a picture."""
        left, top, right, bottom = box
        image, other = (own[:, top:bottom, left:right] for own in (self.image, self.other))
        return Common(image, other)


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
