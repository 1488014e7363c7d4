"""From a picture of any size to the model's canvas, and back: bright objects on black."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ...config import ModelConfig

if TYPE_CHECKING:
    from PIL import Image

Resize = Literal["fit", "pad", "crop"]
Invert = Literal["auto", "yes", "no"]

GRAY_BACKGROUND = 24
"""The darkest background, of 255, that is taken away."""

CONTRAST = 48
"""The difference from its background, of 255, at which a picture shows something."""

EVEN = 40
"""The largest spread of the middle half of the border, of 255, that is one background."""

REDUCING_GAP = 3.0
"""How much larger than on the canvas a picture is when it is resampled; whole pixels are averaged
before, which is quick, and from here on makes no difference that is seen."""


@dataclass(frozen=True)
class Framing:
    """How pictures come onto the canvas; see the fields of the same names in ``ModelConfig``."""

    canvas_size: tuple[int, int]
    channels: int = 1
    resize: Resize = "fit"
    zoom: float = 1.0
    invert: Invert = "auto"

    @classmethod
    def of_model(cls, config: ModelConfig) -> Framing:
        """Return how a model's pictures come onto its canvas."""
        return cls(
            config.canvas_size,
            config.channels,
            config.framing.resize,
            config.framing.zoom,
            config.framing.invert,
        )


@dataclass(frozen=True)
class Frame:
    """Where a picture lies on its canvas: canvas point = zoom * picture point + offset.

    Attributes:
        size: (width, height) of the picture in pixels.
        zoom, offset: along x and y; pixel edges are whole numbers.
    """

    size: tuple[int, int]
    zoom: tuple[float, float]
    offset: tuple[float, float]

    def to_canvas(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map boxes (..., 4), x0, y0, x1, y1, from the picture to the canvas."""
        return (boxes * np.tile(self.zoom, 2) + np.tile(self.offset, 2)).astype(np.float32)

    def to_picture(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map boxes (..., 4) from the canvas to the picture, cut off at its edges."""
        there = (boxes - np.tile(self.offset, 2)) / np.tile(self.zoom, 2)
        return there.clip(0, np.tile(self.size, 2)).astype(np.float32)


def place(
    picture: Image.Image, framing: Framing, size: tuple[int, int] | None = None
) -> tuple[NDArray[np.uint8], Frame]:
    """Put a picture onto the canvas, in the middle, and its background to black.

    A gray picture of the canvas's size, dark in the background, stays as it is, bit for bit.

    Args:
        picture: of mode ``L`` or ``RGB``.
        framing: how it comes onto the canvas.
        size: its own, (width, height), if it was decoded at less.
    Returns: (channels, height, width) uint8, and where the picture lies.
    """
    picture = picture.convert("L" if framing.channels == 1 else "RGB")
    frame, scaled = _frame(picture.size if size is None else size, framing)
    if scaled != picture.size:
        from PIL.Image import Resampling

        picture = picture.resize(scaled, Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    pixels = np.asarray(picture).reshape(*picture.size[::-1], -1).transpose(2, 0, 1)
    pixels = on_black(pixels, framing.invert)
    if scaled == framing.canvas_size[::-1]:
        return np.ascontiguousarray(pixels), frame
    return _centered(pixels, framing.canvas_size), frame


def place_canvas(pixels: NDArray[np.uint8], framing: Framing) -> tuple[NDArray[np.uint8], Frame]:
    """Put the background of a picture that has the canvas's size and channels to black.

    Args:
        pixels: (channels, height, width).
        framing: of which ``invert`` counts.
    Returns: as ``place``.
    """
    height, width = framing.canvas_size
    return on_black(pixels, framing.invert), Frame((width, height), (1.0, 1.0), (0.0, 0.0))


def enough(size: tuple[int, int], framing: Framing) -> tuple[int, int]:
    """Return the size, (width, height), at which a picture of ``size`` may be decoded."""
    _, scaled = _frame(size, framing)
    return math.ceil(REDUCING_GAP * scaled[0]), math.ceil(REDUCING_GAP * scaled[1])


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
    level = background(pixels)[:, None, None]
    if kind == "bright":
        level = np.maximum(level, 1)
        return _to_uint8((level - pixels) / level)
    if kind == "gray":
        return _to_uint8((pixels - level) / np.maximum(255 - level, 1))
    return pixels


def background(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the median of each channel's border, (channels,)."""
    return np.median(_border(pixels), axis=1).astype(np.float32)


def background_kind(pixels: NDArray[np.uint8]) -> Literal["bright", "gray", "dark"]:
    """Tell what the background of a picture, (channels, height, width), is.

    It is what most of the border agrees on; where that is nothing, as in a photo, it counts as
    dark. A gray one only counts where something brighter shows on it.
    """
    low, middle, high = _quartiles(pixels)
    if high - low > EVEN:
        return "dark"
    if low > 127:
        return "bright"
    return "gray" if low > GRAY_BACKGROUND and pixels.max() - middle >= CONTRAST else "dark"


def _quartiles(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the quartiles of the border's brightness, (3,)."""
    return np.percentile(_border(pixels).mean(axis=0), (25, 50, 75))


def _border(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pixels of the border, (channels, n)."""
    edges = (pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1])
    return np.concatenate(edges, axis=1)


def has_contrast(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether a picture shows anything beside its background."""
    away = np.abs(pixels - background(pixels)[:, None, None])
    return bool(away.max() >= CONTRAST)


def _frame(size: tuple[int, int], framing: Framing) -> tuple[Frame, tuple[int, int]]:
    """Return where a picture of ``size`` lies, and the (width, height) that it is scaled to."""
    height, width = framing.canvas_size
    fitting = min(width / size[0], height / size[1])
    zoom = {
        "fit": fitting,
        "pad": min(framing.zoom, fitting),
        "crop": framing.zoom,
    }[framing.resize]
    scaled = max(round(size[0] * zoom), 1), max(round(size[1] * zoom), 1)
    # Whole pixels, so what is not scaled is not blurred; rounded towards the upper left corner.
    offset = float((width - scaled[0]) // 2), float((height - scaled[1]) // 2)
    return Frame(size, (scaled[0] / size[0], scaled[1] / size[1]), offset), scaled


def _centered(pixels: NDArray[np.uint8], canvas_size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut or pad a picture, (channels, h, w), to (channels, height, width), with its background."""
    low, _, high = _quartiles(pixels)
    has_background = low > GRAY_BACKGROUND and high - low <= EVEN
    fill = background(pixels) if has_background else np.zeros(len(pixels))
    canvas = np.empty((len(pixels), *canvas_size), np.uint8)
    canvas[:] = fill[:, None, None].astype(np.uint8)
    source, target = [slice(None)], [slice(None)]
    for have, want in zip(pixels.shape[1:], canvas_size, strict=True):
        offset = (want - have) // 2
        source.append(slice(max(-offset, 0), max(-offset, 0) + min(have, want)))
        target.append(slice(max(offset, 0), max(offset, 0) + min(have, want)))
    canvas[tuple(target)] = pixels[tuple(source)]
    return canvas


def _to_uint8(intensity: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.round(255 * intensity.clip(0, 1)).astype(np.uint8)
