"""Pictures with what was found drawn on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..data.pictures.reading.pixels import from_intensity

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..data.pictures.reading.rasters import Raster

STEP_COLORS = ("red", "green", "blue", "orange", "magenta", "cyan", "yellow", "purple")
"""Of boxes: the tutorial's colors of step 1, 2, 3; further steps go on in other ones."""

SMALLEST, LARGEST = 256, 1600
"""The longest side of an annotated picture in pixels: small pictures are enlarged, large shrunk."""

CAPTION = 18
"""Height of the line below the picture, in pixels."""


def step_color(t: int) -> str:
    """Return the color of step t (from 0)."""
    return STEP_COLORS[t % len(STEP_COLORS)]


def shrunk_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size, (width, height), of what an annotated picture of a size is made from."""
    return _times(min(_scale(max(size)), 1), size)


def shrunk(picture: Raster, size: tuple[int, int]) -> Image:
    """Return what ``annotated`` needs of a picture: all of it, if it is not large.

    Args:
        picture: perhaps decoded at less than its size, or read in parts.
        size: its own, (width, height).
    """
    from PIL.Image import Resampling

    target = shrunk_size(size)
    if picture.size == target:  # so it is not large, and in memory
        return cast("Image", picture)
    return picture.resize(target, Resampling.BILINEAR)


def annotated(picture: Image, record: dict[str, Any], size: tuple[int, int] | None = None) -> Image:
    """Return a picture with the boxes and the count of a record (see ``records.scene_record``).

    Args:
        picture: it, or what ``shrunk`` made of it.
        record: what was found.
        size: its own, (width, height), if it was shrunk.
    """
    from PIL import Image, ImageDraw
    from PIL.Image import Resampling

    size = picture.size if size is None else size
    scale = _scale(max(size))
    width, height = target = _times(scale, size)
    if picture.size != target:
        how = Resampling.NEAREST if scale >= 1 else Resampling.BILINEAR
        picture = picture.resize(target, how)
    shown = Image.new("RGB", (max(width, SMALLEST), max(height, 1) + CAPTION), "white")
    shown.paste(picture.convert("RGB"))
    draw = ImageDraw.Draw(shown)
    for found in record["objects"]:
        identity = found.get("identity")
        color = step_color((identity or found["step"]) - 1)
        x0, y0, x1, y1 = (scale * edge for edge in found["box"])
        draw.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=color, width=2)
        label = f"{found['score']:.2f}" if identity is None else f"#{identity}"
        draw.text((x0 + 4, y0 + 2), label, fill=color)
    count = record["count"]
    noun = "object" if count == 1 else "objects"
    probability = record["count_probs"][count]
    draw.text((4, height + 3), f"{count} {noun} (probability {probability:.3f})", fill="black")
    return shown


def as_image(canvas: NDArray[np.floating]) -> Image:
    """Return a drawn canvas, (channels, height, width), intensity, as a picture."""
    from PIL import Image

    pixels = from_intensity(canvas)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def _scale(side: int) -> float:
    if side > LARGEST:
        return LARGEST / side
    return float(-(-SMALLEST // side)) if side < SMALLEST else 1.0


def _times(scale: float, size: tuple[int, int]) -> tuple[int, int]:
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
