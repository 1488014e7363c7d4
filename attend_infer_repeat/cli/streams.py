"""Standard streams, disks and signals: what the command line does where they fail."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NoReturn

from ..errors import DataError


class _Closed(io.TextIOBase):
    """A standard stream that was closed before the command began: whoever needs it is told."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @property
    def buffer(self) -> NoReturn:
        raise self._error

    def write(self, text: str) -> NoReturn:
        raise self._error

    def read(self, size: int | None = -1) -> NoReturn:
        raise self._error


class _Messages:
    """Standard error, where messages go: that they cannot be written ends no command."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = io.StringIO() if stream is None else stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make the standard streams fit to use, for the length of a ``with`` block.

    What their encoding lacks is written as an escape. Those that are closed say so when they are
    used. What cannot be written in the end is given up, without a word more from Python.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    held = _hold_descriptors()
    strict = {}
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not _takes_everything(stream):
            strict[stream] = stream.errors
            stream.reconfigure(errors="backslashreplace")
    sys.stdin = before[0] or _Closed(DataError("standard input: closed."))
    sys.stdout = before[1] or _Closed(OSError(errno.EBADF, "closed", "standard output"))
    sys.stderr = _Messages(before[2])
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        for stream in before[1:]:
            _drain(stream)
        for stream, errors in strict.items():
            with contextlib.suppress(OSError):
                stream.reconfigure(errors=errors)
        for descriptor in held:
            os.close(descriptor)


def _takes_everything(stream: io.TextIOWrapper) -> bool:
    is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
    return is_utf8 and stream.errors != "strict"  # names of files may not be text


def _hold_descriptors() -> list[int]:
    """Occupy the numbers of closed streams.

    Otherwise the next file to be opened takes one, and gets what a library prints.
    """
    held = []
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        held.append(descriptor)
    os.close(descriptor)
    return held


def _drain(stream: IO[str] | None) -> None:
    """Write what waits to be written; what cannot be goes nowhere.

    Python tries again when it ends, and would print an error of its own.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError):  # no file, as in a notebook
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def explain(error: OSError) -> str:
    """Return one line that says what the system refused, where, and what to do."""
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    advice = {
        errno.ENOSPC: "; make room, or write elsewhere",
        errno.EDQUOT: "; make room, or write elsewhere",
        errno.EROFS: "; write elsewhere",
        errno.ENAMETOOLONG: "; give a shorter name",
        errno.EMFILE: "; allow more with ulimit -n",
    }
    return f"{where}{reason}{advice.get(error.errno or 0, '')}."


def is_interrupt(error: BaseException) -> bool:
    """Tell whether Ctrl-C is behind an error: in an import, it may come as another one."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, KeyboardInterrupt):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return False
