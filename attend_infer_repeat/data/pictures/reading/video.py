"""The frames of a video file: MP4, AVI, MOV, MKV, WebM."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ....errors import DataError, extra
from .decoding import BYTES_PER_PIXEL, MAX_PIXELS, WHOLE, Decoded, Need, check_size, shown
from .planes import as_picture

if TYPE_CHECKING:
    import av

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")

PASSED = 8
"""Frames that are kept when a later one was asked for first: as many as threads may ask at once."""


class VideoFrames:
    """The frames of a video, each decoded when it is asked for; best in order.

    Args:
        path: of the file.
        max_pixels: the largest frame that is decoded.
    Raises: DataError, in one line, if there is no frame; MissingError without PyAV.
    """

    is_video = True

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        with extra("video", f"{shown(path)}: a video"):
            import av
        self._path, self._open = path, av.open
        self._error = av.FFmpegError
        self._lock = threading.Lock()
        self._passed: dict[int, Decoded] = {}
        try:
            with self._open(str(path)) as container:
                if not container.streams.video:
                    raise DataError("a video without frames.")
                stream = container.streams.video[0]
                check_size((stream.width, stream.height), max_pixels)
                self._num_bytes = BYTES_PER_PIXEL * stream.width * stream.height
                self.num = stream.frames or sum(1 for _ in container.decode(stream))
        except DataError as error:
            raise DataError(f"{shown(path)}: {error}") from error
        except (self._error, OSError) as error:
            raise self._unreadable(error) from error
        if not self.num:
            raise DataError(f"{shown(path)}: a video without frames.")
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._next = self.num  # so that the first frame that is asked for opens the file

    def read(self, index: int, need: Need = WHOLE) -> Decoded:
        """See ``containers.Pictures.read``."""
        need.reserve(self._num_bytes)  # without the lock: it may wait
        with self._lock:
            if index in self._passed:
                return self._passed.pop(index)
            if index < self._next:
                self._passed.clear()
                self._frames, self._next = self._decode(), 0
            while True:
                decoded = self._frame(need)
                if self._next > index:
                    return decoded
                self._passed[self._next - 1] = decoded
                self._passed.pop(self._next - 1 - PASSED, None)

    def raw(self, index: int, channels: Sequence[int] = ()) -> NDArray[Any] | None:
        """See ``containers.Pictures.raw``: videos have 8 bits."""
        return None

    def close(self) -> None:
        """See ``containers.Pictures.close``."""
        with self._lock:
            self._frames, self._next = iter(()), self.num
            self._passed.clear()

    def _frame(self, need: Need) -> Decoded:
        try:
            frame = next(self._frames)
        except StopIteration:
            raise DataError(
                f"{shown(self._path)}[{self._next}]: missing; the video ends before."
            ) from None
        except (self._error, OSError) as error:
            raise self._unreadable(error) from error
        self._next += 1
        pixels = frame.to_ndarray(format="rgb24").transpose(2, 0, 1)
        picture = as_picture(pixels, need.values, need.channels)
        return Decoded(picture, picture.size)

    def _decode(self) -> Iterator[av.VideoFrame]:
        with self._open(str(self._path)) as container:
            yield from container.decode(container.streams.video[0])

    def _unreadable(self, error: Exception) -> DataError:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        return DataError(
            f"{shown(self._path)}: cannot be read as a video ({reason}). Replace or remove it."
        )
