"""Reading ``.npz`` archives and ``.npy`` arrays that may be damaged or hostile."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import DataError
from ..pictures.reading.decoding import shown

MAX_BYTES = 4 * 2**30
"""The most that the arrays of an archive may take. A few bytes of an archive can hold gigabytes."""


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an ``.npz`` file, and never run code from it.

    What its arrays take is known from their headers, and bounded, before any is read. Then the
    whole file is read, so that zip's own checksums find any damage now rather than later.

    Raises: DataError, naming the file, if it cannot be read, is damaged, is no ``.npz``, holds
        pickled objects, or more than ``MAX_BYTES``.
    """
    try:
        with open(path, "rb") as file:  # np.load itself would leave a damaged file open
            _check_headers(file)
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged zip raises nearly anything, from EOFError to zlib.error
        raise DataError(
            f"{shown(path)}: not a readable .npz file ({_reason(error)}). "
            "Write it again with numpy.savez_compressed, from plain number arrays."
        ) from error


def count_images(path: Path) -> int:
    """Return how many images an ``.npz`` or ``.npy`` file seems to hold, from its headers alone.

    Raises: DataError if they cannot be read.
    """
    try:
        with open(path, "rb") as file:
            if path.suffix.lower() == ".npy":
                shape = _header(file)[0]
            else:
                with zipfile.ZipFile(file) as archive, archive.open("images.npy") as member:
                    shape = _header(member)[0]
            return 1 if len(shape) == 2 else shape[0]  # (height, width) is one image
    except Exception as error:
        raise DataError(f"{shown(path)}: not readable ({_reason(error)}).") from error


def _check_headers(file: IO[bytes]) -> None:
    """Raise a ValueError if an archive's arrays take too much, or another size than it says."""
    if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
        raise ValueError("it holds one bare array")
    total = 0
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                shape, dtype = _header(member)
                size = math.prod(shape) * dtype.itemsize
                if dtype.hasobject:
                    raise ValueError(f"{info.filename} holds pickled objects")
                if size != info.file_size - member.tell():
                    raise ValueError(f"{info.filename} is not as long as its header says")
            total += size
    if total > MAX_BYTES:
        raise ValueError(
            f"its arrays take {total / 2**30:,.1f} GiB, more than {MAX_BYTES / 2**30:.0f}; "
            "an .npy file is not read at once"
        )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the type of an array, from the header of its ``.npy`` file."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def read_npy(path: Path) -> NDArray[Any]:
    """Map the array of an ``.npy`` file into memory, and never run code from it.

    Raises: DataError, naming the file, if it cannot be read, is damaged, is no ``.npy``, or
        holds pickled objects.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            array.close()
            raise ValueError("it holds an archive")
        return array
    except Exception as error:
        raise DataError(
            f"{shown(path)}: not a readable .npy file ({_reason(error)}). "
            "Write it again with numpy.save, from plain numbers."
        ) from error


def _reason(error: Exception) -> str:
    """Return the error's own words on one line."""
    return " ".join(str(error).split()) or type(error).__name__
