"""The user's own images: a folder of pictures, or one ``.npz`` file of arrays."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, nearest
from .dataset import Dataset
from .npz import read_npz

SUFFIXES = (".jpeg", ".jpg", ".png")
COUNTS_FILE = "counts.csv"
COUNTS_COLUMNS = ("file", "count")
NPZ_ARRAYS = ("images", "counts", "boxes", "labels")


def load_path(path: str | os.PathLike[str], split: Literal["train", "test"] = "train") -> Dataset:
    """Load the user's own images.

    A folder holds PNG or JPEG files of one size; they are read as grey and sorted by name.
    ``counts.csv`` beside them, with columns ``file`` and ``count``, tells the number of objects
    in each. Other files, hidden files and sub-folders are left alone.

    An ``.npz`` file holds ``images``, (N, height, width) or (N, 3, height, width), uint8 or
    floats from 0 to 1, and may hold ``counts``, ``boxes`` and ``labels`` as in ``Dataset``.

    Args:
        path: a folder, or an ``.npz`` file.
        split: ``"train"`` for all images at the path; ``"test"`` for those in the folder's
            sub-folder ``test``, or in ``NAME_test.npz`` beside ``NAME.npz``.
    Raises: DataError if there is nothing at the path, or what is there is damaged, of mixed
        sizes, out of range or contradicts itself; the message names the file.
    """
    place = Path(path)
    if not place.exists():
        raise DataError(f"{place}: no such file or folder. Check the spelling of the path.")
    name = place.resolve().stem if place.is_file() else place.resolve().name
    if split == "test":
        place = _test_place(place)
    if place.is_dir():
        return _load_folder(place, name, split)
    if place.suffix.lower() == ".npz":
        return _load_npz(place, name, split)
    raise DataError(f"{place}: expected a folder of images or an .npz file. Give its folder.")


def _test_place(place: Path) -> Path:
    test = place / "test" if place.is_dir() else place.with_name(f"{place.stem}_test.npz")
    if not test.exists():
        raise DataError(
            f"{place}: it has no test images. Put them into {test}, "
            "or ask for the split 'train' or 'validation'."
        )
    return test


# Folders


def _load_folder(folder: Path, name: str, split: str) -> Dataset:
    files = _image_files(folder)
    pictures = [_read_picture(file) for file in files]
    for file, picture in zip(files, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise DataError(
                f"{file}: expected {_size(pictures[0])} pixels like {files[0].name}, "
                f"got {_size(picture)}. Crop or resize the images to one size."
            )
    table = folder / COUNTS_FILE
    counts = _read_counts(table, [file.name for file in files]) if table.exists() else None
    return Dataset(name, split, np.stack(pictures), counts)


def _image_files(folder: Path) -> list[Path]:
    """Return the folder's images by name, without hidden files such as macOS' ``._x.png``."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error}). Check its permissions.") from error
    visible = [entry for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    files = [entry for entry in visible if entry.suffix.lower() in SUFFIXES]
    if not files:
        archives = [entry for entry in visible if entry.suffix.lower() == ".npz"]
        advice = f"Give {archives[0]} itself." if archives else "Give the folder that holds them."
        raise DataError(f"{folder}: no images ({', '.join(SUFFIXES)}) in this folder. {advice}")
    return files


def _read_picture(path: Path) -> NDArray[np.uint8]:
    """Read one picture as grey, the way it is looked at: upright, and on black if transparent.

    Returns: (height, width) uint8.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            picture.load()
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise DataError(
            f"{path}: cannot be read as an image ({error}). Replace or remove the file."
        ) from error
    if picture.mode.startswith("I"):  # 16 bits a pixel, which convert("L") would cut off at 255
        return np.round(np.asarray(picture) / 257).clip(0, 255).astype(np.uint8)
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        on_black = Image.new("RGBA", picture.size, "black")
        picture = Image.alpha_composite(on_black, picture)
    return np.asarray(picture.convert("L"))


def _size(picture: NDArray[np.uint8]) -> str:
    height, width = picture.shape
    return f"{width} x {height}"


# counts.csv


def _read_counts(table: Path, names: list[str]) -> NDArray[np.int64]:
    """Return the count of each named image, (N,) int64; every image must have exactly one."""
    counts: dict[str, int] = {}
    for line, file, text in _rows(table):
        if file not in names:
            raise DataError(
                f"{table}, line {line}: there is no image {file!r} beside it."
                f"{nearest(file, names)} Correct the name or remove the line."
            )
        if file in counts:
            raise DataError(f"{table}, line {line}: {file!r} comes twice. Remove one of the lines.")
        counts[file] = _parse_count(text, f"{table}, line {line}")
    missing = [name for name in names if name not in counts]
    if missing:
        raise DataError(
            f"{table}: expected a line for each of {len(names)} images, {len(missing)} missing, "
            f"such as {missing[0]!r}. Add them, or remove the file to train without counts."
        )
    return np.array([counts[name] for name in names], np.int64)


def _rows(table: Path) -> Iterable[tuple[int, str, str]]:
    """Yield (line number, file, count) of each row that is not blank."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:  # Excel writes a BOM
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = header
            if not set(COUNTS_COLUMNS) <= set(header):
                raise DataError(
                    f"{table}: expected the columns {' and '.join(COUNTS_COLUMNS)} in the first "
                    f"line, got {', '.join(header) or 'nothing'}. Add them, separated by a comma."
                )
            for row in reader:
                yield reader.line_num, (row["file"] or "").strip(), (row["count"] or "").strip()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table}: cannot be read as UTF-8 text ({error}). Save it again as CSV."
        ) from error


def _parse_count(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise DataError(f"{where}: expected a count such as 0 or 2, got {text!r}. Correct it.")
    return int(text)


# .npz files


def _load_npz(path: Path, name: str, split: str) -> Dataset:
    arrays = read_npz(path)
    if "images" not in arrays:
        raise DataError(
            f"{path}: expected an array 'images', got {', '.join(arrays) or 'nothing'}. "
            f"Save it with numpy.savez_compressed(path, images=...)."
        )
    unknown = [key for key in arrays if key not in NPZ_ARRAYS]
    if unknown:
        raise DataError(
            f"{path}: expected arrays named {', '.join(NPZ_ARRAYS)}, got {unknown[0]!r}."
            f"{nearest(unknown[0], NPZ_ARRAYS)} Rename or remove it."
        )
    arrays["images"] = _as_uint8(arrays["images"], path)
    if not len(arrays["images"]):
        raise DataError(f"{path}: it holds no images. Save at least one.")
    for field, kinds, dtype in (
        ("counts", "iu", np.int64),
        ("boxes", "f", np.float32),
        ("labels", "iu", np.int64),
    ):
        if field in arrays and arrays[field].dtype.kind in kinds:
            arrays[field] = arrays[field].astype(dtype)
    try:
        data = Dataset(name, split, **arrays)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    _check_objects(data, path)
    return data


def _as_uint8(images: NDArray[Any], path: Path) -> NDArray[Any]:
    """Scale floats from 0..1 to 0..255, and drop a channel axis of length 1.

    Any other type is passed on, and ``Dataset`` refuses it: whole numbers that are not uint8
    do not tell whether their white is 1, 255 or 65535.
    """
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.dtype == np.bool_:
        return images * np.uint8(255)
    if images.dtype.kind != "f":
        return images
    if np.isnan(images).any():
        bad = int(np.isnan(images.reshape(len(images), -1)).any(axis=1).argmax())
        raise DataError(f"{path}: image {bad} has NaN pixels. Replace them, or leave it out.")
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise DataError(
            f"{path}: expected float pixels from 0 to 1, got {images.min():g} to "
            f"{images.max():g}. Scale them, or save them as uint8 from 0 to 255."
        )
    return np.round(images * 255).astype(np.uint8)


def _check_objects(data: Dataset, path: Path) -> None:
    """Refuse truths that contradict each other, which would make every score wrong."""
    if data.counts is not None and data.counts.min() < 0:
        bad = int(data.counts.argmin())
        raise DataError(f"{path}: counts: image {bad} has {data.counts[bad]}. Expected 0 or more.")
    if data.counts is not None and data.boxes is not None:
        num_boxes = (~np.isnan(data.boxes).any(axis=2)).sum(axis=1)
        if (num_boxes != data.counts).any():
            bad = int((num_boxes != data.counts).argmax())
            raise DataError(
                f"{path}: image {bad} has {num_boxes[bad]} boxes and a count of "
                f"{data.counts[bad]}. Make them agree; an absent box is NaN."
            )
