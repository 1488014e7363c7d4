"""What was found in pictures, as COCO has it: its images, annotations and detections."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..data.pictures.reading.labels import find_coco
from ..errors import AirError
from .records import Record, read_records, to_json

Parts = tuple[str, ...]
"""A path, part by part, the last one first."""


class Truth(NamedTuple):
    """An image of a COCO file of the user's."""

    number: int
    name: Parts  # as the file has it
    path: Parts  # as it is if the name begins where the file lies


def find_truths(arguments: Sequence[str]) -> list[Truth]:
    """Return the images of the COCO file beside the pictures, if there is just one such file.

    Args:
        arguments: of ``air infer``. The file is looked for in those that are folders, and in the
            folders that patterns begin with.
    """
    files = {path for argument in arguments for path in _coco_files(argument)}
    if len(files) != 1:
        return []
    (file,) = files
    try:
        images = json.loads(file.read_bytes())["images"]
        truths = [
            Truth(image["id"], _parts(name), _parts(os.path.abspath(file.parent / name)))
            for image in images
            if (name := str(image["file_name"]))
        ]
    except (OSError, ValueError, TypeError, KeyError):  # they are not needed here
        return []
    return truths if all(type(truth.number) is int for truth in truths) else []


def _coco_files(argument: str) -> Iterator[Path]:
    folder = argument
    while glob.has_magic(folder) and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder or "."):
        return
    try:
        found = find_coco(Path(folder))
    except (AirError, OSError):
        return
    if found is not None:
        yield found.absolute()


def _parts(path: str) -> Parts:
    return tuple(part for part in reversed(path.split("/")) if part not in ("", "."))


def image_ids(names: Sequence[str], truths: Sequence[Truth]) -> dict[int, int]:
    """Return the number in the user's COCO file of each picture that is there, by its position.

    A picture is the image at its very path; or the one whose whole name its path ends with, the
    longest such name; or, whatever the folders, the one of the same file name. A weaker match
    counts only where there is no stronger one, and none counts that is not the only one. No number
    is given twice.

    Args:
        names: paths of the pictures.
        truths: the images.
    """
    by_file: dict[str, list[Truth]] = defaultdict(list)
    for truth in truths:
        by_file[truth.path[0] if truth.path else ""].append(truth)
    paths = [_parts(os.path.abspath(name)) for name in names]

    def same_path(path: Parts, found: list[Truth]) -> list[Truth]:
        return [truth for truth in found if truth.path == path]

    def ends_alike(path: Parts, found: list[Truth]) -> list[Truth]:
        found = [truth for truth in found if path[: len(truth.name)] == truth.name]
        longest = max((len(truth.name) for truth in found), default=0)
        return [truth for truth in found if len(truth.name) == longest]

    def same_file(path: Parts, found: list[Truth]) -> list[Truth]:
        return found

    given: dict[int, int] = {}
    for matching in (same_path, ends_alike, same_file):
        taken = set(given.values())
        single: dict[int, int] = {}
        for i, path in enumerate(paths):
            if i not in given and path:
                free = [t for t in by_file.get(path[0], ()) if t.number not in taken]
                found = matching(path, free)
                if len(found) == 1:
                    single[i] = found[0].number
        times = Counter(single.values())
        given |= {i: number for i, number in single.items() if times[number] == 1}
    return given


def numbers(lines: Path, truths: Sequence[Truth]) -> Iterator[int]:
    """Yield a number for each line, without end.

    Without a COCO file of the user's, they count from 1. With one, pictures that it does not have
    are counted from above all of its numbers.
    """
    if not truths:
        yield from count(1)
        return
    names = [record["file"] for record in read_records(lines)]
    known = image_ids(names, truths)
    others = count(max(truth.number for truth in truths) + 1)
    for i in count():
        yield known[i] if i in known else next(others)


def write_coco(
    lines: Path, dataset: IO[str], results: IO[str] | None, truths: Sequence[Truth] = ()
) -> None:
    """Write records as COCO has them.

    Args:
        lines: the file of JSON lines; it is read three times.
        dataset: gets one object with images, annotations (with scores) and categories.
        results: gets the list of detections alone, which ``COCO.loadRes`` reads.
        truths: images of the user's own COCO file, whose numbers are taken.
    """
    dataset.write('{"info": {"description": "objects found by attend-infer-repeat"},\n')
    dataset.write('"categories": [{"id": 1, "name": "object", "supercategory": ""}],\n"images": [')
    _write_list(dataset, _images(lines, truths))
    dataset.write('],\n"annotations": [')
    _write_list(dataset, _annotations(lines, truths))
    dataset.write("]}\n")
    if results is not None:
        results.write("[")
        kept = ("image_id", "category_id", "bbox", "score")
        found = _annotations(lines, truths)
        _write_list(results, ({key: row[key] for key in kept} for row in found))
        results.write("]\n")


def _write_list(file: IO[str], values: Iterable[Record]) -> None:
    separator = "\n"
    for value in values:
        file.write(separator + to_json(value))
        separator = ",\n"


def _identified(lines: Path, truths: Sequence[Truth]) -> Iterator[tuple[int, Record]]:
    """Yield each picture that was read, with its number in the COCO file."""
    for number, record in zip(numbers(lines, truths), read_records(lines), strict=False):
        if "error" not in record:
            yield number, record


def _images(lines: Path, truths: Sequence[Truth]) -> Iterator[Record]:
    for image_id, record in _identified(lines, truths):
        own = {"id": image_id, "file_name": record["file"]}
        kept = ("width", "height", "importance")
        yield own | {key: record[key] for key in kept if key in record}


def _annotations(lines: Path, truths: Sequence[Truth]) -> Iterator[Record]:
    number = 0
    for image_id, record in _identified(lines, truths):
        for found in record["objects"]:
            number += 1
            x0, y0, x1, y1 = found["box"]
            width, height = round(x1 - x0, 3), round(y1 - y0, 3)
            annotation: dict[str, Any] = {
                "id": number,
                "image_id": image_id,
                "category_id": 1,
                "bbox": [x0, y0, width, height],
                "area": round(width * height, 3),
                "iscrowd": 0,
                "score": found["score"],
            }
            if "identity" in found:
                annotation["track_id"] = found["identity"]
            yield annotation
