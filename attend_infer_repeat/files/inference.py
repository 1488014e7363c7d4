"""What `air infer` does, from its options to its last line."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import islice, tee
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..air import AIR
from ..config import to_dict
from ..data.pictures.framing import Framing
from ..data.pictures.reading import shown
from ..errors import DataError
from ..training.progress import watch
from .coco import find_truths, write_coco
from .outputs import Outputs
from .records import Record, to_json, to_text, write_csv
from .results import Results
from .sources import find_sources, how_many
from .streaming import infer_pictures
from .tracking import Tracker

if TYPE_CHECKING:
    from ..cli.main import Infer

logger = logging.getLogger(__name__)


def run_inference(air: AIR, options: Infer) -> int:
    """Do what `air infer` does, with its options.

    Returns: the exit code: 1 if a picture could not be read, else 0.
    Raises: DataError if no picture can be read, or one cannot and ``strict``; ConfigError if the
        folder of results cannot be used; BusyError if another process writes to it.
    """
    framing = Framing.of_model(air.config)
    if options.invert is not None:
        framing = replace(framing, invert=options.invert)
    sources = find_sources(options.images, track=options.track)
    total, tracker = how_many(options.images), Tracker()
    began = time.perf_counter()
    with ExitStack() as stack:
        results = _open_results(air, framing, options, stack)
        if results is not None:
            sources = results.remaining(
                sources, lambda source, record: tracker.follow(source.video, record)
            )
        sources, order = tee(sources)
        tally, echo = _Tally(options.strict, results), _Echo(options)
        batches = infer_pictures(
            air,
            sources,
            framing=framing,
            samples=options.samples,
            seed=options.seed,
            batch_size=options.batch_size,
            keep_shrunk=results is not None and results.outputs.annotated,
        )
        if not echo.in_the_way:
            batches = watch(batches, total, "Inferring", len, tally.num)
        try:
            for rows in batches:
                read = list(islice(order, len(rows)))
                for (record, _, _), source in zip(rows, read, strict=True):
                    if source.record is None:
                        tracker.identify(source.video, record)
                    else:
                        tracker.follow(source.video, record)
                tally.add([record for record, _, _ in rows])
                if results is not None:
                    results.write(rows, [source.state for source in read])
                new = zip(rows, read, strict=True)
                echo.write(record for (record, _, _), source in new if source.record is None)
        except KeyboardInterrupt:
            if options.out is not None:
                logger.info("Stopped; the same command with --resume goes on.")
            raise
        tally.check()
        if results is not None:
            _finish(results, options)
    if options.out is not None and tally.num > 1:
        seconds, where = time.perf_counter() - began, shown(options.out)
        failed = f", {tally.num_failed} could not be read" if tally.num_failed else ""
        logger.info("%d pictures in %.1f s%s; see %s", tally.num, seconds, failed, where)
    return 1 if tally.num_failed else 0


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


def _finish(results: Results, options: Infer) -> None:
    """Write what is made of all lines; COCO to standard output without a folder."""
    truths = find_truths(options.images) if options.format == "coco" else []
    if options.out is None:
        write_coco(results.lines, sys.stdout, None, truths)
    else:
        results.finish(options.format or "json", options.samples > 0, truths)


def fingerprint(air: AIR) -> str:
    """Return a digest of a model's weights and config: equal models have equal ones."""
    digest = hashlib.sha256(json.dumps(to_dict(air.config), sort_keys=True).encode())
    for name, value in sorted(air.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


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
    """Prints records as they come; to a terminal, as lines for people.

    COCO is not printed here: it is made of all records at the end. If there is one picture alone
    and it cannot be read, no record is printed, since the command ends with an error about it.
    """

    def __init__(self, options: Infer) -> None:
        terminal = sys.stdout is not None and sys.stdout.isatty()
        self._form = options.format or ("text" if terminal else "json")
        self._sampled = options.samples > 0
        # Lines for people go above a bar; all else to where it was sent, whatever a bar does.
        self._file = None if self._form == "text" else sys.stdout
        self.in_the_way = terminal and self._form in ("json", "csv")
        """Whether what is printed and a bar would disturb each other."""
        self._held: list[Record] = []
        self._begun = False

    def write(self, records: Iterable[Record]) -> None:
        """Print records; a failure is held back until a second record comes."""
        self._held += records
        if not self._begun and len(self._held) == 1 and "error" in self._held[0]:
            return
        file = self._file or sys.stdout
        if file is not None:  # standard output may be closed
            file.write(self._text())
            file.flush()
        self._begun = self._begun or bool(self._held)
        self._held.clear()

    def _text(self) -> str:
        if self._form == "json":
            return "".join(f"{to_json(record)}\n" for record in self._held)
        if self._form == "text":  # failures are told by the tally
            return "".join(f"{to_text(record)}\n" for record in self._held if "error" not in record)
        if self._form == "coco" or not self._held:
            return ""
        text = io.StringIO()
        write_csv(self._held, text, self._sampled)
        lines = text.getvalue().split("\n", self._begun)[-1]  # the header once
        # Standard output takes no bytes that are no text; a file of --out does.
        return lines.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
