"""From a picture of any size to the model's canvas, and back: bright objects on black."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....config import ModelConfig
from ..background.background import Foreground, foreground_of
from ..background.border import ByBorder
from ..reading.decoding import Need
from ..reading.rasters import Raster, Size
from .scaled import REDUCING_GAP, Scaled, canvas_at, covered, cut, scaled_of
from .tiles import Span, runs, spans

Resize = Literal["fit", "pad", "crop", "tile"]

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
            math.ceil(OVERLAP * config.canvas_size[1] / config.pose.scale_range[0]),
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
    picture: Raster, framing: Framing, size: Size | None = None
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
    frame, size = _frame(picture.size if size is None else size, framing)
    scaled = scaled_of(picture, size, framing.channels, framing.foreground)
    left, top = (-int(offset) for offset in frame.offset)
    return np.ascontiguousarray(canvas_at(scaled, (top, left), framing.canvas_size)), frame


def whole_frame(picture: Raster, framing: Framing) -> tuple[Scaled, Frame]:
    """Scale a picture and put its background to black, without a canvas.

    Returns: the scaled picture, and where the picture lies on that.
    Raises: as ``place``.
    """
    frame, size = _frame(picture.size, framing)
    scaled = scaled_of(picture, size, framing.channels, framing.foreground)
    return scaled, replace(frame, offset=(0.0, 0.0))


class Tile(NamedTuple):
    """A part of a picture, on a canvas."""

    canvas: NDArray[np.uint8]  # (channels, height, width)
    frame: Frame
    core: tuple[float, float, float, float] = (-math.inf, math.inf, -math.inf, math.inf)
    """x from, x to, y from, y to, in canvas pixels: an object is of the tile in whose core its
    center lies."""
    number: int = 0
    """Among the tiles of the picture, row by row."""


class Tiles:
    """The tiles of a picture, which are cut a block at a time.

    One canvas is enough, but of a large picture with ``tile``. A picture in memory is one block.

    Args, Raises: as ``place``.
    """

    def __init__(self, picture: Raster, framing: Framing, size: Size | None = None) -> None:
        self.frame, scaled = _frame(picture.size if size is None else size, framing)
        self._canvas_size = height, width = framing.canvas_size
        self._scaled = scaled_of(picture, scaled, framing.channels, framing.foreground)
        if framing.resize == "tile":
            self._columns, self._rows = (
                spans(length, side, min(framing.overlap, side // 2))
                for length, side in zip(scaled, (width, height), strict=True)
            )
        else:
            across, down = self.frame.offset
            self._columns, self._rows = (
                [Span(-int(offset), (-math.inf, math.inf))] for offset in (across, down)
            )
        self.blocks = [
            (rows, columns)
            for rows in runs(self._rows, height, self._scaled.block)
            for columns in runs(self._columns, width, self._scaled.block)
        ]
        """Rows and columns of the tiles of each block."""

    def __len__(self) -> int:
        return len(self._rows) * len(self._columns)

    def of_block(self, block: int) -> list[Tile]:
        """Return the tiles of a block, row by row.

        Raises: DataError, in one line, if they cannot be read.
        """
        rows, columns = self.blocks[block]
        start = self._rows[rows[0]].start, self._columns[columns[0]].start
        height, width = self._canvas_size
        extent = (
            self._rows[rows[-1]].start + height - start[0],
            self._columns[columns[-1]].start + width - start[1],
        )
        pixels, begin = self._scaled.around(covered(start, extent, self._scaled.size))
        return [self._tile(pixels, begin, row, column) for row in rows for column in columns]

    def _tile(
        self, pixels: NDArray[np.uint8], begin: tuple[int, int], row: int, column: int
    ) -> Tile:
        down, across = self._rows[row], self._columns[column]
        frame = replace(self.frame, offset=(-float(across.start), -float(down.start)))
        start = down.start - begin[0], across.start - begin[1]
        return Tile(
            cut(pixels, start, self._canvas_size),
            frame,
            (*across.core, *down.core),
            row * len(self._columns) + column,
        )


def place_tiles(picture: Raster, framing: Framing, size: Size | None = None) -> list[Tile]:
    """Put a picture onto as many canvases as it takes, all at once.

    Args, Raises: as ``place``.
    Returns: the tiles, row by row.
    """
    tiles = Tiles(picture, framing, size)
    return [tile for block in range(len(tiles.blocks)) for tile in tiles.of_block(block)]


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
