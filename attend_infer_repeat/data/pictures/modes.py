"""Pillow's modes of pictures, and what becomes of them: gray, or red, green and blue; 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ...errors import DataError

if TYPE_CHECKING:
    from PIL import Image

COLORLESS = 12
"""The largest difference between channels, of 255, that JPEG leaves in a gray picture."""

STRIP = 2**20
"""Pixels that are looked at at a time."""


def as_gray_or_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as ``L`` or ``RGB``."""
    from PIL import Image

    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(picture)))
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        picture = opaque(picture.convert("RGBA"))
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    picture = picture.convert("RGB")
    return picture if is_colored(picture) else picture.convert("L")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale whole numbers from 0..65535, and floats from 0..1 (or 0..255), to 0..255."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise DataError("float pixels that are not from 0 to 1; save it with 8 or 16 bits.")
        values = values * np.float32(255 if values.max() <= 1 else 1)
    else:
        values = values.astype(np.float32)
        values /= 257
    return np.round(values, out=values).clip(0, 255, out=values).astype(np.uint8)


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


def is_colored(picture: Image.Image) -> bool:
    """Tell whether a picture has colors that matter: of more than one pixel in a thousand."""
    if picture.mode != "RGB":
        return False
    num = 0
    for strip in _strips(picture):
        pixels = np.asarray(strip)
        spread = pixels.max(axis=2) - pixels.min(axis=2)
        num += int(np.count_nonzero(spread > COLORLESS))
    return num > 0.001 * picture.size[0] * picture.size[1]


def _strips(picture: Image.Image) -> Iterator[Image.Image]:
    """Yield a picture in strips, so that looking at it takes no copy of it."""
    width, height = picture.size
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        yield picture.crop((0, top, width, min(top + rows, height)))
