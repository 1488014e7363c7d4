"""What is used of a picture, whether it is in memory or read in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Size = tuple[int, int]
"""(width, height) in pixels."""

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels."""

AT_ONCE = 4096 * 4096
"""Pixels that are read, or looked at for colors, at once, about: larger pictures of a zarr are read
in parts."""


class Raster(Protocol):
    """What is used of a picture. Pillow's pictures are such, and ``regions.Regions``."""

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""

    @property
    def mode(self) -> str:
        """Pillow's name of what a pixel is, such as ``L`` or ``RGB``."""

    def convert(self, mode: str) -> Raster:
        """Return the same picture in another mode."""

    def crop(self, box: Box) -> Raster:
        """Return a part of it."""

    def resize(
        self, size: Size, resample: int, *, reducing_gap: float | None = None
    ) -> Image.Image:
        """Return it scaled, as Pillow does."""


class Planes(Protocol):
    """The channels of a picture in a file, of which regions can be read."""

    @property
    def name(self) -> str:
        """Of the picture, for errors."""

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""

    def read(self, box: Box) -> NDArray[Any]:
        """Return a region, (height, width) or (channels, height, width), as it is stored.

        Raises: whatever its reader raises; ``Regions.load`` tells it in one line.
        """

    def coarser(self, size: Size) -> Planes:
        """Return the smallest version of the picture that the file has which is no smaller."""
