"""The frames of an animated GIF."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ....errors import DataError
from .decoding import (
    BYTES_PER_PIXEL,
    MAX_PIXELS,
    WHOLE,
    Decoded,
    Need,
    check_size,
    errors_in_one_line,
    joined_name,
    open_file,
    shown,
)
from .modes import as_gray_or_rgb
from .rasters import Size

if TYPE_CHECKING:
    from PIL import Image

PASSED = 8
"""Frames that are kept when a later one was asked for first: as many as threads may ask at once."""


class GifFrames:
    """The frames of a GIF, each decoded when it is asked for.

    Each is the difference to the one before, so they are best asked for in order; threads that do
    so side by side may be out of step by ``PASSED``.

    Args:
        path: of the file.
        max_pixels: the largest picture that is decoded.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._path, self._max_pixels = path, max_pixels
        self.num = _num_frames(path)
        self.is_video = self.num > 1
        self._lock = threading.Lock()
        self._picture: Image.Image | None = None
        self._size: Size | None = None
        self._next = 0  # the frame to be decoded next
        self._passed: dict[int, Decoded] = {}
        self._error: DataError | None = None  # of the next frame
        self._close: Callable[[], object] = _close_nothing

    def read(self, index: int, need: Need = WHOLE) -> Decoded:
        """See ``containers.Pictures.read``; a frame after one that cannot be read cannot be."""
        with self._lock:
            if self._size is None:
                self._begin()
            width, height = self._size or (0, 0)
        need.reserve(BYTES_PER_PIXEL * width * height)  # without the lock: it may wait
        with self._lock:
            if index in self._passed:
                return self._taken(self._passed.pop(index), need)
            if index < self._next or (self._picture is None and self._error is None):
                self._begin()
            while self._next < index:
                passed = self._decode()
                self._passed[self._next - 1] = passed
                self._passed.pop(self._next - 1 - PASSED, None)
            return self._taken(self._decode(), need)

    def close(self) -> None:
        """See ``containers.Pictures.close``."""
        with self._lock:
            self._close()
            self._picture, self._size, self._next = None, None, 0
            self._passed.clear()

    def raw(self, index: int, channels: Sequence[int] = ()) -> NDArray[Any] | None:
        """See ``containers.Pictures.raw``: GIFs have 8 bits."""
        return None

    def _taken(self, frame: Decoded, need: Need) -> Decoded:
        return frame._replace(picture=need.taken(frame.picture))

    def _begin(self) -> None:
        """Go to the first frame."""
        from PIL import Image

        self._close()
        self._next, self._error = 0, None
        with self._remembering():
            file = open_file(self._path)
            self._close = weakref.finalize(self, file.close)
            self._picture = Image.open(file, formats=("GIF",))
            check_size(self._picture.size, self._max_pixels)
            self._size = self._picture.size

    def _decode(self) -> Decoded:
        """Return the next frame."""
        if self._error is not None:
            raise self._error
        assert self._picture is not None
        with self._remembering():
            self._picture.seek(self._next)
            frame = as_gray_or_rgb(self._picture.copy())
        self._next += 1
        if self._next == self.num:
            self._close()
            self._picture = None
        return Decoded(frame, frame.size)

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """Keep an error, for the frames that come after: they cannot be read either."""
        try:
            name = joined_name(shown(self._path), self._next, self.num)
            with errors_in_one_line(name, self._max_pixels):
                yield
        except DataError as error:
            self._error, self._picture = error, None
            self._close()
            raise


def _num_frames(path: Path) -> int:
    """Return how many frames a GIF has: 1, if it cannot be read."""
    from PIL import Image

    try:
        with open_file(path) as file, Image.open(file, formats=("GIF",)) as picture:
            return int(getattr(picture, "n_frames", 1))
    except Exception:  # whoever reads it is told why it cannot be read
        return 1


def _close_nothing() -> None:
    pass
