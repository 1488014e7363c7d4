"""Where the user's own images lie: folders of pictures, files of arrays, and their test parts."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Literal

from ....errors import DataError
from .decoding import SUFFIXES, shown
from .video import VIDEO_SUFFIXES

logger = logging.getLogger(__name__)

ARRAYS = (".npz", ".npy")
ZARR = ".zarr"
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
"""Files that a folder has if it is a zarr, of any version: it counts as a file of pictures."""

PICTURES = (*SUFFIXES, *VIDEO_SUFFIXES, ZARR)
"""Ends of the names of files that hold pictures."""


def picture_names(folder: Path) -> list[str]:
    """Return the names of a folder's pictures, without hidden files such as macOS' ``._x.png``.

    Raises: DataError if there is none, or the folder cannot be listed.
    """
    names = file_names(folder)
    pictures = [name for name in names if name.lower().endswith(PICTURES)]
    if not pictures:
        archives = [folder / name for name in names if name.lower().endswith(ARRAYS)]
        advice = f"Give {archives[0]} itself." if archives else "Give the folder that holds them."
        raise DataError(
            f"{shown(folder)}: no images ({', '.join(PICTURES)}) in this folder. {advice}"
        )
    return pictures


def picture_files(source: Path) -> list[Path]:
    """Return the files of pictures in a folder, or the one that is given.

    Raises: DataError as ``picture_names``.
    """
    if is_folder(source):
        return [source / name for name in picture_names(source)]
    return [source]


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is that of a zarr, which is a folder of chunks and their metadata."""
    name = os.fspath(path)
    if not os.path.isdir(name):
        return False
    ends_so = os.path.basename(os.path.abspath(name)).lower().endswith(ZARR)
    return ends_so or any(os.path.isfile(os.path.join(name, own)) for own in ZARR_FILES)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is that of a folder, which may hold pictures; a zarr is none."""
    return os.path.isdir(path) and not is_zarr(path)


def is_arrays(source: Path) -> bool:
    """Tell whether a file holds arrays."""
    return source.suffix.lower() in ARRAYS and not source.is_dir()


def file_names(folder: Path) -> list[str]:
    """Return the names of what is in a folder, without sub-folders and hidden files, sorted.

    A zarr whose name ends so is no sub-folder.

    Raises: DataError if the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if _is_file(entry))
    except OSError as error:
        raise DataError(
            f"{shown(folder)}: cannot be listed ({error.strerror}). Check its permissions."
        ) from error


def _is_file(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):
        return False
    try:
        return not entry.is_dir() or entry.name.lower().endswith(ZARR)
    except OSError:  # a link to itself: it is listed, and reading it says what is wrong
        return True


def split_path(path: str | os.PathLike[str], split: str) -> Path:
    """Return where a split of the user's own images lies.

    Args:
        path: a folder, a picture, a stack, a video or a zarr, an ``.npz`` or an ``.npy`` file.
        split: ``"train"`` is all of it; ``"test"`` its sub-folder ``test``, or ``NAME_test.npz``.
    Raises: DataError if there is no such thing.
    """
    given = Path(path)
    kind = kind_of(given)
    if kind == "file" and not is_zarr(given) and given.suffix.lower() not in (*ARRAYS, *PICTURES):
        raise DataError(
            f"{shown(given)}: expected a folder of images, a picture ({', '.join(PICTURES)}), or "
            "an .npz or .npy file of arrays."
        )
    if split == "train":
        return given
    test = given / "test" if kind == "folder" else given.with_stem(f"{given.stem}_test")
    if not os.path.lexists(test):
        raise DataError(
            f"{shown(given)}: it has no test images. Put them into {shown(test)}, "
            "or ask for the split 'train' or 'validation'."
        )
    kind_of(test)
    return test


def has_test_part(path: str | os.PathLike[str]) -> bool:
    """Tell whether there are test images beside the user's own, whether or not they can be read.

    A folder ``test`` without images is none, and a warning says so.

    Raises: DataError if that folder cannot be listed.
    """
    given = Path(path)
    test = given / "test" if is_folder(given) else given.with_stem(f"{given.stem}_test")
    if not test.is_dir() or not is_folder(given):
        return os.path.lexists(test)
    if any(name.lower().endswith(PICTURES) for name in file_names(test)):
        return True
    logger.warning("%s: holds no images, so that there is no test split.", shown(test))
    return False


def kind_of(path: Path) -> Literal["folder", "file"]:
    """Tell a folder from a file; a zarr counts as a file.

    Raises: DataError, in one line, if there is nothing, it cannot be reached, or it is neither.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise DataError(
                f"{shown(path)}: a link to {shown(os.readlink(path))}, where there is nothing. "
                "Give the place of the images."
            ) from error
        raise DataError(
            f"{shown(path)}: no such file or folder. Check the spelling of the path."
        ) from error
    except (OSError, ValueError) as error:  # no permission, a loop of links, too long, a null byte
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shown(path)}: cannot be reached ({reason}). Check the path.") from error
    if stat.S_ISDIR(mode):
        return "file" if is_zarr(path) else "folder"
    if not stat.S_ISREG(mode):  # a pipe would wait for ever
        raise DataError(f"{shown(path)}: a pipe or a device; expected a folder or a file.")
    return "file"
