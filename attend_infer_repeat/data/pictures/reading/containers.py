"""The pictures in a file: one; or the pages, slices and frames of a stack or a video."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from ....errors import DataError, MissingError
from .decoding import MAX_PIXELS, WHOLE, Decoded, Need, decode, deep_pixels, open_file
from .gif import GifFrames
from .paths import is_zarr
from .planes import selected
from .rasters import Raster, Size
from .tiff import is_plain
from .tiff_parts import open_tiff
from .video import VIDEO_SUFFIXES, VideoFrames
from .zarrs import open_zarr

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Pictures(Protocol):
    """The pictures in a file."""

    num: int
    """How many there are."""
    is_video: bool
    """Whether they are frames of a video, in which objects have an identity."""

    def read(self, index: int, need: Need = WHOLE) -> tuple[Raster, Size]:
        """Return a picture, and its own size, upright, which is another if it was decoded at less.

        One that may be larger than memory is read in parts, when they are asked for.

        Raises: DataError, in one line, if it cannot be read.
        """

    def raw(self, index: int, channels: Sequence[int] = ()) -> NDArray[Any] | None:
        """Return a picture's pixels as they are, of a large one a sample; None if they have 8 bits.

        Raises: DataError, in one line, if it cannot be read.
        """

    def close(self) -> None:
        """Close the file until a picture is asked for again."""


class OnePicture:
    """A file that holds one picture.

    Args:
        path: of the file.
        max_pixels: the largest picture that is decoded.
    """

    num = 1
    is_video = False

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._path, self._max_pixels = path, max_pixels

    def read(self, index: int, need: Need = WHOLE) -> Decoded:
        """See ``Pictures.read``."""
        return decode(self._path, max_pixels=self._max_pixels, need=need)

    def raw(self, index: int, channels: Sequence[int] = ()) -> NDArray[Any] | None:
        """See ``Pictures.raw``."""
        pixels = deep_pixels(self._path)
        return None if pixels is None else selected(pixels, channels)

    def close(self) -> None:
        """See ``Pictures.close``: it is closed."""


class Broken:
    """A file that cannot be opened: its one picture says why.

    Args:
        error: what is wrong.
    """

    num = 1
    is_video = False

    def __init__(self, error: DataError) -> None:
        self._error = error

    def read(self, index: int, need: Need = WHOLE) -> Decoded:
        """See ``Pictures.read``: raise the error."""
        raise self._error

    def raw(self, index: int, channels: Sequence[int] = ()) -> NDArray[Any] | None:
        """See ``Pictures.raw``: raise the error."""
        raise self._error

    def close(self) -> None:
        """See ``Pictures.close``: nothing is open."""


def open_pictures(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Pictures:
    """Open the pictures in a file.

    Raises: DataError, in one line, if it is a stack, a video or a zarr that cannot be opened, or
        whose reader is not installed. One picture is not opened before it is read.
    """
    file, suffix = Path(path), os.path.splitext(os.fsdecode(path))[1].lower()
    try:
        if is_zarr(file):
            return open_zarr(file)
        if suffix in VIDEO_SUFFIXES:
            return VideoFrames(file, max_pixels)
        begins = _beginning(file) if suffix in (".tif", ".tiff", ".gif") else b""
        if begins.startswith(TIFF_SIGNATURES) and not is_plain(file, max_pixels):
            return open_tiff(file, max_pixels)
        if begins.startswith(b"GIF8"):
            return GifFrames(file, max_pixels)
    except MissingError as error:
        raise DataError(str(error)) from error
    return OnePicture(file, max_pixels)


def open_or_tell(path: str | os.PathLike[str]) -> Pictures:
    """Open the pictures in a file; of one that cannot be opened, the one picture says why."""
    try:
        return open_pictures(path)
    except DataError as error:
        return Broken(error)


def _beginning(file: Path) -> bytes:
    """Return a file's first bytes; none if it cannot be read, of which its reader tells."""
    try:
        with open_file(file) as opened:
            return opened.read(4)
    except (OSError, ValueError, DataError):
        return b""
