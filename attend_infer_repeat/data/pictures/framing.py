"""From a picture of any size to the model's canvas, and back: bright objects on black."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...config import ModelConfig
from .background import Foreground, foreground_of
from .border import EVEN, GRAY_BACKGROUND, ByBorder, border_level, border_quartiles
from .reading import Need
from .tiles import spans

if TYPE_CHECKING:
    from PIL import Image

Resize = Literal["fit", "pad", "crop", "tile"]

REDUCING_GAP = 3.0
"""How much larger than on the canvas a picture is when it is resampled; whole pixels are averaged
before, which is quick, and from here on makes no difference that is seen."""


OVERLAP = 1.2
"""Overlap of tiles, in widths of a window."""


@dataclass(frozen=True)
class Framing:
    """How pictures come onto the canvas; see the fields of the same names in ``ModelConfig``."""

    canvas_size: tuple[int, int]
    channels: int = 1
    resize: Resize = "fit"
    zoom: float = 1.0
    foreground: Foreground = field(default_factory=ByBorder)
    need: Need = field(default_factory=Need)
    """What becomes black and white, and which channels are taken."""
    overlap: int = 0
    """Pixels by which tiles overlap, at least: an object in the middle of an overlap is whole."""

    @classmethod
    def of_model(cls, config: ModelConfig) -> Framing:
        """Return how a model's pictures come onto its canvas.

        Raises: ConfigError if they share a background that is not known.
        """
        return cls(
            config.canvas_size,
            config.channels,
            config.framing.resize,
            config.framing.zoom,
            foreground_of(config.framing),
            Need(values=config.framing.range, channels=config.framing.select),
            math.ceil(OVERLAP * config.canvas_size[1] / config.pose.scale_prior_mean),
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
    Raises: ShapeError if the picture is not of the size for which its background is known.
    """
    frame, scaled = _frame(picture.size if size is None else size, framing)
    pixels = _scaled(picture, framing, scaled)
    if scaled == framing.canvas_size[::-1]:
        return np.ascontiguousarray(pixels), frame
    return _centered(pixels, framing.canvas_size), frame


def whole_frame(picture: Image.Image, framing: Framing) -> tuple[NDArray[np.uint8], Frame]:
    """Scale a picture and put its background to black, without a canvas.

    Returns: (channels, height, width), and where the picture lies on that.
    Raises: as ``place``.
    """
    frame, scaled = _frame(picture.size, framing)
    return _scaled(picture, framing, scaled), replace(frame, offset=(0.0, 0.0))


def place_tiles(
    picture: Image.Image, framing: Framing, size: tuple[int, int] | None = None
) -> list[Tile]:
    """Put a picture onto as many canvases as it takes: one, but of a large picture with ``tile``.

    Args, Raises: as ``place``.
    Returns: the tiles, row by row.
    """
    whole, scaled = _frame(picture.size if size is None else size, framing)
    height, width = framing.canvas_size
    if framing.resize != "tile" or (scaled[0] <= width and scaled[1] <= height):
        return [Tile(*place(picture, framing, size))]
    pixels = _scaled(picture, framing, scaled)
    columns, rows = (
        spans(length, side, min(framing.overlap, side // 2))
        for length, side in zip(scaled, (width, height), strict=True)
    )
    return [
        Tile(
            cut(pixels, (row.start, column.start), framing.canvas_size),
            Frame(whole.size, whole.zoom, (-float(column.start), -float(row.start))),
            (*column.core, *row.core),
        )
        for row in rows
        for column in columns
    ]


class Tile(NamedTuple):
    """A part of a picture, on a canvas."""

    canvas: NDArray[np.uint8]  # (channels, height, width)
    frame: Frame
    core: tuple[float, float, float, float] = (-math.inf, math.inf, -math.inf, math.inf)
    """x from, x to, y from, y to, in canvas pixels: an object is of the tile in whose core its
    center lies."""


def place_canvas(pixels: NDArray[np.uint8], framing: Framing) -> tuple[NDArray[np.uint8], Frame]:
    """Put the background of a drawing that has the canvas's size and channels to black.

    Args:
        pixels: (channels, height, width).
        framing: of which the foreground counts.
    Returns: as ``place``.
    """
    height, width = framing.canvas_size
    return framing.foreground.of_drawing(pixels), Frame((width, height), (1.0, 1.0), (0.0, 0.0))


def enough(size: tuple[int, int], framing: Framing) -> tuple[int, int]:
    """Return the size, (width, height), at which a picture of ``size`` may be decoded."""
    _, scaled = _frame(size, framing)
    return math.ceil(REDUCING_GAP * scaled[0]), math.ceil(REDUCING_GAP * scaled[1])


def _scaled(picture: Image.Image, framing: Framing, scaled: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale a picture to (width, height) and put its background to black."""
    picture = picture.convert("L" if framing.channels == 1 else "RGB")
    if scaled != picture.size:
        from PIL.Image import Resampling

        picture = picture.resize(scaled, Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    pixels = np.asarray(picture).reshape(*picture.size[::-1], -1).transpose(2, 0, 1)
    return framing.foreground(pixels)


def scaled_size(size: tuple[int, int], framing: Framing) -> tuple[int, int]:
    """Return the (width, height) that a picture of a size is scaled to."""
    return _frame(size, framing)[1]


def _frame(size: tuple[int, int], framing: Framing) -> tuple[Frame, tuple[int, int]]:
    """Return where a picture of ``size`` lies, and the (width, height) that it is scaled to."""
    height, width = framing.canvas_size
    fitting = min(width / size[0], height / size[1])
    zoom = {
        "fit": fitting,
        "pad": min(framing.zoom, fitting),
        "crop": framing.zoom,
        "tile": framing.zoom,
    }[framing.resize]
    scaled = max(round(size[0] * zoom), 1), max(round(size[1] * zoom), 1)
    # Whole pixels, so what is not scaled is not blurred; rounded towards the upper left corner.
    offset = float((width - scaled[0]) // 2), float((height - scaled[1]) // 2)
    return Frame(size, (scaled[0] / size[0], scaled[1] / size[1]), offset), scaled


def _centered(pixels: NDArray[np.uint8], canvas_size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut or pad a picture, (channels, h, w), to (channels, height, width), in its middle."""
    start = [
        -((want - have) // 2) for have, want in zip(pixels.shape[1:], canvas_size, strict=True)
    ]
    return cut(pixels, (start[0], start[1]), canvas_size)


def cut(
    pixels: NDArray[np.uint8], start: tuple[int, int], canvas_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Cut a canvas out of a picture, (channels, h, w); beyond the picture is its background.

    Args:
        start: row and column of the canvas's first pixel in the picture.
    """
    low, _, high = border_quartiles(pixels)
    has_background = low > GRAY_BACKGROUND and high - low <= EVEN
    fill = border_level(pixels) if has_background else np.zeros(len(pixels))
    canvas = np.empty((len(pixels), *canvas_size), np.uint8)
    canvas[:] = fill[:, None, None].astype(np.uint8)
    source, target = [slice(None)], [slice(None)]
    for first, have, want in zip(start, pixels.shape[1:], canvas_size, strict=True):
        source.append(slice(max(first, 0), min(first + want, have)))
        target.append(slice(max(-first, 0), min(have - first, want)))
    canvas[tuple(target)] = pixels[tuple(source)]
    return canvas
