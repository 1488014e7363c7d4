"""A folder of results, written picture by picture, that a killed run can go on with.

    infer.json         what decides the results; a resumed run must have the same
    scenes.jsonl       a line for each picture, written last
    NAME.png           the picture with its boxes; NAME-2.png, ... of equal names
    reconstructions/   the scenes drawn again
    z_what.npy         the codes of all objects, in the order of the lines (at first z_what.part)

So a line stands for all of its picture's results.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .annotate import annotated, as_image
from .data.parallel import in_parallel
from .errors import ConfigError
from .records import Record, read_records
from .sources import Source
from .storage import write_atomically
from .streaming import Placed, Row

SCENES_FILE = "scenes.jsonl"
SETTINGS_FILE = "infer.json"
CODES_FILE = "z_what.npy"
UNFINISHED_CODES = "z_what.part"

LONGEST_STEM = 120
"""Characters of a file's name that its PNG's name takes over: file systems have a limit."""


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
        self.names = _UniqueNames()
        self.done, self.num_failed, num_objects, code_size = 0, 0, 0, settings["code_size"]
        _claim(outputs.folder, settings, resume)
        _drop_unfinished_line(self.lines)
        for record in read_records(self.lines):
            self.done += 1
            self.num_failed += "error" in record
            num_objects += record.get("count", 0)
            if outputs.pictures and "error" not in record:
                self.names.take(record["file"])
        self.code_size = code_size
        codes = outputs.folder / UNFINISHED_CODES
        if outputs.codes:
            if (outputs.folder / CODES_FILE).exists():  # finished before
                np.load(outputs.folder / CODES_FILE, mmap_mode="r").tofile(codes)
            codes.touch()
            os.truncate(codes, 4 * code_size * num_objects)
        self._stack = ExitStack()
        self._file = self._stack.enter_context(self.lines.open("ab"))
        self._codes = self._stack.enter_context(codes.open("ab")) if outputs.codes else None

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *unused: object) -> None:
        self._stack.close()

    def skip_done(self, sources: Iterator[Source]) -> Iterator[tuple[Source, Record]]:
        """Pass over the pictures that have their lines already: ConfigError if these differ."""
        for record in read_records(self.lines):
            source = next(sources, None)
            if source is None or source.name != record["file"]:
                raise ConfigError(
                    f"resume: the pictures are not those of {self.lines}: expected "
                    f"{record['file']!r}, got {source.name if source else 'no more'!r}; "
                    "give another --out."
                )
            yield source, record

    def write(self, rows: Sequence[Row]) -> None:
        """Write a batch: pictures and codes first, so that a line stands for all of its results.

        Raises: ConfigError if the disk is full, or what else stands against it.
        """
        try:
            self._write(rows)
        except OSError as error:
            raise ConfigError(
                f"{self.outputs.folder}: cannot be written to: {error.strerror or error}; nothing "
                "is lost: the same command with --resume goes on."
            ) from error

    def _write(self, rows: Sequence[Row]) -> None:
        if self.outputs.pictures:
            sound = [
                (self.names.take(record["file"]), record, placed, drawn)
                for record, placed, drawn in rows
                if placed is not None
            ]
            for _ in in_parallel(lambda row: self._write_pictures(*row), sound):
                pass
        if self._codes is not None:
            codes = [
                found["z_what"] for record, _, _ in rows for found in record.get("objects", ())
            ]
            self._codes.write(np.array(codes, "<f4").tobytes())
            self._codes.flush()
        self._file.write(b"".join(json.dumps(record).encode() + b"\n" for record, _, _ in rows))
        self._file.flush()

    def finish(self) -> None:
        """Complete what only the end completes: the header of ``z_what.npy``."""
        if self._codes is None:
            return
        self._codes.close()
        part = self.outputs.folder / UNFINISHED_CODES
        num = part.stat().st_size // (4 * self.code_size)
        with (self.outputs.folder / CODES_FILE).open("wb") as file, part.open("rb") as rows:
            header = {"descr": "<f4", "fortran_order": False, "shape": (num, self.code_size)}
            np.lib.format.write_array_header_1_0(file, header)
            shutil.copyfileobj(rows, file)
        part.unlink()

    def _write_pictures(
        self, name: str, record: Record, placed: Placed, drawn: NDArray[np.float32]
    ) -> None:
        if self.outputs.annotated:
            annotated(placed.picture, record).save(self.outputs.folder / name)
        if self.outputs.reconstructions:
            folder = self.outputs.folder / "reconstructions"
            folder.mkdir(exist_ok=True)
            as_image(drawn).save(folder / name)


class _UniqueNames:
    """Names for pictures' PNGs: equal stems get a number."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        base = os.path.basename(name)
        stem = base if base.endswith("]") else os.path.splitext(base)[0]
        stem = "standard-input" if stem == "-" else stem[:LONGEST_STEM] or "picture"
        for number in count(self._last.get(stem, 0) + 1):
            unique = f"{stem}.png" if number == 1 else f"{stem}-{number}.png"
            if unique not in self._taken:
                self._last[stem] = number
                self._taken.add(unique)
                return unique
        raise AssertionError("numbers do not end")


def _claim(folder: Path, settings: Record, resume: bool) -> None:
    """Take a new or empty folder for results, or one that holds the same results unfinished."""
    path = folder / SETTINGS_FILE
    if resume and path.is_file():
        try:
            before = json.loads(path.read_bytes())
        except ValueError as error:
            raise ConfigError(f"{path}: damaged; give another --out.") from error
        changed = [key for key in settings if before.get(key) != settings[key]]
        if changed:
            raise ConfigError(
                f"resume: {folder} was begun with other settings ({', '.join(changed)}); "
                "give the same ones, or another --out."
            )
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        hint = "give another --out" + ("." if resume else ", or go on with --resume.")
        raise ConfigError(f"{folder}: already exists and holds files; {hint}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(settings, indent=2).encode() + b"\n")
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be written to: {error.strerror}; give another --out."
        ) from error


def _drop_unfinished_line(path: Path) -> None:
    """Cut off a line that was not written to its end; make the file if it is not there."""
    path.touch()
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(end - 65536, 0)
            file.seek(start)
            last = file.read(end - start).rfind(b"\n")
            if last >= 0:
                file.truncate(start + last + 1)
                return
            end = start
        file.truncate(0)
