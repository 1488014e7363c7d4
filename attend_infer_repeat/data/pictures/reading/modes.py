"""Pillow's modes of pictures, and what becomes of them: gray, or red, green and blue; 8 bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError
from .rasters import AT_ONCE
from .sampling import windows

if TYPE_CHECKING:
    from PIL import Image

    from .rasters import Raster

Values = tuple[float, float]
"""What becomes black and what becomes white."""

COLORLESS = 12
"""The largest difference between channels, of 255, that JPEG leaves in a gray picture."""

STRIP = 2**20
"""Pixels that are looked at at a time."""

NOT_FINITE = "it has NaN or infinite pixels; replace them, or remove the file."


def as_gray_or_rgb(picture: Image.Image, values: Values | None = None) -> Image.Image:
    """Return a picture of any mode as ``L`` or ``RGB``.

    Args:
        picture: of any mode.
        values: what becomes black and what white; as the picture's type has it if None.
    Raises: DataError if its type does not tell, or it has numbers that are not finite.
    """
    from PIL import Image

    mode = picture.mode
    if is_deep(mode):
        return Image.fromarray(to_8_bits(np.asarray(picture), values))
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        picture = opaque(picture.convert("RGBA"))
    if picture.mode in ("1", "L"):
        picture = picture.convert("L")
    else:
        picture = picture.convert("RGB")
        picture = picture if is_colored(picture) else picture.convert("L")
    if values is None or values == (0, 255) or values[1] > 255:  # the range of deeper pictures
        return picture
    return Image.fromarray(to_8_bits(np.asarray(picture), values))


def is_deep(mode: str) -> bool:
    """Tell whether pictures of a mode have more than 8 bits."""
    return mode.startswith("I") or mode == "F"


def to_8_bits(pixels: NDArray[Any], values: Values | None = None) -> NDArray[np.uint8]:
    """Map what is black to 0 and what is white to 255; beyond them it is cut off.

    Args:
        pixels: whole numbers or floats.
        values: what is black and what is white; if None, 0 and 65535 of whole numbers, and of
            floats 0 and 1, or 255 if any is more than 1.
    Raises: DataError if there are numbers that are not finite, or floats that are not from 0 to 255
        and ``values`` are not given.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(NOT_FINITE)
    if values is None and pixels.dtype.kind == "f":
        values = values_of_floats(float(pixels.min()), float(pixels.max()))
    if values is None and pixels.dtype == np.uint8:
        values = 0.0, 255.0
    low, high = (0.0, 65535.0) if values is None else values
    scaled = pixels.astype(np.float32)
    scaled -= low
    scaled *= 255 / (high - low)
    return np.round(scaled, out=scaled).clip(0, 255, out=scaled).astype(np.uint8)


def values_of_floats(low: float, high: float) -> Values:
    """Return what is black and what white in floats that go from ``low`` to ``high``.

    Raises: DataError if they are not finite, or beyond 0 and 255.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError(NOT_FINITE)
    if low < 0 or high > 255:
        raise DataError(
            f"its float pixels go from {low:g} to {high:g}, which does not tell what is black "
            "and what white; give --range LOW HIGH."
        )
    return 0.0, 1.0 if high <= 1 else 255.0


def opaque(picture: Image.Image) -> Image.Image:
    """Lay a picture of mode ``RGBA`` on black, or on white if its visible part is dark."""
    from PIL import Image

    light, weight, clear = 0.0, 0.0, False
    for strip in _strips(picture):
        rgba = np.asarray(strip).astype(np.float32)
        alpha = rgba[..., 3]
        light += float((rgba[..., :3].mean(axis=2) * alpha).sum(dtype=np.float64))
        weight += float(alpha.sum(dtype=np.float64))
        clear = clear or bool((alpha < 128).any())
    dark = weight > 0 and clear and light / weight < 64
    background = Image.new("RGBA", picture.size, "white" if dark else "black")
    return Image.alpha_composite(background, picture).convert("RGB")


def is_colored(picture: Raster) -> bool:
    """Tell whether a picture has colors that matter: of more than one pixel in a thousand.

    Of a large picture, evenly spread parts are looked at.
    """
    if picture.mode != "RGB":
        return False
    small = math.prod(picture.size) <= AT_ONCE
    parts = _strips(picture) if small else map(picture.crop, windows(picture.size))
    num = total = 0
    for part in parts:
        pixels = np.asarray(part)
        spread = pixels.max(axis=2) - pixels.min(axis=2)
        num += int(np.count_nonzero(spread > COLORLESS))
        total += spread.size
    return num > 0.001 * total


def _strips(picture: Raster) -> Iterator[Raster]:
    """Yield a picture in strips, so that looking at it takes no copy of it."""
    width, height = picture.size
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        yield picture.crop((0, top, width, min(top + rows, height)))
