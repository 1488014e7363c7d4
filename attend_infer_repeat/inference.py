"""Pictures in, scenes out, one after the other: what `air infer` does.

Pictures are read ahead by threads, a block at a time goes through the model, and the results of a
block are written before the next one's: memory does not grow with their number. Every block has
the same number of rows, the last one filled up with black: rounding depends on the shape of a
product, so a picture's result is the same to the last bit, whatever pictures stand beside it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .air import AIR, Scenes, reproducible
from .annotate import annotated, as_image
from .checkpoints import write_atomically
from .config import to_dict
from .data.folder import picture_names
from .data.framing import Frame, Framing, place
from .data.labels import read_labels
from .data.parallel import in_parallel
from .data.reading import shown
from .errors import ConfigError, DataError
from .importance import (
    effective_sample_size,
    importance_log_weights,
    importance_weighted_count_probs,
)
from .model import intensity
from .progress import watch
from .records import (
    Record,
    failure_record,
    read_records,
    rounded,
    scene_record,
    write_coco,
    write_csv,
)
from .sources import Source, find_sources, how_many

if TYPE_CHECKING:
    from PIL.Image import Image

    from .cli import Infer

logger = logging.getLogger(__name__)

BLOCK = 64
"""Pictures that go through the model at once, always."""

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


class Placed(NamedTuple):
    """A picture that was read."""

    picture: Image
    canvas: NDArray[np.uint8]  # (channels, height, width)
    frame: Frame


Row = tuple[Record, Placed | None, NDArray[np.float32]]
"""A picture's record, the picture (None if it could not be read), and the scene drawn again."""


def framing_of(air: AIR) -> Framing:
    """Return how the model's pictures come onto its canvas."""
    config = air.config
    return Framing(config.canvas_size, config.channels, config.resize, config.zoom, config.invert)


def infer_pictures(
    air: AIR,
    sources: Iterable[Source],
    *,
    framing: Framing | None = None,
    samples: int = 0,
    seed: int = 0,
    batch_size: int = BLOCK,
) -> Iterator[list[Row]]:
    """Count, locate and describe the objects in pictures, a batch at a time.

    Args:
        air: the model.
        sources: the pictures.
        framing: how they come onto the canvas; the model's way if None.
        samples: importance samples per picture, for a better posterior over the count.
        seed: of the samples; a picture's own depend on nothing else but its pixels.
        batch_size: pictures to a batch; it changes no result.
    Yields: a ``Row`` for each picture of a batch; scenes are (channels, height, width).
    """
    framing = framing_of(air) if framing is None else framing

    def read(source: Source) -> tuple[str, Placed | DataError]:
        try:
            picture = source.read()
        except DataError as error:
            return source.name, error
        return source.name, Placed(picture, *place(picture, framing))

    placed = in_parallel(read, sources, ahead=max(2 * batch_size, 2))
    while batch := list(islice(placed, batch_size)):
        sound = [item for _, item in batch if isinstance(item, Placed)]
        results = iter(_infer_placed(air, sound, samples, seed))
        rows: list[Row] = []
        for name, item in batch:
            if isinstance(item, DataError):
                reason = str(item)
                rows.append((failure_record(name, reason), None, np.empty(0, np.float32)))
                continue
            scenes, index, sampled = next(results)
            record = scene_record(name, item.frame, scenes, index) | sampled
            rows.append((record, item, scenes.reconstruction[index]))
        yield rows


def _infer_placed(
    air: AIR, placed: Sequence[Placed], samples: int, seed: int
) -> Iterator[tuple[Scenes, int, Record]]:
    """Yield for each picture the scenes of its block, its row there, and what sampling adds."""
    for start in range(0, len(placed), BLOCK):
        canvases = [item.canvas for item in placed[start : start + BLOCK]]
        block = np.zeros((BLOCK, *canvases[0].shape), np.uint8)
        block[: len(canvases)] = canvases
        scenes = air.infer(block, batch_size=BLOCK)
        added = _importance(air, block, samples, seed) if samples else [{}] * BLOCK
        for index in range(len(canvases)):
            yield scenes, index, added[index]


@torch.no_grad()
def _importance(air: AIR, block: NDArray[np.uint8], samples: int, seed: int) -> list[Record]:
    """Return the importance-weighted count posterior of each picture of a block."""
    images = intensity(torch.as_tensor(block).to(air.device))
    noise = torch.stack([picture_noise(air, canvas, samples, seed) for canvas in block], dim=1)
    with reproducible(seed):
        log_weights = importance_log_weights(air, images, samples, noise=noise)
    probs = importance_weighted_count_probs(log_weights).cpu().numpy()
    sizes = effective_sample_size(log_weights).cpu().numpy()
    return [
        {
            "importance": {
                "count": int(row.argmax()),
                "count_probs": rounded(row),
                "effective_sample_size": round(float(size), 3),
                "samples": samples,
            }
        }
        for row, size in zip(probs, sizes, strict=True)
    ]


def picture_noise(air: AIR, canvas: NDArray[np.uint8], samples: int, seed: int) -> Tensor:
    """Draw what walks over one picture need, (samples, steps, 3 + what_dim), from its own seed.

    The picture's pixels are part of the seed: what stands beside it changes nothing.
    """
    generator = np.random.default_rng((seed, zlib.crc32(canvas.tobytes())))
    shape = (samples, air.config.model_steps, 3 + air.config.encoder_latent_size)
    return torch.as_tensor(generator.standard_normal(shape)).to(air.model.z_where_loc)


def run_inference(air: AIR, options: Infer) -> None:
    """Do what `air infer` does, with its options.

    Raises: DataError if no picture can be read, or one cannot and ``strict``; ConfigError if the
        folder of results cannot be used.
    """
    config = air.config
    framing = framing_of(air)
    if options.invert is not None:
        framing = replace(framing, invert=options.invert)
    settings = {
        "model": fingerprint(air),
        "images": list(options.images),
        "framing": asdict(framing) | {"canvas_size": list(framing.canvas_size)},
        "samples": options.samples,
        "seed": options.seed,
        "codes": options.codes,
        "code_size": config.encoder_latent_size,
    }
    sources, total = find_sources(options.images), how_many(options.images)
    began = time.perf_counter()
    with ExitStack() as stack:
        results = None
        if options.out is not None or options.format == "coco":
            kept = options.out is not None
            folder = options.out or Path(stack.enter_context(TemporaryDirectory())) / "results"
            outputs = Outputs(
                folder, kept and options.annotate, options.reconstructions, options.codes
            )
            results = stack.enter_context(Results(outputs, settings, options.resume))
            results.skip_done(sources)
        failures = _Failures(options.strict, results)
        echo = _Echo(options)
        batches = infer_pictures(
            air,
            sources,
            framing=framing,
            samples=options.samples,
            seed=options.seed,
            batch_size=options.batch_size,
        )
        try:
            for rows in watch(batches, total, "Inferring", len, failures.num):
                failures.check([record for record, _, _ in rows])
                if results is not None:
                    results.write(rows)
                echo.write(record for record, _, _ in rows)
        except KeyboardInterrupt:
            if options.out is not None:
                logger.info(
                    "Stopped after %d pictures; the same command with --resume goes on.",
                    failures.num,
                )
            raise
        failures.finish()
        if results is not None:
            results.finish()
            _write_other_forms(results, options)
    if options.out is not None and failures.num > 1:
        seconds = time.perf_counter() - began
        logger.info(
            "%d pictures in %.1f s, %d could not be read; see %s",
            failures.num,
            seconds,
            failures.num_failed,
            shown(options.out),
        )


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


class _Failures:
    """Tells of pictures that cannot be read: one line each, and an error if that is all."""

    def __init__(self, strict: bool, results: Results | None) -> None:
        self.strict = strict
        self.num = results.done if results is not None else 0
        self.num_failed = results.num_failed if results is not None else 0
        self._untold: str | None = None  # the first line: alone, it is the error itself

    def check(self, records: Sequence[Record]) -> None:
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

    def finish(self) -> None:
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

    def skip_done(self, sources: Iterator[Source]) -> None:
        """Pass over the pictures that have their lines already: ConfigError if these differ."""
        for record in read_records(self.lines):
            source = next(sources, None)
            if source is None or source.name != record["file"]:
                raise ConfigError(
                    f"resume: the pictures are not those of {self.lines}: expected "
                    f"{record['file']!r}, got {source.name if source else 'no more'!r}; "
                    "give another --out."
                )

    def write(self, rows: Sequence[Row]) -> None:
        """Write a batch: pictures and codes first, so that a line stands for all of its results."""
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
