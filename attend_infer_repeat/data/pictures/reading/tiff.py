"""The pictures in a TIFF: pages, frames, slices or channels, as tifffile tells them apart."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError, extra, warn_once
from .axes import CHANNEL_AXES, TIME_AXIS, channels_first
from .decoding import (
    BYTES_PER_PIXEL,
    MAX_PIXELS,
    WHOLE,
    Decoded,
    Need,
    check_size,
    errors_in_one_line,
    joined_name,
    shown,
)
from .planes import as_picture, selected

if TYPE_CHECKING:
    import tifffile

DESCRIPTION = 270
"""TIFF's tag in which ImageJ says how many pictures follow the first one."""

MOST_BYTES = 4 * 2**30
"""The largest series that is read as a whole, since its pages are no planes."""


class TiffPictures:
    """The pictures of a TIFF: one for each place along all axes but height, width and channels.

    Args:
        path: of the file.
        max_pixels: the largest picture that is decoded.
    Raises: DataError, in one line, if it cannot be read; MissingError without tifffile.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._path, self._max_pixels = path, max_pixels
        self._lock = threading.Lock()
        self._close: Callable[[], object] = _close_nothing
        self._whole: NDArray[Any] | None = None
        with extra("microscopy", f"{shown(path)}: a TIFF of several pages or channels"):
            import tifffile  # noqa: F401
        with errors_in_one_line(shown(path), max_pixels):
            self._series = series = self._open()
            axes, shape = series.axes, series.shape
            self.close()
        self._axes, self._shape, self._dtype = axes, shape, series.dtype
        self._over = [i for i, axis in enumerate(axes) if axis not in "YX" + CHANNEL_AXES]
        self.num = math.prod(shape[i] for i in self._over)
        self.is_video = TIME_AXIS in axes

    def _open(self) -> tifffile.TiffPageSeries:
        """Open the file, until somebody closes it."""
        import tifffile

        file = tifffile.TiffFile(self._path)
        self._close = weakref.finalize(self, file.close)
        try:
            if not file.series:
                raise DataError("it holds no picture.")
            if len(file.series) > 1:
                warn_once(
                    f"{shown(self._path)}: {len(file.series)} series of pages of different kinds; "
                    "the first one is read."
                )
            series = file.series[0]
            axes, shape = series.axes, series.shape
            if not {"Y", "X"} <= set(axes):
                raise DataError(f"its axes are {axes}, without a height or a width (Y, X).")
            if 0 in shape:
                raise DataError("it holds an empty page.")
            check_size((shape[axes.index("X")], shape[axes.index("Y")]), self._max_pixels)
        except BaseException:
            self._end()
            raise
        return series

    def close(self) -> None:
        """See ``containers.Pictures.close``."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._close()
        self._close, self._whole = _close_nothing, None

    def read(self, index: int, need: Need = WHOLE) -> Decoded:
        """See ``containers.Pictures.read``."""
        with errors_in_one_line(self._name(index)):
            pixels = self._pixels(index, need)
            picture = as_picture(pixels, need.values, need.channels)
            return Decoded(picture, picture.size)

    def raw(self, index: int, channels: Sequence[int] = ()) -> NDArray[Any] | None:
        """See ``containers.Pictures.raw``."""
        with errors_in_one_line(self._name(index)):
            if self._dtype in (np.uint8, np.bool_):
                return None
            return selected(self._pixels(index, WHOLE), channels)

    def _name(self, index: int) -> str:
        return joined_name(shown(self._path), index, self.num)

    def _pixels(self, index: int, need: Need) -> NDArray[Any]:
        """Return (height, width), or (channels, height, width)."""
        height, width = (self._shape[self._axes.index(axis)] for axis in "YX")
        need.reserve(BYTES_PER_PIXEL * height * width)
        place = np.unravel_index(index, [self._shape[i] for i in self._over] or [1])
        at: list[Any] = [slice(None)] * len(self._axes)
        for axis, where in zip(self._over, place, strict=False):
            at[axis] = int(where)
        rest = "".join(axis for axis in self._axes if axis in "YX" + CHANNEL_AXES)
        with self._lock:
            if self._close is _close_nothing:
                self._series = self._open()
            pixels = self._read(at)
        return channels_first(pixels, rest)

    def _read(self, at: list[Any]) -> NDArray[Any]:
        """Read a part of the series: its own pages, where pages are planes, else all of it once."""
        page = self._series.keyframe.axes
        lead = len(self._axes) - len(page)
        if self._axes[lead:] == page and len(self._series.pages) > 1:
            shape = self._shape[:lead]
            numbers = np.arange(math.prod(shape)).reshape(shape)[tuple(at[:lead])]
            pages = [self._page(int(number)) for number in np.ravel(numbers)]
            return np.stack(pages).reshape(*np.shape(numbers), *pages[0].shape)
        if self._whole is None:
            if self._series.nbytes > MOST_BYTES:
                raise DataError("its pages are too large to be read at once; save them one by one.")
            self._whole = self._series.asarray()
        return self._whole[tuple(at)]

    def _page(self, number: int) -> NDArray[Any]:
        page = self._series.pages[number]
        if page is None:
            raise DataError(f"its page {number} is missing.")
        return page.asarray()


def _close_nothing() -> None:
    pass


def is_plain(path: Path, max_pixels: int = MAX_PIXELS) -> bool:
    """Tell whether a TIFF is one gray or color picture, as Pillow reads it, and not too large."""
    from PIL import Image

    try:
        with Image.open(path, formats=("TIFF",)) as picture:
            if getattr(picture, "n_frames", 1) > 1 or math.prod(picture.size) > max_pixels:
                return False
            description = str(picture.tag_v2.get(DESCRIPTION, ""))  # type: ignore[attr-defined]
            return not (description.startswith("ImageJ=") and "\nimages=" in description)
    except Exception:  # Pillow's decoders raise nearly anything on a damaged file
        return False
