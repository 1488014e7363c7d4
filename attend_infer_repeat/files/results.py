"""A folder of results, written picture by picture, that a killed run can go on with.

    infer.json         what decides the results; a resumed run must have the same
    scenes.jsonl       a line for each picture, written last
    sources.jsonl      what each picture's file was like when it was read
    NAME.png           the picture with its boxes; NAME-2.png, ... of equal names
    reconstructions/   the scenes drawn again
    z_what.npy         the codes of all objects, in the order of the lines

So a line stands for all of its picture's results, and what belongs to all pictures is made from the
lines at the end.

A resumed run may find that a picture has changed since its line was written. Then it copies all
lines to ``aside.jsonl``, and drops the lines from that picture on. It infers the changed pictures
anew; for a picture that has not changed, it takes the line from ``aside.jsonl``.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..data.pictures.reading import shown
from ..data.sets.parallel import in_parallel
from ..errors import ConfigError
from ..viz.annotate import annotated, as_image
from .coco import Truth, write_coco
from .records import Record, read_records, to_json, write_csv
from .sources import Source
from .storage import (
    discard_all_leftovers,
    is_empty,
    owned,
    replacing,
    shortened,
    sync_folder,
    write_atomically,
)
from .streaming import Placed, Row

SCENES_FILE = "scenes.jsonl"
SOURCES_FILE = "sources.jsonl"
SETTINGS_FILE = "infer.json"
CODES_FILE = "z_what.npy"
RECONSTRUCTIONS = "reconstructions"
ASIDE_FILE = "aside.jsonl"
UNFINISHED_CODES = "z_what.part"  # of earlier versions

LONGEST_STEM = 120
"""Bytes of a file's name that its PNG's name takes over: file systems have a limit."""


@dataclass(frozen=True)
class Outputs:
    """What a folder of results holds beside ``scenes.jsonl``.

    Attributes:
        folder: the folder.
        annotated: each picture, with boxes, as a PNG.
        reconstructions: each scene drawn again, in ``reconstructions/``.
        codes: the z_what of all objects, in the order of the lines, as ``z_what.npy``.
    """

    folder: Path
    annotated: bool = True
    reconstructions: bool = False
    codes: bool = False

    @property
    def pictures(self) -> bool:
        """Whether there is a PNG for each picture."""
        return self.annotated or self.reconstructions


class Results:
    """A folder of results, written picture by picture, that can be gone on with.

    Args:
        outputs: what is written where.
        settings: all that decides the lines; a resumed run must have the same.
        resume: go on after the pictures whose lines are complete.
    Raises: ConfigError if the folder holds something else, or results of other settings.
    """

    def __init__(self, outputs: Outputs, settings: Record, resume: bool) -> None:
        self.outputs = outputs
        self.lines = outputs.folder / SCENES_FILE
        self.done = self.num_failed = 0
        self._names = _UniqueNames()
        self._states = outputs.folder / SOURCES_FILE
        self._aside = outputs.folder / ASIDE_FILE
        self._num_objects, self._code_size = 0, settings["code_size"]
        self._sampled = settings["samples"] > 0
        with ExitStack() as stack:
            _claim(outputs.folder, settings, resume, stack)
            with self._told():
                for folder in (outputs.folder, outputs.folder / RECONSTRUCTIONS):
                    discard_all_leftovers(folder)  # of a run that was killed
                self._line_file = _Lines(self.lines, stack)
                self._state_file = _Lines(self._states, stack)
                sync_folder(outputs.folder)
            self._stack = stack.pop_all()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *unused: object) -> None:
        self._stack.close()

    def remaining(
        self, sources: Iterator[Source], follow: Callable[[Source, Record], object]
    ) -> Iterator[Source]:
        """Return the pictures that are still to be read; those that are known have their record.

        Args:
            sources: all pictures.
            follow: called with each picture that is passed over, and its record.
        Raises: ConfigError if they are not those of the lines.
        """
        with self._told():
            noted = self._states.stat().st_size > 0  # not by earlier versions
            states = b""
            for record, state in self._pairs():
                source = self._named(next(sources, None), record)
                if not _is_followed(source, record):  # a damaged line
                    sources = chain((source,), sources)
                    break
                if noted and (state is None or state != source.state):
                    self._set_aside()
                    sources = chain((source,), sources)
                    break
                self._names.take(source.name)
                self._count(record)
                follow(source, record)
                self._line_file.keep(1)
                states += b"" if noted else _as_line(source.state)
            self._line_file.cut()
            self._state_file.keep(self.done if noted else 0)
            self._state_file.cut()
            self._state_file.write(states)
        return self._with_records(sources)

    def write(self, rows: Sequence[Row], states: Sequence[str | None]) -> None:
        """Write a batch: what belongs to a picture first, so that its line stands for all of it.

        Args:
            rows: of pictures.
            states: of their files.
        Raises: ConfigError if the disk is full, or what else stands against it.
        """
        records = [record for record, _, _ in rows]
        kept = [
            None if "error" in record else state
            for record, state in zip(records, states, strict=True)
        ]
        with self._told():
            self._write_pictures(rows)
            self._state_file.write(b"".join(map(_as_line, kept)))
            self._line_file.write(b"".join(map(_as_line, records)))
        for record in records:
            self._count(record)

    def finish(self, form: str, sampled: bool, truths: Sequence[Truth]) -> None:
        """Write what is made of all lines: codes, CSV or COCO.

        Args:
            form: ``json``, ``csv`` or ``coco``.
            sampled: whether there are importance samples.
            truths: for COCO, the images of the user's own file.
        Raises: ConfigError as ``write``.
        """
        folder = self.outputs.folder
        with self._told():
            if self.outputs.codes:
                with replacing(folder / CODES_FILE) as file:
                    self._write_codes(file)
            if form == "csv":
                options = {"newline": "", "errors": "surrogateescape"}
                with replacing(folder / "scenes.csv", "w", **options) as file:
                    write_csv(read_records(self.lines), file, sampled)
            if form == "coco":
                with (
                    replacing(folder / "coco.json", "w") as dataset,
                    replacing(folder / "coco_results.json", "w") as found,
                ):
                    write_coco(self.lines, dataset, found, truths)
            for path in (self._aside, folder / UNFINISHED_CODES):
                path.unlink(missing_ok=True)

    def _count(self, record: Record) -> None:
        self.done += 1
        self.num_failed += "error" in record
        self._num_objects += record.get("count", 0)

    def _named(self, source: Source | None, record: Record) -> Source:
        """Return the picture that a record is of: ConfigError if it is another one."""
        if source is None or source.name != record["file"]:
            raise ConfigError(
                f"resume: the pictures are not those of {shown(self.lines)}: expected "
                f"{record['file']!r}, got {source.name if source else 'no more'!r}; "
                "give another --out."
            )
        return source

    def _pairs(self) -> Iterator[tuple[Record, str | None]]:
        """Yield the record and the state of each picture that has a line."""
        with self._states.open("rb") as states:
            for record in self._sound():
                yield record, _state(states.readline())

    def _sound(self) -> Iterator[Record]:
        """Yield the records of the lines that are whole, up to the first one that is not."""
        with self.lines.open("rb") as file:
            for line in file:
                record = _parsed(line)
                if not line.endswith(b"\n") or not self._is_record(record):
                    return
                yield record

    def _is_record(self, value: Any) -> bool:
        """Tell whether a value has what the forms of results need."""
        if not isinstance(value, dict) or not isinstance(value.get("file"), str):
            return False
        if "error" in value:
            return isinstance(value["error"], str)
        objects, weighted = value.get("objects"), value.get("importance")
        return (
            _is_whole(value.get("width"))
            and _is_whole(value.get("height"))
            and _is_counted(value)
            and isinstance(objects, list)
            and len(objects) == value["count"]
            and all(map(self._is_object, objects))
            and (weighted is None if not self._sampled else _is_weighted(weighted))
        )

    def _is_object(self, value: Any) -> bool:
        return (
            isinstance(value, dict)
            and _is_whole(value.get("step"))
            and _are_numbers([value.get("score")], 1)
            and _are_numbers(value.get("box"), 4)
            and _are_numbers(value.get("z_where"), 3)
            and _are_numbers(value.get("z_what"), self._code_size)
        )

    def _set_aside(self) -> None:
        """Copy all lines, with the states of their pictures, to ``aside.jsonl``.

        That file may exist already, of an earlier resumed run that was cut, and hold lines for
        pictures after the last one that has a line now. Those are kept.
        """
        with ExitStack() as stack:
            before = self._read_aside(stack)
            file = stack.enter_context(replacing(self._aside))
            for record, state in self._pairs():
                file.write(_as_line([state, record]))
                next(before, None)
            file.writelines(before)

    def _read_aside(self, stack: ExitStack) -> Iterator[bytes]:
        if not self._aside.exists():
            return iter(())
        return iter(stack.enter_context(self._aside.open("rb")))

    def _with_records(self, sources: Iterator[Source]) -> Iterator[Source]:
        """Yield pictures, with the records that were set aside of those that have not changed."""
        changed: str | None = None  # the video in which a frame has: identities may, from there on
        with ExitStack() as stack:
            aside = islice(self._read_aside(stack), self.done, None)
            for source in sources:
                state, record = self._pair(next(aside, b""))
                if record is not None:
                    self._named(source, record)
                same = state is not None and state == source.state
                same = same and record is not None and _is_followed(source, record)
                if same and (source.video is None or source.video != changed):
                    yield source._replace(record=record)
                else:
                    changed = source.video
                    yield source

    def _pair(self, line: bytes) -> tuple[str | None, Record | None]:
        """Return the state and the record in a line of ``aside.jsonl``; None if it is damaged."""
        value = _parsed(line)
        if not isinstance(value, list) or len(value) != 2 or not self._is_record(value[1]):
            return None, None
        state, record = value
        return (state if isinstance(state, str) else None), record

    def _write_pictures(self, rows: Sequence[Row]) -> None:
        named = [(self._names.take(row[0]["file"]), *row) for row in rows]
        if not self.outputs.pictures:
            return
        for name, record, _, _ in named:
            if "error" in record:  # it may have been a picture before
                for folder in (self.outputs.folder, self.outputs.folder / RECONSTRUCTIONS):
                    (folder / name).unlink(missing_ok=True)
        for _ in in_parallel(lambda row: self._write_picture(*row), named):
            pass

    def _write_picture(
        self, name: str, record: Record, placed: Placed | None, drawn: NDArray[np.float32]
    ) -> None:
        if placed is None:  # it cannot be read, or its picture is there
            return
        if self.outputs.annotated and placed.shrunk is not None:
            with replacing(self.outputs.folder / name) as file:
                annotated(placed.shrunk, record, placed.frame.size).save(file, "png")
        if self.outputs.reconstructions:
            folder = self.outputs.folder / RECONSTRUCTIONS
            folder.mkdir(exist_ok=True)
            with replacing(folder / name) as file:
                as_image(drawn).save(file, "png")

    def _write_codes(self, file: IO[bytes]) -> None:
        header = {
            "descr": "<f4",
            "fortran_order": False,
            "shape": (self._num_objects, self._code_size),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for record in read_records(self.lines):
            codes = [found["z_what"] for found in record.get("objects", ())]
            file.write(np.array(codes, "<f4").tobytes())

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the disk has against it into a ConfigError of one line."""
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"{shown(self.outputs.folder)}: cannot be written to: {error.strerror or error}; "
                "nothing is lost: the same command with --resume goes on."
            ) from error


class _Lines:
    """A file of lines, of which some at the beginning are kept, and to which others are added."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        path.touch()
        self._reader = stack.enter_context(path.open("rb"))
        # Unbuffered: what a full disk did not take is not tried again when the file is closed.
        self._file = stack.enter_context(path.open("r+b", buffering=0))
        self._length = 0  # of what is kept and written

    def keep(self, num: int) -> None:
        """Keep so many lines more."""
        for line in islice(self._reader, num):
            self._length += len(line)

    def cut(self) -> None:
        """Drop all that is not kept."""
        self._file.truncate(self._length)

    def write(self, content: bytes) -> None:
        """Add lines; if not all of them can be, none is."""
        self._file.seek(self._length)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                self.cut()
            raise
        self._length += len(content)


def _as_line(value: Any) -> bytes:
    return to_json(value).encode() + b"\n"


def _state(line: bytes) -> str | None:
    """Return the state in a line; None, so that the picture is read again, if there is none."""
    state = _parsed(line)
    return state if isinstance(state, str) else None


def _parsed(line: bytes) -> Any:
    """Return what a line of JSON says; None if it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_followed(source: Source, record: Record) -> bool:
    """Tell whether each object of a video's frame has an identity; pictures need none."""
    objects = record.get("objects", ())
    return source.video is None or all(_is_whole(found.get("identity")) for found in objects)


def _is_counted(value: Any) -> bool:
    """Tell whether a value has a count and the probabilities of counts, that one among them."""
    probs = value.get("count_probs")
    return (
        _is_whole(value.get("count"))
        and isinstance(probs, list)
        and _are_numbers(probs, len(probs))
        and len(probs) > value["count"]
    )


def _is_weighted(value: Any) -> bool:
    """Tell whether a value has what importance samples say."""
    return (
        isinstance(value, dict)
        and _is_counted(value)
        and _are_numbers([value.get("effective_sample_size")], 1)
    )


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_numbers(values: Any, num: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == num
        and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    )


class _UniqueNames:
    """Names for pictures' PNGs: equal stems get a number."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        base = os.path.basename(name)
        stem = base if base.endswith("]") else os.path.splitext(base)[0]
        stem = "standard-input" if stem == "-" else shortened(stem, LONGEST_STEM) or "picture"
        for number in count(self._last.get(stem, 0) + 1):
            unique = f"{stem}.png" if number == 1 else f"{stem}-{number}.png"
            if unique not in self._taken:
                self._last[stem] = number
                self._taken.add(unique)
                return unique
        raise AssertionError("numbers do not end")


def _claim(folder: Path, settings: Record, resume: bool, stack: ExitStack) -> None:
    """Take a new or empty folder for results, or one that holds the same results unfinished."""
    path = folder / SETTINGS_FILE
    try:
        usable = folder.is_dir() or not folder.exists()
        if usable:
            stack.enter_context(owned(folder))
        if usable and resume and path.is_file():
            _compare(path, settings)
        elif usable and is_empty(folder):
            write_atomically(path, json.dumps(settings, indent=2).encode() + b"\n")
        else:
            hint = "give another --out" + ("." if resume else ", or go on with --resume.")
            raise ConfigError(f"{shown(folder)}: already exists and holds files; {hint}")
    except OSError as error:
        raise ConfigError(
            f"{shown(folder)}: cannot be written to: {error.strerror or error}; give another --out."
        ) from error


def _compare(path: Path, settings: Record) -> None:
    """Raise a ConfigError if a folder was begun with other settings."""
    try:
        before = json.loads(path.read_bytes())
        changed = [key for key in settings if before.get(key) != settings[key]]
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{shown(path)}: damaged; give another --out.") from error
    if changed:
        raise ConfigError(
            f"resume: {shown(path.parent)} was begun with other settings ({', '.join(changed)}); "
            "give the same ones, or another --out."
        )
