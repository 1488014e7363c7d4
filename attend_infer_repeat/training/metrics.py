"""A run's metrics.jsonl: reading what is sound of it, and writing it line by line."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from ..storage import write_atomically
from .run import METRICS_FILE, writing
from .tensorboard import EventWriter

logger = logging.getLogger(__name__)

NUMBERS = ("seconds", "images_per_second", "elbo", "count_accuracy", "elbo_gain", "box_iou")
"""The fields that curves, tables and the search for a collapse are made of: numbers, or null."""


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the records in a run's metrics.jsonl.

    A line that is no record is left out with a warning, a half-written last one without.
    """
    path = run / METRICS_FILE
    content = path.read_bytes() if path.is_file() else b""
    lines = content.split(b"\n")[:-1]  # what has no newline was not written to its end
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_checked_record(json.loads(line)))
        except (ValueError, RecursionError) as error:
            logger.warning("%s: line %d is left out: %s.", path, number, error)
    return records


def _checked_record(record: Any) -> dict[str, Any]:
    """Return a record. Raises: ValueError unless it has what its readers rely on."""
    if not isinstance(record, dict):
        raise ValueError("not an object")
    if not _is_whole(record.get("step")):
        raise ValueError(f"step is {record.get('step')!r}")
    for name in NUMBERS:
        value = record.get(name)
        if not (value is None or type(value) is float or _is_whole(value)):
            raise ValueError(f"{name} is {value!r}")
    for name in ("num_images", "same_count"):
        value = record.get(name)
        if not (value is None or _is_whole(value)):
            raise ValueError(f"{name} is {value!r}")
    if not isinstance(record.get("split", ""), str):
        raise ValueError(f"split is {record['split']!r}")
    if record.get("confusion") is not None:
        if not _is_matrix(record["confusion"]):
            raise ValueError("confusion is not a matrix of numbers")
        if record.get("count_accuracy") is None or "split" not in record:
            raise ValueError("confusion without a split or an accuracy")
    return record


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_matrix(rows: Any) -> bool:
    return (
        isinstance(rows, list)
        and all(isinstance(row, list) and row and len(row) == len(rows[0]) for row in rows)
        and all(_is_whole(count) for row in rows for count in row)
    )


class Metrics:
    """Writes a run's metrics, a line at a time, to metrics.jsonl and perhaps to TensorBoard."""

    def __init__(self, run: Path, step: int, tensorboard: bool = False) -> None:
        """Open the log after optimization step ``step``; later lines, if any, are dropped.

        They stem from steps that an interrupted run took after its last checkpoint, and that the
        resumed run takes again.

        Args:
            run: the folder.
            step: the steps taken so far.
            tensorboard: write TensorBoard's events, too; its package must be there.
        Raises: TrainingError if the log cannot be written, as all the methods.
        """
        self._run = run
        path = run / METRICS_FILE
        with writing(run), ExitStack() as stack:
            self.kept = [record for record in read_metrics(run) if record["step"] <= step]
            """The records that the log holds when it is opened."""
            lines = [json.dumps(record) + "\n" for record in self.kept]
            write_atomically(path, "".join(lines).encode())
            self._file = stack.enter_context(path.open("ab"))
            self._events: EventWriter | None = None
            if tensorboard:
                self._events = stack.enter_context(closing(EventWriter(run / "tensorboard", step)))
            self._files = stack.pop_all()

    def write(self, record: dict[str, Any]) -> None:
        """Append one record, which has at least ``step``."""
        with writing(self._run):
            self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            self._file.flush()
            if self._events is not None:
                split = record.get("split", "train")
                scalars = {f"{split}/{k}": v for k, v in record.items() if isinstance(v, float)}
                self._events.write(scalars, record["step"])

    def sync(self) -> None:
        """Force all lines to the disk, so that no power cut leaves a checkpoint ahead of them."""
        with writing(self._run):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close both logs."""
        with writing(self._run):
            self._files.close()


@contextmanager
def metrics_log(run: Path, step: int, tensorboard: bool = False) -> Iterator[Metrics]:
    """Open a run's metrics for the length of a ``with`` block: see ``Metrics``."""
    with closing(Metrics(run, step, tensorboard)) as metrics:
        yield metrics
