"""A folder of results: whose it is, and what it holds beside its lines, as PNGs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..data.pictures.reading.decoding import shown
from ..data.sets.parallel import in_parallel
from ..errors import ConfigError, warn_once
from ..storage import is_empty, owned, replacing, shortened, write_atomically
from .annotate import annotated, as_image
from .records import Record
from .streaming import Row

SETTINGS_FILE = "infer.json"
RECONSTRUCTIONS = "reconstructions"

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


class PictureWriter:
    """Writes the PNGs of pictures."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs
        self.names = UniqueNames()

    def write(self, rows: Sequence[Row]) -> None:
        """Write the PNGs of a batch, and remove those of pictures that cannot be read any more."""
        named = [(self.names.take(row.record["file"]), row) for row in rows]
        if not self.outputs.pictures:
            return
        for name, row in named:
            if "error" in row.record:  # it may have been a picture before
                for folder in (self.outputs.folder, self.outputs.folder / RECONSTRUCTIONS):
                    (folder / name).unlink(missing_ok=True)
        for _ in in_parallel(lambda row: self._write_one(*row), named):
            pass

    def _write_one(self, name: str, row: Row) -> None:
        placed = row.placed
        if placed is None:  # it cannot be read, or its picture is there
            return
        if self.outputs.annotated and placed.shrunk is not None:
            with replacing(self.outputs.folder / name) as file:
                annotated(placed.shrunk, row.record, placed.size).save(file, "png")
        if self.outputs.reconstructions and not row.reconstruction.size:
            warn_once(
                f"{shown(row.record['file'])}: too large to be drawn again; that is left out."
            )
        elif self.outputs.reconstructions:
            folder = self.outputs.folder / RECONSTRUCTIONS
            folder.mkdir(exist_ok=True)
            with replacing(folder / name) as file:
                as_image(row.reconstruction).save(file, "png")


class UniqueNames:
    """Names for pictures' PNGs: equal stems get a number."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """Return the PNG's name of a picture of a name; each is given once."""
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


def claim(folder: Path, settings: Record, resume: bool, stack: ExitStack) -> None:
    """Take a new or empty folder for results, or one that holds the same results unfinished.

    Args:
        folder: of the results.
        settings: all that decides them.
        resume: whether a folder with results of the same settings will do.
        stack: keeps other processes out for as long as it is open.
    Raises: ConfigError if the folder holds something else; BusyError if another process has it.
    """
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
