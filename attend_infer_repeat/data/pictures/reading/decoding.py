"""One picture from a file, as a person would look at it, or one line that says why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....errors import AirError, DataError
from .modes import Values, as_gray_or_rgb, is_deep
from .planes import as_picture
from .rasters import Size

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
"""What is decoded. Others are refused unopened: some of them start other programs."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff")

MAX_PIXELS = 89_478_485
"""The largest picture that is decoded, a quarter of a gigabyte as RGB; Pillow's own bound. A file
of a few bytes can claim any size."""

MIN_SIDE = 4
"""The smallest side of a picture, in pixels: less shows no object."""

BYTES_PER_PIXEL = 12
"""What a picture takes while it is decoded: it, and two copies on the way to another mode."""

ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
"""EXIF's tag of how the camera was held, and its values that turn a picture by a right angle."""

DRAFTED = ("JPEG", "MPO")
"""The formats that can be decoded at a fraction of their size; a camera's JPEG may be an MPO."""


class Decoded(NamedTuple):
    """A picture, perhaps decoded at a fraction of its size."""

    picture: Image.Image
    size: Size  # its own, upright


def _all(size: Size) -> Size:
    return size


def _nothing(num_bytes: int) -> None:
    pass


@dataclass(frozen=True)
class Need:
    """What whoever asks for a picture needs of it.

    Attributes:
        enough: says of a picture's own size, upright, which size does as well. A JPEG is decoded at
            an eighth, a quarter or half of its own if that is no smaller.
        values: what becomes black and what white; as the picture's type has it if None.
        channels: of the picture, from 0, those to take; all if there are none.
        reserve: called, once the size is known, with the bytes that decoding takes; it may wait.
    """

    enough: Callable[[Size], Size] = _all
    reserve: Callable[[int], None] = _nothing
    values: Values | None = None
    channels: tuple[int, ...] = ()

    def taken(self, picture: Image.Image) -> Image.Image:
        """Take what is asked for of a picture of any mode, as ``L`` or ``RGB``.

        Raises: DataError if its type does not tell what is black and white, it has numbers that are
            not finite, or lacks a channel.
        """
        if not self.channels:
            return as_gray_or_rgb(picture, self.values)
        return self._chosen(picture, self.values)

    def with_channels(self, picture: Image.Image) -> Image.Image:
        """Take the channels that are asked for of a picture whose black and white are known."""
        return self._chosen(picture, None) if self.channels else picture

    def _chosen(self, picture: Image.Image, values: Values | None) -> Image.Image:
        if not is_deep(picture.mode):  # also of colors that are gray in this picture
            gray = picture.mode in ("1", "L", "LA", "La")
            picture = as_gray_or_rgb(picture).convert("L" if gray else "RGB")
        pixels = np.asarray(picture)
        planes = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return as_picture(planes, values, self.channels)


WHOLE = Need()


def read_picture(
    source: Path | IO[bytes],
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    need: Need = WHOLE,
) -> Image.Image:
    """Read a picture: upright, its first frame, 8 bits a channel, without transparency.

    More bits become 8, as ``need`` has it; CMYK and palettes become colors, colors that are all
    gray become gray. What is transparent becomes black, or white if what is to be seen is dark.

    Args:
        source: a file's path, or the file itself, open.
        name: what to call it in errors; the path if not given.
        max_pixels: the largest picture that is decoded.
        need: what becomes black and white, and which channels are taken.
    Returns: a Pillow image of mode ``L`` or ``RGB``.
    Raises: DataError, in one line, if it cannot be read, or is too large or too small.
    """
    return decode(source, name, max_pixels, need).picture


def decode(
    source: Path | IO[bytes],
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    need: Need = WHOLE,
) -> Decoded:
    """Read a picture as ``read_picture`` does, and no more of it than is needed."""
    from PIL import Image, ImageOps

    with (
        errors_in_one_line(shown(source) if name is None else name, max_pixels),
        open_file(source) as file,
        Image.open(file, formats=FORMATS) as picture,
    ):
        check_size(picture.size, max_pixels)
        size = picture.size
        if picture.format in DRAFTED:
            turned = picture.getexif().get(ORIENTATION) in TURNED
            size = size[::-1] if turned else size
            enough = need.enough(size)
            picture.draft(None, enough[::-1] if turned else enough)
        need.reserve(BYTES_PER_PIXEL * picture.size[0] * picture.size[1])
        ImageOps.exif_transpose(picture, in_place=True)
        # Copied here, where the file is still open.
        return Decoded(need.taken(picture), size if picture.format in DRAFTED else picture.size)


def deep_pixels(source: Path) -> NDArray[Any] | None:
    """Return a picture's pixels as they are, if they have more than 8 bits, else None.

    Raises: DataError, in one line, if it cannot be read, or is too large or too small.
    """
    from PIL import Image

    with (
        errors_in_one_line(shown(source)),
        open_file(source) as file,
        Image.open(file, formats=FORMATS) as picture,
    ):
        check_size(picture.size, MAX_PIXELS)
        return np.asarray(picture) if is_deep(picture.mode) else None


@contextmanager
def errors_in_one_line(name: str, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Turn whatever is raised while a picture is read into a DataError of one line.

    It begins with the name, once, also where one such block is in another.
    """
    from PIL import Image

    try:
        yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: more than {max_pixels:,} pixels; shrink or cut it.") from error
    except AirError as error:
        words = str(error)
        named = words.startswith((f"{name}: ", f"{name}{os.sep}"))
        raise DataError(words if named else f"{name}: {words}") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise DataError(f"{name}: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Say in one line, without the name, why a picture cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file. Check the spelling of the path."
    if isinstance(error, MemoryError):
        return "does not fit into memory; shrink or cut it."
    return f"cannot be read as an image ({_reason(error)}). Replace or remove the file."


def shown(path: object) -> str:
    """Return a path as one line of text, whatever bytes its name has."""
    text = os.fsdecode(path) if isinstance(path, (str, os.PathLike)) else "standard input"
    return text if text.isprintable() else repr(text)[1:-1]


def open_file(source: Path | IO[bytes]) -> IO[bytes]:
    """Open a file to read; one that is open already is returned as it is.

    Raises: DataError if it is a pipe or a device; OSError if it cannot be opened.
    """
    if not isinstance(source, (str, os.PathLike)):
        return source
    if not stat.S_ISREG(os.stat(source).st_mode):  # a pipe would wait for ever
        raise DataError("not a file.")
    return open(source, "rb")


def check_size(size: Size, max_pixels: int) -> None:
    """Raise a DataError if a picture of a size, (width, height), is too large or too small."""
    width, height = size
    if width * height > max_pixels:
        raise DataError(f"{width} x {height} pixels, more than {max_pixels:,}; shrink or cut it.")
    if min(size) < MIN_SIDE:
        raise DataError(f"{width} x {height} pixels, too small to show an object; remove it.")


def _reason(error: Exception) -> str:
    """Return the error's own words on one line, without the object's address or the path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = " ".join(str(error).split()) or type(error).__name__
    return "no known image format" if words.startswith("cannot identify image file") else words


def joined_name(name: str, index: int, num: int) -> str:
    """Return what a picture in a file is called: ``x.tif[3]``, or ``x.png`` where it is alone."""
    return name if num == 1 else f"{name}[{index}]"
