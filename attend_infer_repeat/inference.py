"""What `air infer` does, from its options to its last line."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import tee
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .air import AIR
from .config import to_dict
from .data.folder import picture_names
from .data.framing import Framing
from .data.labels import read_labels
from .data.reading import shown
from .errors import DataError
from .progress import watch
from .records import Record, read_records, write_coco, write_csv
from .results import Outputs, Results
from .sources import find_sources, how_many
from .streaming import framing_of, infer_pictures
from .tracking import Tracker

if TYPE_CHECKING:
    from .cli import Infer

logger = logging.getLogger(__name__)


def run_inference(air: AIR, options: Infer) -> None:
    """Do what `air infer` does, with its options.

    Raises: DataError if no picture can be read, or one cannot and ``strict``; ConfigError if the
        folder of results cannot be used.
    """
    framing = framing_of(air)
    if options.invert is not None:
        framing = replace(framing, invert=options.invert)
    sources = find_sources(options.images, track=options.track)
    total, tracker = how_many(options.images), Tracker()
    began = time.perf_counter()
    with ExitStack() as stack:
        results = _open_results(air, framing, options, stack)
        if results is not None:
            for source, record in results.skip_done(sources):
                tracker.follow(source.video, record)
        sources, order = tee(sources)
        tally, echo = _Tally(options.strict, results), _Echo(options)
        batches = infer_pictures(
            air,
            sources,
            framing=framing,
            samples=options.samples,
            seed=options.seed,
            batch_size=options.batch_size,
        )
        try:
            for rows in watch(batches, total, "Inferring", len, tally.num):
                for (record, _, _), source in zip(rows, order, strict=False):
                    tracker.identify(source.video, record)
                tally.add([record for record, _, _ in rows])
                if results is not None:
                    results.write(rows)
                echo.write(record for record, _, _ in rows)
        except KeyboardInterrupt:
            if options.out is not None:
                logger.info("Stopped; the same command with --resume goes on.")
            raise
        tally.check()
        if results is not None:
            results.finish()
            _write_other_forms(results, options)
    if options.out is not None and tally.num > 1:
        seconds, where = time.perf_counter() - began, shown(options.out)
        failed = f", {tally.num_failed} could not be read" if tally.num_failed else ""
        logger.info("%d pictures in %.1f s%s; see %s", tally.num, seconds, failed, where)


def _open_results(air: AIR, framing: Framing, options: Infer, stack: ExitStack) -> Results | None:
    """Open the folder of results, or a temporary one where the form is made of all lines."""
    if options.out is None and options.format != "coco":
        return None
    settings = {
        "model": fingerprint(air),
        "images": list(options.images),
        "framing": asdict(framing) | {"canvas_size": list(framing.canvas_size)},
        "track": options.track,
        "samples": options.samples,
        "seed": options.seed,
        "codes": options.codes,
        "code_size": air.config.encoder_latent_size,
    }
    folder = options.out or Path(stack.enter_context(TemporaryDirectory())) / "results"
    annotate = options.annotate and options.out is not None
    outputs = Outputs(folder, annotate, options.reconstructions, options.codes)
    return stack.enter_context(Results(outputs, settings, options.resume))


def fingerprint(air: AIR) -> str:
    """Return a digest of a model's weights and config: equal models have equal ones."""
    digest = hashlib.sha256(json.dumps(to_dict(air.config), sort_keys=True).encode())
    for name, value in sorted(air.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write_other_forms(results: Results, options: Infer) -> None:
    """Make CSV or COCO from the lines."""
    folder, lines = results.outputs.folder, results.lines
    if options.format == "csv":
        with open(
            folder / "scenes.csv", "w", newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            write_csv(read_records(lines), file)
    if options.format == "coco":
        ids = _image_ids(options.images)
        if options.out is None:
            write_coco(lines, sys.stdout, None, ids)
            return
        with (
            (folder / "coco.json").open("w", encoding="utf-8") as dataset,
            (folder / "coco_results.json").open("w", encoding="utf-8") as found,
        ):
            write_coco(lines, dataset, found, ids)


def _image_ids(arguments: Sequence[str]) -> dict[str, int]:
    """Return the numbers that a COCO file beside the pictures of a folder gives them, if it does.

    Only where they are the numbers of all pictures: others could not be told from them.
    """
    if len(arguments) != 1 or not os.path.isdir(arguments[0]):
        return {}
    folder = Path(arguments[0])
    names = picture_names(folder)
    try:
        labels = read_labels(folder, names)
    except DataError:  # they are not needed here
        return {}
    ids = {} if labels is None else labels.image_ids or {}
    return ids if all(isinstance(ids.get(name), int) for name in names) else {}


class _Tally:
    """Counts pictures, and tells of each that cannot be read; if that is all, as an error."""

    def __init__(self, strict: bool, results: Results | None) -> None:
        self.strict = strict
        self.num = results.done if results is not None else 0
        self.num_failed = results.num_failed if results is not None else 0
        self._untold: str | None = None  # the first line: alone, it is the error itself

    def add(self, records: Sequence[Record]) -> None:
        """Count records; raise a DataError at the first failure if strict."""
        for record in records:
            self.num += 1
            reason = record.get("error")
            if reason is not None and self.strict:
                raise DataError(reason)
            self._tell(self._untold)
            self._untold = None
            if reason is None:
                continue
            self.num_failed += 1
            if self.num == 1:
                self._untold = reason
            else:
                self._tell(reason)

    def check(self) -> None:
        """Raise a DataError if there was nothing that could be read."""
        if not self.num:
            raise DataError("no pictures; name files, folders or patterns that hold some.")
        if self._untold is not None:
            raise DataError(self._untold)
        if self.num == self.num_failed:
            raise DataError(f"none of {self.num} pictures can be read.")

    def _tell(self, reason: str | None) -> None:
        if reason is not None:
            logger.warning("Skipped %s", reason)


class _Echo:
    """Prints records as they come; not to a terminal where a folder has them, and COCO at the end.

    A failure alone is an error, not a record.
    """

    def __init__(self, options: Infer) -> None:
        self.form = options.format
        kept_elsewhere = options.out is not None and sys.stdout.isatty()
        self.silent = self.form == "coco" or kept_elsewhere
        self._held: list[Record] = []
        self._begun = False

    def write(self, records: Iterable[Record]) -> None:
        """Print records; a failure is held back until a second record comes."""
        self._held += [] if self.silent else records
        if not self._begun and len(self._held) == 1 and "error" in self._held[0]:
            return
        if self.form == "json":
            for record in self._held:
                print(json.dumps(record))
        elif self._held:
            text = io.StringIO()
            write_csv(self._held, text)
            lines = text.getvalue().split("\n", self._begun)[-1]  # the header once
            # Standard output takes no bytes that are no text; a file of --out does.
            print(lines.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), end="")
        self._begun = self._begun or bool(self._held)
        self._held.clear()
        sys.stdout.flush()
