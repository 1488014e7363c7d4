"""A TIFF that is larger than memory: one that is tiled can be read in parts, as a zarr is."""

from __future__ import annotations

import math
import os
import struct
import weakref
from pathlib import Path
from typing import Any

from ....errors import DataError, extra
from .decoding import check_size, errors_in_one_line, open_file, shown
from .rasters import Size
from .tiff import TiffPictures
from .zarr_layout import Layout, levels_of
from .zarrs import ZarrPictures

WIDTH, LENGTH, TILE_WIDTH = 256, 257, 322
"""TIFF's tags of the width and the height of a page, and of the width of its tiles."""

INTEGERS = {3: "H", 4: "L", 16: "Q"}
"""TIFF's types of whole numbers, as ``struct`` has them."""


class TiffLayout(Layout):
    """A tiled TIFF, as an array of zarr for each level of its pyramid: see ``Layout``.

    The keys are the numbers of the levels in the file.
    """

    def open(self, level: int) -> Any:
        """Return a level of the first series of pages as an array."""
        import tifffile
        import zarr

        if level not in self._open:
            file = tifffile.TiffFile(self.path)
            closes = weakref.finalize(self, file.close)
            store = file.series[0].aszarr(level=int(self.keys[level]))
            self._open[level] = zarr.open(store, mode="r"), closes
        return self._open[level][0]

    def close(self) -> None:
        """See ``Layout.close``."""
        for _, closes in self._open.values():
            closes()
        self._open.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return TiffLayout, (self.path, self.keys, self.axes)


def open_tiff(path: Path, max_pixels: int) -> TiffPictures | ZarrPictures:
    """Open the pictures of a TIFF; those of more than ``max_pixels`` are read in parts, if tiled.

    Raises: DataError, in one line, if it cannot be read, or is too large and not tiled;
        MissingError without tifffile, or without zarr if that is what reads it.
    """
    with errors_in_one_line(shown(path), max_pixels):
        size, is_tiled = _first_page(path)
        is_large = math.prod(size) > max_pixels
        if is_large and not is_tiled:
            check_size(size, max_pixels)
    if not is_large:
        return TiffPictures(path, max_pixels)
    with extra("large,microscopy", f"{shown(path)}: a TIFF of {size[0]} x {size[1]} pixels"):
        import tifffile
        import zarr  # noqa: F401
    with errors_in_one_line(shown(path), max_pixels), tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes, keys = series.axes, levels_of([level.shape for level in series.levels], series.axes)
        if not {"Y", "X"} <= set(axes):
            raise DataError(f"its axes are {axes}, without a height or a width (Y, X).")
    return ZarrPictures(path, TiffLayout(os.path.abspath(path), tuple(map(str, keys)), axes))


def _first_page(path: Path) -> tuple[Size, bool]:
    """Return the size of a TIFF's first page, (0, 0) if it is not told, and whether it is tiled.

    By its tags alone: Pillow opens only some kinds, and tifffile may not be installed.
    """
    with open_file(path) as file:
        header = file.read(16)
        order = "<" if header.startswith(b"II") else ">"
        start, num, entry = ("8xQ", "Q", "HHQ8s") if 43 in header[2:4] else ("4xL", "H", "HHL4s")
        file.seek(struct.unpack_from(order + start, header)[0])
        (num_tags,) = struct.unpack(order + num, file.read(struct.calcsize(order + num)))
        tags = {}
        for _ in range(num_tags):
            tag, kind, _, value = struct.unpack(
                order + entry, file.read(struct.calcsize(order + entry))
            )
            if tag in (WIDTH, LENGTH, TILE_WIDTH) and kind in INTEGERS:
                (tags[tag],) = struct.unpack_from(order + INTEGERS[kind], value)
    return (tags.get(WIDTH, 0), tags.get(LENGTH, 0)), TILE_WIDTH in tags
