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

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from typing import IO

import numpy as np

from ..data.pictures.reading.decoding import shown
from ..errors import ConfigError
from ..storage import (
    discard_all_leftovers,
    replacing,
    sync_folder,
)
from .coco import Truth, write_coco
from .json_lines import Lines, as_line, parsed
from .outputs import RECONSTRUCTIONS, Outputs, PictureWriter, claim
from .records import Record, read_records, write_csv
from .sources import Source
from .streaming import Row
from .validation import has_identities, is_record

SCENES_FILE = "scenes.jsonl"
SOURCES_FILE = "sources.jsonl"
CODES_FILE = "z_what.npy"
ASIDE_FILE = "aside.jsonl"
UNFINISHED_CODES = "z_what.part"  # of earlier versions


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
        self._pictures = PictureWriter(outputs)
        self._states = outputs.folder / SOURCES_FILE
        self._aside = outputs.folder / ASIDE_FILE
        self._num_objects, self._code_size = 0, settings["code_size"]
        self._sampled = settings["samples"] > 0
        with ExitStack() as stack:
            claim(outputs.folder, settings, resume, stack)
            with self._told():
                for folder in (outputs.folder, outputs.folder / RECONSTRUCTIONS):
                    discard_all_leftovers(folder)  # of a run that was killed
                self._line_file = Lines(self.lines, stack)
                self._state_file = Lines(self._states, stack)
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
                self._pictures.names.take(source.name)
                self._count(record)
                follow(source, record)
                self._line_file.keep(1)
                states += b"" if noted else as_line(source.state)
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
        records = [row.record for row in rows]
        kept = [
            None if "error" in record else state
            for record, state in zip(records, states, strict=True)
        ]
        with self._told():
            self._pictures.write(rows)
            self._state_file.write(b"".join(map(as_line, kept)))
            self._line_file.write(b"".join(map(as_line, records)))
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
                yield record, _state_in(states.readline())

    def _sound(self) -> Iterator[Record]:
        """Yield the records of the lines that are whole, up to the first one that is not."""
        with self.lines.open("rb") as file:
            for line in file:
                record = parsed(line)
                if not line.endswith(b"\n") or not is_record(
                    record, self._code_size, self._sampled
                ):
                    return
                yield record

    def _set_aside(self) -> None:
        """Copy all lines, with the states of their pictures, to ``aside.jsonl``.

        That file may exist already, of an earlier resumed run that was cut, and hold lines for
        pictures after the last one that has a line now. Those are kept.
        """
        with ExitStack() as stack:
            before = self._read_aside(stack)
            file = stack.enter_context(replacing(self._aside))
            for record, state in self._pairs():
                file.write(as_line([state, record]))
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
        value = parsed(line)
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not is_record(value[1], self._code_size, self._sampled)
        ):
            return None, None
        state, record = value
        return (state if isinstance(state, str) else None), record

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


def _state_in(line: bytes) -> str | None:
    """Return the state in a line; None, so that the picture is read again, if there is none."""
    state = parsed(line)
    return state if isinstance(state, str) else None


def _is_followed(source: Source, record: Record) -> bool:
    """Tell whether each object of a video's frame has an identity; pictures need none."""
    return source.video is None or has_identities(record)
