"""One picture from a file, as a person would look at it, or one line that says why not."""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from ...errors import AirError, DataError

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

COLOURLESS = 12
"""The largest difference between channels, of 255, that JPEG leaves in a grey picture."""

BYTES_PER_PIXEL = 12
"""What a picture takes while it is decoded: it, and two copies on the way to another mode."""

ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
"""EXIF's tag of how the camera was held, and its values that turn a picture by a right angle."""

DRAFTED = ("JPEG", "MPO")
"""The formats that can be decoded at a fraction of their size; a camera's JPEG may be an MPO."""

STRIP = 2**20
"""Pixels that are looked at at a time."""

PASSED = 8
"""Frames that are kept when a later one was asked for first: as many as threads may ask at once."""

Size = tuple[int, int]
"""(width, height) in pixels."""


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
        reserve: called, once the size is known, with the bytes that decoding takes; it may wait.
    """

    enough: Callable[[Size], Size] = _all
    reserve: Callable[[int], None] = _nothing


WHOLE = Need()


def read_picture(
    source: Path | IO[bytes], name: str | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Read a picture: upright, its first frame, 8 bits a channel, without transparency.

    16 bits become 8; CMYK and palettes become colours, colours that are all grey become grey.
    What is transparent becomes black, or white if what is to be seen is dark.

    Args:
        source: a file's path, or the file itself, open.
        name: what to call it in errors; the path if not given.
        max_pixels: the largest picture that is decoded.
    Returns: a Pillow image of mode ``L`` or ``RGB``.
    Raises: DataError, in one line, if it cannot be read, or is too large or too small.
    """
    return decode(source, name, max_pixels).picture


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
        _open(source) as file,
        Image.open(file, formats=FORMATS) as picture,
    ):
        _check_size(picture.size, max_pixels)
        size = picture.size
        if picture.format in DRAFTED:
            turned = picture.getexif().get(ORIENTATION) in TURNED
            size = size[::-1] if turned else size
            enough = need.enough(size)
            picture.draft(None, enough[::-1] if turned else enough)
        need.reserve(BYTES_PER_PIXEL * picture.size[0] * picture.size[1])
        ImageOps.exif_transpose(picture, in_place=True)
        # Copied here, where the file is still open.
        return Decoded(_plain(picture), size if picture.format in DRAFTED else picture.size)


def num_frames(path: str | os.PathLike[str]) -> int:
    """Return how many frames a file has: 1, if it is no animated GIF that can be read."""
    from PIL import Image

    if not os.fsdecode(path).lower().endswith(".gif"):
        return 1
    try:
        with _open(Path(path)) as file, Image.open(file, formats=("GIF",)) as picture:
            return int(getattr(picture, "n_frames", 1))
    except Exception:  # whoever reads it is told why it cannot be read
        return 1


class Frames:
    """The frames of an animated GIF, each decoded when it is asked for.

    Each is the difference to the one before, so they are best asked for in order; threads that do
    so side by side may be out of step by ``PASSED``.

    Args:
        path: of the file.
        num: how many it has.
        max_pixels: the largest picture that is decoded.
    """

    def __init__(self, path: Path, num: int, max_pixels: int = MAX_PIXELS) -> None:
        self._path, self._num, self._max_pixels = path, num, max_pixels
        self._lock = threading.Lock()
        self._picture: Image.Image | None = None
        self._size: Size | None = None
        self._next = 0  # the frame to be decoded next
        self._passed: dict[int, Decoded] = {}
        self._error: DataError | None = None  # of the next frame
        self._close: Callable[[], object] = _close_nothing

    def read(self, index: int, need: Need = WHOLE) -> Decoded:
        """Return a frame, as ``read_picture`` does a picture.

        Raises: DataError if it cannot be read, or one before it could not.
        """
        with self._lock:
            if self._size is None:
                self._begin()
            width, height = self._size or (0, 0)
        need.reserve(BYTES_PER_PIXEL * width * height)  # without the lock: it may wait
        with self._lock:
            if index in self._passed:
                return self._passed.pop(index)
            if index < self._next or (self._picture is None and self._error is None):
                self._begin()
            while self._next < index:
                passed = self._decode()
                self._passed[self._next - 1] = passed
                self._passed.pop(self._next - 1 - PASSED, None)
            return self._decode()

    def _begin(self) -> None:
        """Go to the first frame."""
        from PIL import Image

        self._close()
        self._next, self._error = 0, None
        with self._remembering():
            file = _open(self._path)
            self._close = weakref.finalize(self, file.close)
            self._picture = Image.open(file, formats=("GIF",))
            _check_size(self._picture.size, self._max_pixels)
            self._size = self._picture.size

    def _decode(self) -> Decoded:
        """Return the next frame."""
        if self._error is not None:
            raise self._error
        assert self._picture is not None
        with self._remembering():
            self._picture.seek(self._next)
            frame = _plain(self._picture.copy())
        self._next += 1
        if self._next == self._num:
            self._close()
            self._picture = None
        return Decoded(frame, frame.size)

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """Keep an error, for the frames that come after: they cannot be read either."""
        try:
            with errors_in_one_line(f"{shown(self._path)}[{self._next}]", self._max_pixels):
                yield
        except DataError as error:
            self._error, self._picture = error, None
            self._close()
            raise


def _close_nothing() -> None:
    pass


@contextmanager
def errors_in_one_line(name: str, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Turn whatever is raised while a picture is read into a DataError of one line."""
    from PIL import Image

    try:
        yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: more than {max_pixels:,} pixels; shrink or cut it.") from error
    except AirError as error:
        raise DataError(f"{name}: {error}") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise DataError(f"{name}: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Say in one line, without the name, why a picture cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file. Check the spelling of the path."
    if isinstance(error, MemoryError):
        return "does not fit into memory; shrink or cut it."
    return f"cannot be read as an image ({_reason(error)}). Replace or remove the file."


def is_coloured(picture: Image.Image) -> bool:
    """Tell whether a picture has colours that matter: of more than one pixel in a thousand."""
    if picture.mode != "RGB":
        return False
    num = 0
    for strip in _strips(picture):
        pixels = np.asarray(strip)
        spread = pixels.max(axis=2) - pixels.min(axis=2)
        num += int(np.count_nonzero(spread > COLOURLESS))
    return num > 0.001 * picture.size[0] * picture.size[1]


def _strips(picture: Image.Image) -> Iterator[Image.Image]:
    """Yield a picture in strips, so that looking at it takes no copy of it."""
    width, height = picture.size
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        yield picture.crop((0, top, width, min(top + rows, height)))


def shown(path: object) -> str:
    """Return a path as one line of text, whatever bytes its name has."""
    text = os.fsdecode(path) if isinstance(path, (str, os.PathLike)) else "standard input"
    return text if text.isprintable() else repr(text)[1:-1]


def _open(source: Path | IO[bytes]) -> IO[bytes]:
    if not isinstance(source, (str, os.PathLike)):
        return source
    if not stat.S_ISREG(os.stat(source).st_mode):  # a pipe would wait for ever
        raise DataError("not a file.")
    return open(source, "rb")


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise DataError(f"{width} x {height} pixels, more than {max_pixels:,}; shrink or cut it.")
    if min(size) < MIN_SIDE:
        raise DataError(f"{width} x {height} pixels, too small to show an object; remove it.")


def _plain(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as ``L`` or ``RGB``."""
    from PIL import Image

    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(picture)))
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        picture = opaque(picture.convert("RGBA"))
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    picture = picture.convert("RGB")
    return picture if is_coloured(picture) else picture.convert("L")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale whole numbers from 0..65535, and floats from 0..1 (or 0..255), to 0..255."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise DataError("float pixels that are not from 0 to 1; save it with 8 or 16 bits.")
        values = values * np.float32(255 if values.max() <= 1 else 1)
    else:
        values = values.astype(np.float32)
        values /= 257
    return np.round(values, out=values).clip(0, 255, out=values).astype(np.uint8)


def opaque(picture: Image.Image) -> Image.Image:
    """Lay a picture of mode ``RGBA`` on black, or on white if its visible part is dark."""
    from PIL import Image

    light, weight, clear = 0.0, 0.0, False
    for strip in _strips(picture):
        rgba = np.asarray(strip).astype(np.float32)
        alpha = rgba[..., 3]
        light += float((rgba[..., :3].mean(axis=2) * alpha).sum(dtype=np.float64))
        weight += float(alpha.sum(dtype=np.float64))
        clear = clear or bool((alpha < 128).any())
    dark = weight > 0 and clear and light / weight < 64
    ground = Image.new("RGBA", picture.size, "white" if dark else "black")
    return Image.alpha_composite(ground, picture).convert("RGB")


def _reason(error: Exception) -> str:
    """Return the error's own words on one line, without the object's address or the path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = " ".join(str(error).split()) or type(error).__name__
    return "no known image format" if words.startswith("cannot identify image file") else words
