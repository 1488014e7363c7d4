"""Files of JSON lines that are added to, and stay whole on a full disk."""

from __future__ import annotations

import contextlib
import json
import os
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from .records import to_json


class Lines:
    """A file of lines, of which some at the beginning are kept, and to which others are added.

    Args:
        path: the file, which is created if need be.
        stack: closes it.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        path.touch()
        self._reader = stack.enter_context(path.open("rb"))
        # Unbuffered: what a full disk did not take is not tried again when the file is closed.
        self._file = stack.enter_context(path.open("r+b", buffering=0))
        self._length = 0  # of what is kept and written

    def keep(self, num: int) -> None:
        """Keep so many lines more."""
        for line in islice(self._reader, num):
            self._length += len(line)

    def cut(self) -> None:
        """Drop all that is not kept."""
        self._file.truncate(self._length)

    def write(self, content: bytes) -> None:
        """Add lines; if not all of them can be, none is."""
        self._file.seek(self._length)
        try:
            unwritten = memoryview(content)
            while unwritten:
                unwritten = unwritten[self._file.write(unwritten) :]
            os.fsync(self._file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                self.cut()
            raise
        self._length += len(content)


def as_line(value: Any) -> bytes:
    """Return a value as a line of JSON."""
    return to_json(value).encode() + b"\n"


def parsed(line: bytes) -> Any:
    """Return what a line of JSON says; None if it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
