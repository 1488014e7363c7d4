"""What was found in pictures, as JSON lines, as CSV, and as a line for people.

The lines are written as pictures come; the other forms are made from them, a line at a time. COCO
is in ``coco``.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..config import CountConfig
from ..data.pictures.canvas.framing import Frame
from ..data.pictures.reading.decoding import shown
from ..errors import NotFiniteError
from ..scenes import Scene, SceneObject
from .counts import count_interval, widened

Record = dict[str, Any]

CSV_COLUMNS = (
    *("file", "width", "height", "count", "probability"),
    *("object", "score", "x0", "y0", "x1", "y1", "error", "identity"),
)

SAMPLED_COLUMNS = ("importance_count", "importance_probability", "effective_sample_size")
"""Columns more, where there are importance samples."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What a terminal or a spreadsheet may take for a command: control characters, ESC among them."""

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula; the latter are the wide forms."""


def scene_record(name: str, frame: Frame, scene: Scene, of: CountConfig) -> Record:
    """Return one picture's scene as plain values, ready for JSON.

    ``score`` is q(z_pres_t = 1 | x), the probability that the picture has at least t objects; boxes
    are x0, y0, x1, y1 in the picture's pixels; z_where is relative to the canvas.

    Args:
        name: of the picture.
        frame: how it lies on the canvas.
        scene: of NumPy arrays.
        of: how the model counts. Without a bound, the pictures of a batch share the length of
            ``count_probs``, and the zeros at the picture's own end are left out.
    Raises: NotFiniteError if a value is not finite.
    """
    check_scene(name, scene)
    count_probs = np.trim_zeros(scene.count_probs, "b") if of.unbounded else scene.count_probs
    objects = [object_record(frame, step, own) for step, own in enumerate(scene.objects, 1)]
    record = picture_record(name, frame, scene.count, count_probs, objects, of.count_spread)
    if len(scene.z_background):
        record["z_background"] = rounded(scene.z_background)
    return record


def picture_record(
    name: str,
    frame: Frame,
    count: int,
    count_probs: NDArray[np.floating],
    objects: list[Record],
    spread: float = 0.0,
) -> Record:
    """Return what is known of a picture as a whole, and its objects.

    Args:
        name: of the picture.
        frame: how it lies on the canvas.
        count: of its objects.
        count_probs: (T + 1,).
        objects: records of them.
        spread: see ``counts.widened``.
    """
    return {
        "file": name,
        "width": frame.size[0],
        "height": frame.size[1],
        "count": count,
        "count_probs": rounded(count_probs),
        "count_interval": list(count_interval(widened(count_probs, spread))),
        "objects": objects,
    }


def check_scene(name: str, scene: Scene) -> None:
    """Raise a NotFiniteError if what was found in a picture has NaN or infinite numbers."""
    found = [values for own in scene.objects for values in (own.box, own.z_where, own.z_what)]
    check_finite(name, scene.count_probs, *found, scene.z_background, scene.reconstruction)


def object_record(frame: Frame, step: int, thing: SceneObject) -> Record:
    """Return an object as plain values; see ``scene_record``."""
    return {
        "step": step,
        "score": round(thing.score, 6),
        "box": rounded(frame.to_picture(thing.box), 3),
        "z_where": rounded(thing.z_where),
        "z_what": rounded(thing.z_what),
    }


def check_finite(name: str, *values: Any) -> None:
    """Raise a NotFiniteError if a model's answer about a picture has NaN or infinite numbers."""
    if not all(np.isfinite(value).all() for value in values):
        raise NotFiniteError(
            f"{shown(name)}: the model's answer is not finite. Its weights may be damaged, or its "
            "training went astray: see air evaluate."
        )


def failure_record(name: str, reason: str) -> Record:
    """Return what stands for a picture that could not be read."""
    return {"file": name, "error": reason}


def rounded(values: NDArray[np.floating], digits: int = 6) -> list[float]:
    """Return values as a list, without digits that are noise."""
    return [round(float(value), digits) for value in values]


def to_json(value: Any) -> str:
    """Return a value as JSON on one line; a ValueError if JSON has no word for it, as for NaN."""
    return json.dumps(value, allow_nan=False)


def to_text(record: Record) -> str:
    """Return a record as a line for people, such as ``scan.png: 2 objects (0.98)``."""
    if "error" in record:
        return str(record["error"])
    count = record["count"]
    noun = "object" if count == 1 else "objects"
    line = f"{shown(record['file'])}: {count} {noun} ({record['count_probs'][count]:.2f})"
    if "importance" in record:
        weighted = record["importance"]
        probability = weighted["count_probs"][weighted["count"]]
        line += f"; by importance samples {weighted['count']} ({probability:.2f})"
    return line


def read_records(lines: Path) -> Iterator[Record]:
    """Yield the records of a file of JSON lines, one at a time."""
    with lines.open("rb") as file:
        for line in file:
            yield json.loads(line)


def csv_rows(records: Iterable[Record], sampled: bool = False) -> Iterator[list[Any]]:
    """Yield the header, and a row for each object; a picture without objects has one row, too.

    Args:
        records: of the pictures.
        sampled: whether they have importance samples.
    """
    columns = CSV_COLUMNS + (SAMPLED_COLUMNS if sampled else ())
    yield list(columns)
    for record in records:
        own = {"file": _cell(record["file"])}
        if "error" in record:
            own["error"] = _cell(record["error"])
        else:
            own |= {key: record[key] for key in ("width", "height", "count")}
            own["probability"] = record["count_probs"][record["count"]]
        if "importance" in record:
            weighted = record["importance"]
            count, size = weighted["count"], weighted["effective_sample_size"]
            own |= zip(SAMPLED_COLUMNS, (count, weighted["count_probs"][count], size), strict=True)
        objects: list[Record] = record.get("objects") or [{}]
        for found in objects:
            row = own | {"object": found.get("step", "")}
            row |= {key: found[key] for key in ("score", "identity") if key in found}
            row |= zip(("x0", "y0", "x1", "y1"), found.get("box", ()), strict=False)
            yield [row.get(column, "") for column in columns]


def _cell(text: str) -> str:
    """Return text that neither a terminal nor a spreadsheet takes for a command."""
    text = CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
    return f"'{text}" if text.startswith(FORMULA) else text


def write_csv(records: Iterable[Record], file: IO[str], sampled: bool = False) -> None:
    """Write records as CSV; see ``csv_rows``."""
    csv.writer(file, lineterminator="\n").writerows(csv_rows(records, sampled))
