"""What was found in pictures, as JSON lines, CSV and COCO.

The lines are written as pictures come; the other forms are made from them, a line at a time, so
that none needs more memory for more pictures.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .air import Scenes, presence_scores
from .data.framing import Frame

Record = dict[str, Any]

CSV_COLUMNS = (
    *("file", "width", "height", "count", "probability"),
    *("object", "score", "x0", "y0", "x1", "y1", "error", "identity"),
)


def scene_record(
    name: str, frame: Frame, scenes: Scenes, index: int, unbounded: bool = False
) -> Record:
    """Return one picture's scene as plain values, ready for JSON.

    ``score`` is q(z_pres_t = 1 | x), the probability that the picture has at least t objects; boxes
    are x0, y0, x1, y1 in the picture's pixels; z_where is relative to the canvas.

    Args:
        name: of the picture.
        frame: how it lies on the canvas.
        scenes: as NumPy arrays.
        index: the picture's row.
        unbounded: leave out the counts that were only thought of for pictures beside it.
    """
    count, count_probs = int(scenes.counts[index]), scenes.count_probs[index]
    if unbounded:
        count_probs = np.trim_zeros(count_probs, "b")
    scores = presence_scores(scenes.count_probs[index : index + 1])[0]
    boxes = frame.to_picture(scenes.boxes[index])
    behind = {}
    if scenes.z_background.shape[1]:
        behind["z_background"] = rounded(scenes.z_background[index])
    return {
        "file": name,
        "width": frame.size[0],
        "height": frame.size[1],
        "count": count,
        "count_probs": rounded(count_probs),
        "objects": [
            {
                "step": t + 1,
                "score": round(float(scores[t]), 6),
                "box": rounded(boxes[t], 3),
                "z_where": rounded(scenes.z_where[index, t]),
                "z_what": rounded(scenes.z_what[index, t]),
            }
            for t in range(count)
        ],
        **behind,
    }


def failure_record(name: str, reason: str) -> Record:
    """Return what stands for a picture that could not be read."""
    return {"file": name, "error": reason}


def rounded(values: NDArray[np.floating], digits: int = 6) -> list[float]:
    """Return values as a list, without digits that are noise."""
    return [round(float(value), digits) for value in values]


def read_records(lines: Path) -> Iterator[Record]:
    """Yield the records of a file of JSON lines, one at a time."""
    with lines.open("rb") as file:
        for line in file:
            yield json.loads(line)


def csv_rows(records: Iterable[Record]) -> Iterator[list[Any]]:
    """Yield the header, and a row for each object; a picture without objects has one row, too."""
    yield list(CSV_COLUMNS)
    for record in records:
        if "error" in record:
            blank = [""] * (len(CSV_COLUMNS) - 3)
            yield [record["file"], *blank, record["error"], ""]
            continue
        count = record["count"]
        own = [record[key] for key in ("file", "width", "height", "count")]
        own.append(record["count_probs"][count])
        for found in record["objects"]:
            identity = found.get("identity", "")
            yield [*own, found["step"], found["score"], *found["box"], "", identity]
        if not count:
            yield [*own, *[""] * (len(CSV_COLUMNS) - len(own))]


def write_csv(records: Iterable[Record], file: IO[str]) -> None:
    """Write records as CSV."""
    csv.writer(file, lineterminator="\n").writerows(csv_rows(records))


def write_coco(
    lines: Path, dataset: IO[str], results: IO[str] | None, image_ids: Mapping[str, int]
) -> None:
    """Write records as COCO has them.

    Args:
        lines: the file of JSON lines; it is read three times.
        dataset: gets one object with images, annotations (with scores) and categories.
        results: gets the list of detections alone, which ``COCO.loadRes`` reads.
        image_ids: of pictures by the names of their files; others are numbered in order.
    """
    dataset.write('{"info": {"description": "objects found by attend-infer-repeat"},\n')
    dataset.write('"categories": [{"id": 1, "name": "object", "supercategory": ""}],\n"images": [')
    _write_list(dataset, _coco_images(lines, image_ids))
    dataset.write('],\n"annotations": [')
    _write_list(dataset, _coco_annotations(lines, image_ids))
    dataset.write("]}\n")
    if results is not None:
        results.write("[")
        kept = ("image_id", "category_id", "bbox", "score")
        found = _coco_annotations(lines, image_ids)
        _write_list(results, ({key: row[key] for key in kept} for row in found))
        results.write("]\n")


def _write_list(file: IO[str], values: Iterable[Record]) -> None:
    separator = "\n"
    for value in values:
        file.write(separator + json.dumps(value))
        separator = ",\n"


def _identified(lines: Path, image_ids: Mapping[str, int]) -> Iterator[tuple[int, Record]]:
    """Yield each picture that was read, with its number in the COCO file."""
    for number, record in enumerate(read_records(lines), 1):
        if "error" not in record:
            yield image_ids.get(os.path.basename(record["file"]), number), record


def _coco_images(lines: Path, image_ids: Mapping[str, int]) -> Iterator[Record]:
    for image_id, record in _identified(lines, image_ids):
        size = {key: record[key] for key in ("width", "height")}
        yield {"id": image_id, "file_name": record["file"], **size}


def _coco_annotations(lines: Path, image_ids: Mapping[str, int]) -> Iterator[Record]:
    number = 0
    for image_id, record in _identified(lines, image_ids):
        for found in record["objects"]:
            number += 1
            x0, y0, x1, y1 = found["box"]
            width, height = round(x1 - x0, 3), round(y1 - y0, 3)
            yield {
                "id": number,
                "image_id": image_id,
                "category_id": 1,
                "bbox": [x0, y0, width, height],
                "area": round(width * height, 3),
                "iscrowd": 0,
                "score": found["score"],
            } | ({"track_id": found["identity"]} if "identity" in found else {})
