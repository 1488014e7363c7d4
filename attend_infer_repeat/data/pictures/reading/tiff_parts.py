"""A TIFF that is larger than memory: one that is tiled can be read in parts, as a zarr is."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

from ....errors import DataError, extra
from .decoding import check_size, errors_in_one_line, shown
from .tiff import TiffPictures
from .zarr_layout import Layout, levels_of
from .zarrs import ZarrPictures


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
    with extra("microscopy", f"{shown(path)}: a TIFF of several pages or channels"):
        import tifffile
    with errors_in_one_line(shown(path), max_pixels), tifffile.TiffFile(path) as file:
        page = file.pages.first
        size = page.imagewidth, page.imagelength
        if size[0] * size[1] <= max_pixels:
            return TiffPictures(path, max_pixels)
        if not page.is_tiled:
            check_size(size, max_pixels)
        series = file.series[0]
        axes, keys = series.axes, levels_of([level.shape for level in series.levels], series.axes)
        if not {"Y", "X"} <= set(axes):
            raise DataError(f"its axes are {axes}, without a height or a width (Y, X).")
    with extra("large", f"{shown(path)}: a TIFF of {size[0]} x {size[1]} pixels"):
        import zarr  # noqa: F401
    return ZarrPictures(path, TiffLayout(os.path.abspath(path), tuple(map(str, keys)), axes))
