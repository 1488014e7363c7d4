"""The pictures of a data set, one by one: files of a folder, and what is in stacks and videos."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ....errors import DataError
from ...splits import file_digest, name_digests
from .containers import Pictures, open_or_tell
from .decoding import Need, joined_name, shown
from .paths import is_zarr
from .zarrs import zarr_digest

if TYPE_CHECKING:
    from .rasters import Raster


@dataclass(frozen=True)
class Item:
    """A picture of a data set.

    Attributes:
        name: of its file in the folder, with its place in a stack: ``x.tif[3]``.
        path: of its file.
        pictures: all in that file.
        index: its place in the file.
    """

    name: str
    path: Path
    pictures: Pictures
    index: int = 0

    def read(self, need: Need) -> Raster:
        """Read it, or open it to be read in parts.

        Raises: DataError, in one line, if it cannot be read.
        """
        return self.pictures.read(self.index, need)[0]

    def raw(self, channels: tuple[int, ...]) -> NDArray[Any] | None:
        """Return its pixels as they are; None if they have 8 bits, or it cannot be read."""
        try:
            return self.pictures.raw(self.index, channels)
        except DataError:  # whoever reads it is told why
            return None

    def digest(self) -> int:
        """Return a digest of its name and of its file's content.

        Raises: DataError if the file has gone away.
        """
        try:
            # A folder's time does not tell when a chunk in it changed: what is opened anew counts.
            version: Any = self.pictures if is_zarr(self.path) else self.path.stat().st_mtime_ns
            whole = _digest_of(self.path, self.path.name, version)
        except OSError as error:
            raise DataError(f"{shown(self.path)}: cannot be read ({error.strerror}).") from error
        if self.pictures.num == 1:
            return whole
        return int(name_digests([f"{whole:016x}[{self.index}]"])[0])


@functools.lru_cache(maxsize=16)  # a stack is asked for each of its pictures, one after another
def _digest_of(path: Path, name: str, version: object) -> int:
    if is_zarr(path):
        return zarr_digest(name, path)
    with path.open("rb") as file:
        return file_digest(name, file)


def close_all(items: Iterable[Item]) -> None:
    """Close the files of pictures."""
    for pictures in {id(item.pictures): item.pictures for item in items}.values():
        pictures.close()


def items_of(files: Iterable[Path]) -> list[Item]:
    """Return the pictures of files, in order; a file that cannot be opened is one that says why."""
    items = []
    for path in files:
        pictures = open_or_tell(path)
        items += [
            Item(joined_name(path.name, i, pictures.num), path, pictures, i)
            for i in range(pictures.num)
        ]
    return items
