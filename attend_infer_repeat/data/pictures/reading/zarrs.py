"""The pictures in a zarr: an array, or the largest one of an OME-Zarr's multiscales."""

from __future__ import annotations

import functools
import hashlib
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError, extra, warn_once
from ...splits import file_digest
from .axes import CHANNEL_AXES, TIME_AXIS, channels_first, num_channels
from .decoding import (
    BYTES_PER_PIXEL,
    WHOLE,
    Decoded,
    Need,
    check_size,
    errors_in_one_line,
    joined_name,
    shown,
)
from .modes import Values, is_colored, values_of_floats
from .planes import as_picture, mode_of, selected
from .rasters import AT_ONCE, Box, Raster, Size
from .regions import Regions
from .sampling import spread, windows
from .zarr_layout import Layout, find_layout, opened

LARGEST_CHUNK = 256 * 2**20
"""Bytes of a chunk from which on a line says so: whoever reads a part of it decodes all of it."""

DIGESTED = 64
"""Chunks whose content counts for the digest of a zarr; of all others, name and size do."""

METADATA = (".json", ".zarray", ".zgroup", ".zattrs")
"""Ends of the names of files of metadata, whose content always counts."""


class ZarrPictures:
    """The pictures of a zarr: one for each place along all axes but height, width and channels.

    Args:
        path: of the file.
        layout: of the arrays in it.
    Raises: DataError, in one line, if it holds no pictures.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path, self._layout = path, layout
        with errors_in_one_line(shown(path)):
            array = layout.open(0)
            self._dtype = np.dtype(array.dtype)
            lengths = list(zip(layout.axes, array.shape, strict=True))
            if 0 in array.shape:
                raise DataError(f"an empty array, of the shape {array.shape}.")
            if self._dtype.kind not in "bfiu":
                raise DataError(f"it holds {self._dtype}; expected whole numbers or floats.")
            size = dict(lengths)["X"], dict(lengths)["Y"]
            check_size(size, math.prod(size))
        self._over = [n for axis, n in lengths if axis not in "YX" + CHANNEL_AXES]
        self.num = math.prod(self._over)
        self.is_video = TIME_AXIS in layout.axes

    def read(self, index: int, need: Need = WHOLE) -> tuple[Raster, Size]:
        """See ``containers.Pictures.read``: more than ``AT_ONCE`` pixels are read in parts."""
        with errors_in_one_line(self._name(index)):
            planes = self._planes(index)
            num_pixels = math.prod(planes.size)
            need.reserve(BYTES_PER_PIXEL * min(num_pixels, AT_ONCE))
            if num_pixels <= AT_ONCE:
                whole = planes.read((0, 0, *planes.size))
                picture = as_picture(whole, need.values, need.channels)
                return Decoded(picture, picture.size)
            return self._in_parts(planes, need), planes.size

    def _in_parts(self, planes: ZarrPlanes, need: Need) -> Regions:
        values: Values | None = need.values
        if values is None and self._dtype.kind == "f":
            sample = planes.sample()
            values = values_of_floats(float(sample.min()), float(sample.max()))
        channels = np.zeros((planes.num_channels, 1, 1))
        mode = mode_of(len(selected(channels, need.channels)) if len(channels) > 1 else 1)
        picture = Regions(planes, values, need.channels, mode, (0, 0, *planes.size))
        return picture if is_colored(picture) else picture.convert("L")

    def raw(self, index: int, channels: Sequence[int] = ()) -> NDArray[Any] | None:
        """See ``containers.Pictures.raw``."""
        if self._dtype in (np.uint8, np.bool_):
            return None
        with errors_in_one_line(self._name(index)):
            return selected(self._planes(index).sample(), channels)

    def close(self) -> None:
        """See ``containers.Pictures.close``."""
        self._layout.close()

    def _name(self, index: int) -> str:
        return joined_name(shown(self._path), index, self.num)

    def _planes(self, index: int) -> ZarrPlanes:
        place = tuple(int(at) for at in np.unravel_index(index, self._over or [1]))
        return ZarrPlanes(self._layout, place if self._over else (), self._name(index))


@dataclass(frozen=True)
class ZarrPlanes:
    """One picture of a zarr, of which regions are read: ``rasters.Planes``.

    Attributes:
        layout: where the arrays are, and what their axes are.
        place: along all axes but height, width and channels.
        name: of the picture, for errors.
        level: which of the arrays it is; the largest is 0.
    """

    layout: Layout
    place: tuple[int, ...]
    name: str
    level: int = 0

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        shape, axes = self.layout.open(self.level).shape, self.layout.axes
        return shape[axes.index("X")], shape[axes.index("Y")]

    @property
    def num_channels(self) -> int:
        """How many channels ``read`` returns."""
        return num_channels(self.layout.open(self.level).shape, self.layout.axes)

    def read(self, box: Box) -> NDArray[Any]:
        """See ``rasters.Planes.read``."""
        axes, rest = self.layout.axes, iter(self.place)
        spans = {"X": slice(box[0], box[2]), "Y": slice(box[1], box[3])}
        at = [
            spans[axis] if axis in spans else slice(None) if axis in CHANNEL_AXES else next(rest)
            for axis in axes
        ]
        kept = [axis for axis in axes if axis in "YX" + CHANNEL_AXES]
        pixels = np.asarray(self.layout.open(self.level)[tuple(at)])
        return channels_first(pixels, kept)

    def coarser(self, size: Size) -> ZarrPlanes:
        """See ``rasters.Planes.coarser``."""
        versions = [replace(self, level=level) for level in range(len(self.layout.keys))]
        enough = [own for own in versions if own.size[0] >= size[0] and own.size[1] >= size[1]]
        return min(enough, key=lambda own: math.prod(own.size), default=self)

    def sample(self) -> NDArray[Any]:
        """Return pixels of evenly spread parts, (channels, 1, num); all of a small picture."""
        parts = [self.read(box) for box in windows(self.size)]
        return np.concatenate([part.reshape(self.num_channels, 1, -1) for part in parts], axis=2)


def open_zarr(path: Path) -> ZarrPictures:
    """Open the pictures of a zarr, or of an array or a group in it.

    Raises: DataError, in one line, if it cannot be read; MissingError without zarr.
    """
    with extra("large", f"{shown(path)}: a zarr"):
        import zarr  # noqa: F401
    layout = find_layout(path)
    pictures = ZarrPictures(path, layout)
    with errors_in_one_line(shown(path)):
        _warn_of_chunks(path, layout.keys[0])
    return pictures


def zarr_digest(name: str, path: Path) -> int:
    """Return a digest of a zarr: its name, its files' names and sizes, and the content of some.

    Raises: OSError if it cannot be read.
    """
    files = list(zarr_files(path))
    content = {int(i) for i in spread(len(files), DIGESTED)} if files else set()
    hashed = hashlib.sha256()
    for i, (own, found) in enumerate(files):
        hashed.update(f"{own} {found.st_size}\n".encode("utf-8", "surrogateescape"))
        if i in content or own.endswith(METADATA):
            hashed.update((path / own).read_bytes())
    return file_digest(name, io.BytesIO(hashed.digest()))


def zarr_files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the names, relative to a zarr, of its files, sorted, and the os.stat of each.

    Raises: OSError if it cannot be listed.
    """
    for folder, inner, names in os.walk(path):
        inner.sort()
        for name in sorted(names):
            own = os.path.join(folder, name)
            yield os.path.relpath(own, path), os.stat(own)


@functools.cache  # to count the missing chunks, all are listed
def _warn_of_chunks(path: Path, key: str) -> None:
    """Say in one line how many chunks are missing, and in one whether chunks are too large."""
    array = opened(path, key)
    missing = array.nchunks - array.nchunks_initialized
    if missing > 0:
        warn_once(
            f"{shown(path)}: {missing:,} of {array.nchunks:,} chunks are missing; they are read as "
            f"the fill value, {array.fill_value}."
        )
    num_bytes = math.prod(array.chunks) * np.dtype(array.dtype).itemsize
    if num_bytes > LARGEST_CHUNK:
        warn_once(
            f"{shown(path)}: chunks of {num_bytes / 2**20:,.0f} MiB, each of which is read as a "
            "whole; chunks of about 1024 x 1024 pixels take less time and memory."
        )
