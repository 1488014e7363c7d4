"""The pictures that `air infer` is given: files, folders, patterns, arrays, standard input."""

from __future__ import annotations

import functools
import glob
import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.pictures.reading.array_files import as_picture, read_arrays
from ..data.pictures.reading.containers import open_or_tell
from ..data.pictures.reading.decoding import (
    WHOLE,
    Decoded,
    Need,
    decode,
    errors_in_one_line,
    joined_name,
    one_line,
    shown,
)
from ..data.pictures.reading.modes import Values
from ..data.pictures.reading.paths import ARRAYS, is_folder, is_zarr, picture_names
from ..data.pictures.reading.rasters import Raster, Size
from ..data.pictures.reading.zarrs import zarr_files
from ..data.sets.npz import count_images
from ..errors import AirError, DataError

STANDARD_INPUT = "-"

SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
"""How files of the formats that are read begin."""


def _read_nothing(need: Need = WHOLE) -> Decoded:
    raise AssertionError("a source without a reader")


class Source(NamedTuple):
    """A picture that can be read."""

    name: str  # what its result is called: the path as it was given, or found
    read: Callable[..., tuple[Raster, Size]] = _read_nothing  # of a Need; raises DataError
    video: str | None = None  # whose frame it is, if it is one
    state: str | None = None  # differs once its content does; None if that cannot be told
    record: dict[str, Any] | None = None  # what was found in it before


def find_sources(
    arguments: Sequence[str],
    standard_input: IO[bytes] | None = None,
    *,
    track: bool = False,
    values: Values | None = None,
) -> Iterator[Source]:
    """Yield the pictures that arguments name, in order, without reading them.

    The frames of an animated GIF are pictures of a video; they are called ``x.gif[0]``, ....

    Args:
        arguments: paths of pictures, and of zarrs; of folders, whose pictures are taken by name,
            without sub-folders; of ``.npy`` and ``.npz`` files, whose images are called
            ``x.npy[0]``, ...; patterns with ``*``, ``?`` or ``[``, where ``**`` stands for any
            folders, if nothing has that very name; and ``-`` for standard input: one picture, or
            the names of pictures, each ended by a newline, or by a null as ``find -print0`` writes
            them.
        standard_input: read instead of the process's own.
        track: the pictures of each argument are the frames of a video, in the order of the numbers
            in their names: frame-9 comes before frame-10.
        values: what is black and what is white in arrays; as their type has it if None.
    What cannot be found is yielded, too: reading it raises the DataError.
    """
    for argument in arguments:
        try:
            found = _from_argument(argument, standard_input, values)
            if track:
                frames = sorted(found, key=lambda source: _by_numbers(source.name))
                yield from (frame._replace(video=argument) for frame in frames)
            else:
                yield from found
        except AirError as error:
            yield Source(argument, functools.partial(_fail, error))
        except Exception as error:  # such as a folder that goes away, or memory that is short
            failure = DataError(f"{shown(argument)}: {one_line(error)}")
            yield Source(argument, functools.partial(_fail, failure))


def _from_argument(
    argument: str, standard_input: IO[bytes] | None, values: Values | None
) -> Iterator[Source]:
    if argument == STANDARD_INPUT:
        if standard_input is None and sys.stdin is None:
            raise DataError("standard input: closed; expected a picture, or names of pictures.")
        return _from_standard_input(standard_input or sys.stdin.buffer, values)
    return _matches(argument, values) if _is_pattern(argument) else _from_path(argument, values)


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names by the numbers in them, not by their digits."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def how_many(arguments: Sequence[str]) -> int | None:
    """Return how many pictures arguments name; None if only reading them would tell."""
    num = 0
    for argument in arguments:
        if argument == STANDARD_INPUT or _is_pattern(argument):
            return None
        try:
            if is_folder(argument):
                names = picture_names(Path(argument))
                num += sum(open_or_tell(os.path.join(argument, name)).num for name in names)
            elif argument.lower().endswith(ARRAYS):
                num += count_images(Path(argument))
            else:
                num += open_or_tell(argument).num
        except (AirError, OSError):  # it is told when it is read
            num += 1
    return num


def _is_pattern(argument: str) -> bool:
    return glob.has_magic(argument) and not os.path.lexists(argument)


def _from_path(path: str, values: Values | None) -> Iterator[Source]:
    if is_folder(path):
        for name in picture_names(Path(path)):
            yield from _file(os.path.join(path, name))
    elif path.lower().endswith(ARRAYS):
        yield from _arrays(path, values)
    else:
        yield from _file(path)


def _arrays(path: str, values: Values | None) -> Iterator[Source]:
    state = _state(path)
    try:
        images = read_arrays(Path(path), values)["images"]
    except AirError as error:
        yield Source(path, functools.partial(_fail, error), state=state)
        return
    except Exception as error:
        failure = DataError(f"{shown(path)}: {one_line(error)}")
        yield Source(path, functools.partial(_fail, failure), state=state)
        return
    for i in range(len(images)):
        name = f"{path}[{i}]"
        yield Source(name, functools.partial(_row, name, images, i), state=state)


def _matches(pattern: str, values: Values | None) -> Iterator[Source]:
    # A loop of links shows the same files again, by longer and longer paths.
    shortest: dict[str, str] = {}
    is_one = functools.cache(is_zarr)  # the same folders hold many files
    for path in sorted(glob.glob(pattern, recursive=True), key=len):
        inside = any(is_one(folder) for folder in Path(path).parents if folder.name)
        if not inside and not is_folder(path):
            shortest.setdefault(os.path.realpath(path), path)
    if not shortest:
        raise DataError(f"{shown(pattern)}: no file matches. Check the pattern.")
    for path in sorted(shortest.values()):
        yield from _from_path(path, values)


def _from_standard_input(stream: IO[bytes], values: Values | None) -> Iterator[Source]:
    start = stream.read(8)
    if start.startswith(SIGNATURES):
        content = start + stream.read()
        state = hashlib.sha256(content).hexdigest()
        yield Source(STANDARD_INPUT, functools.partial(_given, content), state=state)
        return
    names = start + stream.read()
    if not names.strip(b"\0\r\n "):
        raise DataError("standard input: empty; expected a picture, or names of pictures.")
    separator = b"\0" if b"\0" in names else b"\n"
    for name in names.split(separator):
        if name.strip():
            yield from _from_path(os.fsdecode(name.rstrip(b"\r")), values)


def _file(path: str) -> Iterator[Source]:
    state, pictures = _state(path), open_or_tell(path)
    video = path if pictures.is_video else None
    for i in range(pictures.num):
        name = joined_name(path, i, pictures.num)
        yield Source(name, functools.partial(pictures.read, i), video=video, state=state)


def _state(path: str) -> str | None:
    """Return what tells whether a file has changed: its size, and when it was written or moved."""
    try:
        if is_zarr(path):
            states = (f"{name} {_told(found)}" for name, found in zarr_files(Path(path)))
            return hashlib.sha256(os.fsencode("\n".join(states))).hexdigest()
        return _told(os.stat(path))
    except (OSError, ValueError):
        return None


def _told(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


def _fail(error: AirError, need: Need = WHOLE) -> Decoded:
    raise error


def _given(content: bytes, need: Need = WHOLE) -> Decoded:
    return decode(io.BytesIO(content), "standard input", need=need)


def _row(name: str, images: NDArray[Any], index: int, need: Need = WHOLE) -> Decoded:
    with errors_in_one_line(shown(name)):
        picture = need.with_channels(as_picture(np.asarray(images[index])))
        return Decoded(picture, picture.size)
