"""What is known about the user's pictures: a ``counts.csv`` or a COCO file beside them."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError, nearest
from .decoding import shown

logger = logging.getLogger(__name__)

COUNTS_FILE = "counts.csv"
COUNTS_COLUMNS = ("file", "count")
UNKNOWN = -1
"""The count of a picture that nothing is known about."""

MANY = 1_000


@dataclass(frozen=True)
class Labels:
    """What is known, by the name of the picture's file or, in an array, its number.

    Attributes:
        counts: the number of objects.
        boxes: (count, 4), x0, y0, x1, y1 in the picture's pixels; None if there are none.
        classes: (count,), positions in ``names``; None if there are none.
        names: of the classes.
    """

    counts: Mapping[Any, int]
    boxes: Mapping[Any, NDArray[np.float32]] | None = None
    classes: Mapping[Any, NDArray[np.int64]] | None = None
    names: tuple[str, ...] = ()


def read_labels(folder: Path, names: Sequence[str], strict: bool = False) -> Labels | None:
    """Read ``counts.csv`` or the COCO file that lies beside pictures; None if there is neither.

    Args:
        folder: of the pictures.
        names: of their files. A line about another file is named in the log and left out.
        strict: refuse such lines instead.
    Raises: DataError if a file cannot be read, or contradicts itself; the message names the line.
    """
    table = folder / COUNTS_FILE
    coco = find_coco(folder)
    has_table = os.path.lexists(table)
    if has_table and coco is not None:
        logger.warning("%s: not read, since %s tells more.", shown(table), coco.name)
    if coco is not None:
        return _read_coco(coco, names, strict)
    if has_table and not table.is_file():  # a pipe would wait for ever
        raise DataError(f"{shown(table)}: no file that can be read. Replace or remove it.")
    return Labels(_read_counts(table, names, strict)) if has_table else None


def find_coco(folder: Path) -> Path | None:
    """Return the folder's file of COCO annotations: the only .json with images and annotations."""
    found = [path for path in sorted(folder.glob("*.json")) if path.is_file() and _is_coco(path)]
    if len(found) > 1:
        raise DataError(
            f"{shown(folder)}: two files of COCO annotations, {found[0].name} and {found[1].name}. "
            "Move one of them away."
        )
    return found[0] if found else None


def _is_coco(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if "coco" in path.name or path.stem == "annotations":
            raise DataError(f"{shown(path)}: cannot be read as JSON ({error}).") from error
        return False
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def _read_coco(path: Path, names: Sequence[str], strict: bool) -> Labels:
    content = json.loads(path.read_bytes())
    try:
        ids = _names_by_id(path, content["images"], strict)
        categories = {c["id"]: str(c["name"]) for c in content.get("categories", ())}
        kinds = sorted(categories)
        named = {image_id: name for image_id, name in ids.items() if name is not None}
        boxes: dict[str, list[list[float]]] = {name: [] for name in named.values()}
        classes: dict[str, list[int]] = {name: [] for name in named.values()}
        for annotation in content["annotations"]:
            if annotation.get("iscrowd"):
                continue
            name = ids[annotation["image_id"]]
            if name is None:
                continue
            x, y, width, height = (float(value) for value in annotation["bbox"])
            if not math.isfinite(x + y + width + height):
                raise ValueError(f"a bbox of {annotation['bbox']}")
            boxes[name].append([x, y, x + width, y + height])
            kind = annotation.get("category_id")
            classes[name].append(kinds.index(kind) if kind in categories else 0)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{shown(path)}: not as COCO has it ({type(error).__name__}: {error}). Expected images "
            "with id and file_name, and annotations with image_id and bbox [x, y, width, height]."
        ) from error
    known = set(names)
    unknown = [name for name in boxes if name not in known]
    if unknown:
        _complain(
            f"{shown(path)}: {len(unknown)} of its {len(named)} images are not beside it, such as "
            f"{shown(unknown[0])}.",
            strict,
        )
    return Labels(
        counts={name: len(rows) for name, rows in boxes.items()},
        boxes={name: np.array(rows, np.float32).reshape(-1, 4) for name, rows in boxes.items()},
        classes={name: np.array(rows, np.int64) for name, rows in classes.items()},
        names=tuple(categories[kind] for kind in kinds),
    )


def _names_by_id(path: Path, images: Iterable[Any], strict: bool) -> dict[Any, str | None]:
    """Return the name of each image's file, by the image's number.

    Folders before a name are dropped. Of images that have the same name then, such as
    ``train/1.png`` and ``val/1.png``, the one whose folders end as those of this file do is meant;
    None is the name of the others, and of all if that tells none or more than one.
    """
    files = {image["id"]: PurePath(str(image["file_name"])) for image in images}
    alike: dict[str, list[Any]] = {}
    for image_id, file in files.items():
        alike.setdefault(file.name, []).append(image_id)
    names: dict[Any, str | None] = {image_id: file.name for image_id, file in files.items()}
    for name, image_ids in alike.items():
        if len(image_ids) == 1:
            continue
        here = (path.resolve().parent / name).parts
        meant = [i for i in image_ids if here[-len(files[i].parts) :] == files[i].parts]
        names |= {i: name if meant == [i] else None for i in image_ids}
        if len(meant) != 1:
            _complain(
                f"{shown(path)}: {len(image_ids)} of its images are called {shown(name)}, and "
                "which of them is the one beside it is not told; its count is taken for unknown.",
                strict,
            )
    return names


def _read_counts(table: Path, names: Sequence[str], strict: bool) -> dict[str, int]:
    """Return the count of each named picture that the table has a line for."""
    counts: dict[str, int] = {}
    known = set(names)
    for line, file, text in _rows(table):
        where = f"{shown(table)}, line {line}"
        if file not in known:
            _complain(
                f"{where}: there is no image {file!r} beside it.{_nearest(file, names)} "
                "Correct the name or remove the line.",
                strict,
            )
            continue
        if file in counts:
            raise DataError(f"{where}: {file!r} comes twice. Remove one of the lines.")
        counts[file] = _parse_count(text, where)
    return counts


def _nearest(file: str, names: Sequence[str]) -> str:
    return nearest(file, names) if len(names) <= MANY else ""  # it compares with each of them


def _complain(message: str, strict: bool) -> None:
    if strict:
        raise DataError(message)
    logger.warning("%s", message)


def _rows(table: Path) -> Iterable[tuple[int, str, str]]:
    """Yield (line number, file, count) of each row that is not blank."""
    try:
        # Excel writes a BOM; a name may have bytes that are no UTF-8.
        with open(table, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = header
            if not set(COUNTS_COLUMNS) <= set(header):
                raise DataError(
                    f"{shown(table)}: expected the columns {' and '.join(COUNTS_COLUMNS)} in the "
                    f"first line, got {shown(', '.join(header)) or 'nothing'}. "
                    "Add them, separated by a comma, as UTF-8 text."
                )
            for row in reader:
                yield reader.line_num, (row["file"] or "").strip(), (row["count"] or "").strip()
    except (OSError, csv.Error) as error:
        raise DataError(
            f"{shown(table)}: cannot be read as text ({error}). Save it again as CSV."
        ) from error


def _parse_count(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise DataError(f"{where}: expected a count such as 0 or 2, got {text!r}. Correct it.")
    return int(text)
