"""One picture from a file, as a person would look at it, or one line that says why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..errors import DataError

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
    from PIL import Image, ImageOps

    with (
        _errors_in_one_line(shown(source) if name is None else name, max_pixels),
        _open(source) as file,
        Image.open(file, formats=FORMATS) as picture,
    ):
        _check_size(picture.size, max_pixels)
        # Decoded here, where the file is still open.
        return _plain(ImageOps.exif_transpose(picture))


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


def read_frames(
    path: Path, num: int, max_pixels: int = MAX_PIXELS
) -> Iterator[Image.Image | DataError]:
    """Yield the frames of an animated GIF, in order, as ``read_picture`` reads a picture.

    Args:
        path: of the file.
        num: how many it has. A frame that cannot be read, and all after it, are a DataError each.
        max_pixels: the largest picture that is decoded.
    """
    from PIL import Image

    error: DataError | None = None
    with ExitStack() as stack:
        for i in range(num):
            try:
                if error is not None:
                    raise error
                with _errors_in_one_line(f"{shown(path)}[{i}]", max_pixels):
                    if i == 0:
                        file = stack.enter_context(_open(path))
                        picture = stack.enter_context(Image.open(file, formats=("GIF",)))
                        _check_size(picture.size, max_pixels)
                    picture.seek(i)
                    yield _plain(picture.copy())
            except DataError as failure:
                error = failure
                yield error


@contextmanager
def _errors_in_one_line(name: str, max_pixels: int) -> Iterator[None]:
    """Turn whatever is raised while a picture is read into a DataError of one line."""
    from PIL import Image

    try:
        yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: more than {max_pixels:,} pixels; shrink or cut it.") from error
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file. Check the spelling of the path.") from error
    except MemoryError as error:
        raise DataError(f"{name}: does not fit into memory; shrink or cut it.") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise DataError(
            f"{name}: cannot be read as an image ({_reason(error)}). Replace or remove the file."
        ) from error


def is_coloured(picture: Image.Image) -> bool:
    """Tell whether a picture has colours that matter: of more than one pixel in a thousand."""
    if picture.mode != "RGB":
        return False
    pixels = np.asarray(picture).astype(np.int16)
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return bool((spread > COLOURLESS).mean() > 0.001)


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
        values = values * (255 if values.max() <= 1 else 1)
    else:
        values = values / 257
    return np.round(values).clip(0, 255).astype(np.uint8)


def opaque(picture: Image.Image) -> Image.Image:
    """Lay a picture of mode ``RGBA`` on black, or on white if its visible part is dark."""
    from PIL import Image

    rgba = np.asarray(picture).astype(np.float32)
    alpha = rgba[..., 3]
    seen = float((rgba[..., :3].mean(axis=2) * alpha).sum() / max(float(alpha.sum()), 1.0))
    dark = alpha.any() and (alpha < 128).any() and seen < 64
    ground = Image.new("RGBA", picture.size, "white" if dark else "black")
    return Image.alpha_composite(ground, picture).convert("RGB")


def _reason(error: Exception) -> str:
    """Return the error's own words on one line, without the object's address or the path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = " ".join(str(error).split()) or type(error).__name__
    return "no known image format" if words.startswith("cannot identify image file") else words
