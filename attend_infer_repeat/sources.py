"""The pictures that `air infer` is given: files, folders, patterns, arrays, standard input."""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from .data.folder import ARRAYS, as_picture, picture_names, read_arrays
from .data.reading import read_picture, shown
from .errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

STANDARD_INPUT = "-"

SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
"""How files of the formats that are read begin."""


class Source(NamedTuple):
    """A picture that can be read."""

    name: str  # what its result is called: the path as it was given, or found
    read: Callable[[], Image]  # raises DataError


def find_sources(
    arguments: Sequence[str], standard_input: IO[bytes] | None = None
) -> Iterator[Source]:
    """Yield the pictures that arguments name, in order, without reading them.

    Args:
        arguments: paths of pictures; of folders, whose pictures are taken by name, without
            sub-folders; of ``.npy`` and ``.npz`` files, whose images are called ``x.npy[0]``, ...;
            patterns with ``*``, ``?`` or ``[``, where ``**`` stands for any folders, if nothing has
            that very name; and ``-`` for standard input: one picture, or the names of pictures,
            each ended by a newline, or by a null as ``find -print0`` writes them.
        standard_input: read instead of the process's own.
    What cannot be found is yielded, too: reading it raises the DataError.
    """
    for argument in arguments:
        try:
            if argument == STANDARD_INPUT:
                yield from _from_standard_input(standard_input or sys.stdin.buffer)
            elif _is_pattern(argument):
                yield from _matches(argument)
            else:
                yield from _from_path(argument)
        except DataError as error:
            yield Source(argument, partial(_fail, error))


def how_many(arguments: Sequence[str]) -> int | None:
    """Return how many pictures arguments name; None if only reading them would tell."""
    num = 0
    for argument in arguments:
        if argument == STANDARD_INPUT or _is_pattern(argument):
            return None
        try:
            if os.path.isdir(argument):
                num += len(picture_names(Path(argument)))
            elif argument.lower().endswith(ARRAYS):
                num += len(read_arrays(Path(argument))["images"])
            else:
                num += 1
        except DataError:  # it is told when it is read
            num += 1
    return num


def _is_pattern(argument: str) -> bool:
    return glob.has_magic(argument) and not os.path.lexists(argument)


def _from_path(path: str) -> Iterator[Source]:
    if os.path.isdir(path):
        for name in picture_names(Path(path)):
            yield _file(os.path.join(path, name))
    elif path.lower().endswith(ARRAYS):
        images = read_arrays(Path(path))["images"]
        for i in range(len(images)):
            yield Source(f"{path}[{i}]", partial(_row, images, i))
    else:
        yield _file(path)


def _matches(pattern: str) -> Iterator[Source]:
    # A loop of links shows the same files again, by longer and longer paths.
    shortest: dict[str, str] = {}
    for path in sorted(glob.glob(pattern, recursive=True), key=len):
        if not os.path.isdir(path):
            shortest.setdefault(os.path.realpath(path), path)
    if not shortest:
        raise DataError(f"{shown(pattern)}: no file matches. Check the pattern.")
    for path in sorted(shortest.values()):
        yield from _from_path(path)


def _from_standard_input(stream: IO[bytes]) -> Iterator[Source]:
    start = stream.read(8)
    if start.startswith(SIGNATURES):
        content = start + stream.read()
        yield Source(STANDARD_INPUT, lambda: read_picture(io.BytesIO(content), "standard input"))
        return
    names = start + stream.read()
    if not names.strip(b"\0\r\n "):
        raise DataError("standard input: empty; expected a picture, or names of pictures.")
    separator = b"\0" if b"\0" in names else b"\n"
    for name in names.split(separator):
        if name.strip():
            yield from _from_path(os.fsdecode(name.rstrip(b"\r")))


def _file(path: str) -> Source:
    return Source(path, partial(read_picture, Path(path)))


def _fail(error: DataError) -> Image:
    raise error


def _row(images: np.ndarray, index: int) -> Image:
    return as_picture(np.asarray(images[index]))
