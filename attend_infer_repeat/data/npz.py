"""Reading ``.npz`` archives and ``.npy`` arrays that may be damaged or hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an ``.npz`` file, and never run code from it.

    The whole file is read, so that zip's own checksums find any damage now rather than later.

    Raises: DataError, naming the file, if it cannot be read, is damaged, is no ``.npz``, or
        holds pickled objects.
    """
    try:
        with open(path, "rb") as file:  # np.load itself would leave a damaged file open
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):  # a single .npy array under another name
                raise ValueError("it holds one bare array")
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged zip raises nearly anything, from EOFError to zlib.error
        raise DataError(
            f"{path}: not a readable .npz file ({_reason(error)}). "
            "Write it again with numpy.savez_compressed, from plain number arrays."
        ) from error


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
            f"{path}: not a readable .npy file ({_reason(error)}). "
            "Write it again with numpy.save, from plain numbers."
        ) from error


def _reason(error: Exception) -> str:
    """Return the error's own words on one line."""
    return " ".join(str(error).split()) or type(error).__name__
