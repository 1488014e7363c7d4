"""`air infer`."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import compress, islice, tee
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from ..config import flat
from ..config.annotations import Positional, arg
from ..errors import ConfigError
from ..seeds import check_seed
from .command import Command, require_at_least
from .loading import load_model
from .process import prepare_messages

if TYPE_CHECKING:
    from ..air import AIR
    from ..data.pictures.canvas.framing import Framing
    from ..files.blocks import Runner
    from ..files.canvases import Observer
    from ..files.results import Results
    from ..files.sources import Source
    from ..files.tracking import Tracker
    from .echo import Tally

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Infer(Command):
    """Count, locate and describe the objects in pictures.

    Pictures are files (PNG, JPEG, TIFF, BMP, GIF, zarr), folders, patterns ('scans/**/*.png', in
    quotes), .npy and .npz arrays, or - for standard input: a picture, or names of pictures, one per
    line. They may have any size: they are brought to the model's canvas as in training.

    An animated GIF is read frame by frame. With --track the pictures of a folder are the frames of
    a video. Objects in the frames of a video have an identity, which they keep.

    In a terminal, prints one line per picture: its name, its count and the probability of the
    count. Into a file or a pipe, or with --format json, one JSON object per line: file, width,
    height, count, count_probs = q(n | x), and objects with score = q(z_pres), box (x0, y0, x1, y1
    in the picture's pixels), z_where and z_what; or CSV, one row per object; or COCO. A picture
    that cannot be read has a line with its error, and the exit code is 1.

    With --out, the folder gets scenes.jsonl, scenes.csv or coco.json (and coco_results.json, for
    pycocotools' loadRes), and each picture with its boxes as a PNG. --resume goes on with results
    that were interrupted.

    A picture of a zarr, or a tiled TIFF, may be larger than memory: it is read in parts, also by
    several processes or machines (--dask).

    Examples:
      air infer runs/mnist picture.png
      air infer multi-mnist scans/ --out found            shipped weights, a folder
      air infer runs/mnist 'a/**/*.jpg' --format csv > found.csv
      air infer runs/mnist big/ --out found --no-annotate --resume
      find . -name '*.png' -print0 | air infer runs/mnist - --samples 50
      air infer runs/mnist frames/ --track --out tracked  a video, as numbered pictures
      air infer runs/cells slide.zarr --dask 4            larger than memory, on four processes
    """

    essential: ClassVar = (
        *("model", "images", "out", "format", "samples", "track", "invert", "resume", "quiet"),
    )

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]]
    """Picture files, folders, patterns, arrays, or - for standard input."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder for the results, new or empty."""
    format: Literal["json", "csv", "coco"] | None = None
    """Format of the results; if not given, readable lines in a terminal and JSON elsewhere."""
    annotate: bool = True
    """Write each picture with its boxes to --out."""
    reconstructions: bool = False
    """Write the reconstruction of each picture to --out, in reconstructions/."""
    codes: bool = False
    """Write the z_what of all objects, in the order of the results, to --out as z_what.npy."""
    samples: int = 0
    """Importance samples per picture: they give a better posterior over the count, and its
    effective sample size; 0 takes none."""
    seed: int = 0
    """Seed of the samples."""
    track: bool = False
    """Treat the pictures of each argument as the frames of a video, in the order of the numbers in
    their names; an animated GIF is always one."""
    invert: Literal["auto", "yes", "no"] | None = None
    """Whether objects are dark on a bright background; auto looks at each picture; as in training
    if not given."""
    batch_size: Annotated[int, arg(aliases=("-b",))] = 64
    """Pictures that are read and written at a time; it changes no result."""
    resume: bool = False
    """Go on with the results in --out; pictures that have changed or could not be read are read
    again."""
    strict: bool = False
    """Stop at a picture that cannot be read."""
    quiet: bool = False
    """Show no progress."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""
    dask: Annotated[str | None, arg(metavar="ADDRESS|N")] = None
    """Infer the parts of a picture that is larger than memory by Dask: the address of a scheduler,
    such as host:8786, or a number of processes on this machine."""

    def run(self) -> int:
        """Run the command; return 1 if a picture could not be read, else 0.

        Raises: DataError if no picture can be read, or one cannot and ``strict``; ConfigError if
            the folder of results cannot be used; BusyError if another process writes to it.
        """
        self._check()
        from ..data.pictures.background.border import ByBorder
        from ..data.pictures.canvas.framing import Framing
        from ..data.pictures.reading.decoding import shown
        from ..evaluation.doubts import Doubts
        from ..files.blocks import in_turn
        from ..files.cluster import Cluster
        from ..files.sources import find_sources

        prepare_messages(self.quiet)
        air = load_model(self.model, self.device)
        framing = Framing.of_model(air.config)
        if self.invert is not None:
            framing = replace(framing, foreground=ByBorder(self.invert))
        sources = find_sources(self.images, track=self.track, values=framing.need.values)
        began = time.perf_counter()
        with ExitStack() as stack:
            results = self._open_results(air, framing, stack)
            doubts = Doubts(air.config)
            run = in_turn if self.dask is None else stack.enter_context(Cluster(self.dask))
            tally = self._infer(air, framing, sources, results, doubts.add, run)
            tally.check()
            if results is not None:
                self._finish(results)
            for line in doubts.lines():
                logger.warning("Doubtful: %s.", line)
        if self.out is not None and tally.num > 1:
            seconds, where = time.perf_counter() - began, shown(self.out)
            failed = f", {tally.num_failed} could not be read" if tally.num_failed else ""
            logger.info("%d pictures in %.1f s%s; see %s", tally.num, seconds, failed, where)
        return 1 if tally.num_failed else 0

    def _check(self) -> None:
        """Raise a ConfigError for options that contradict each other, before torch is imported."""
        if not self.images:
            raise ConfigError("IMAGE is missing: name at least one picture, folder or pattern.")
        require_at_least(0, samples=self.samples)
        check_seed(self.seed)
        require_at_least(1, batch_size=self.batch_size)
        if self.out is None and (self.resume or self.reconstructions or self.codes):
            raise ConfigError("resume, reconstructions, codes: need a folder; add --out.")

    def _open_results(self, air: AIR, framing: Framing, stack: ExitStack) -> Results | None:
        """Open the folder of results, or a temporary one where the form is made of all lines."""
        from ..files.outputs import Outputs
        from ..files.results import Results

        if self.out is None and self.format != "coco":
            return None
        settings = {
            "model": _digest(air),
            "images": list(self.images),
            "invert": self.invert,
            "track": self.track,
            "samples": self.samples,
            "seed": self.seed,
            "codes": self.codes,
            "code_size": air.config.appearance.encoder_latent_size,
        }
        folder = self.out or Path(stack.enter_context(TemporaryDirectory())) / "results"
        annotate = self.annotate and self.out is not None
        outputs = Outputs(folder, annotate, self.reconstructions, self.codes)
        return stack.enter_context(Results(outputs, settings, self.resume))

    def _infer(
        self,
        air: AIR,
        framing: Framing,
        sources: Iterator[Source],
        results: Results | None,
        observe: Observer,
        run: Runner,
    ) -> Tally:
        """Read the pictures, write and print what is found in them; return how many there were."""
        from ..console import MIN_ITEMS, progress_bar
        from ..files.blocks import with_bar
        from ..files.sources import how_many
        from ..files.streaming import infer_pictures
        from ..files.tracking import Tracker
        from .echo import Echo

        tracker, echo = Tracker(), Echo(self.format, self.samples > 0)
        sources, tally = self._remaining(sources, results, tracker)
        sources, order = tee(sources)
        num = None if echo.in_the_way else how_many(self.images)
        few = num is not None and num < MIN_ITEMS  # else there is a bar of the pictures
        batches = infer_pictures(
            air,
            sources,
            framing=framing,
            samples=self.samples,
            seed=self.seed,
            batch_size=self.batch_size,
            keep_shrunk=results is not None and results.outputs.annotated,
            observe=observe,
            run=with_bar(run) if few else run,
        )
        if not echo.in_the_way:
            batches = progress_bar(batches, num, "Inferring", len, tally.num)
        try:
            for rows in batches:
                read, records = [*islice(order, len(rows))], [row.record for row in rows]
                new = [source.record is None for source in read]
                for record, source, is_new in zip(records, read, new, strict=True):
                    (tracker.identify if is_new else tracker.follow)(source.video, record)
                tally.add(records)
                if results is not None:
                    results.write(rows, [source.state for source in read])
                echo.write(compress(records, new))
        except KeyboardInterrupt:
            if self.out is not None:
                logger.info("Stopped; the same command with --resume goes on.")
            raise
        return tally

    def _remaining(
        self, sources: Iterator[Source], results: Results | None, tracker: Tracker
    ) -> tuple[Iterator[Source], Tally]:
        """Return the pictures that are still to be read, and how many were before."""
        from .echo import Tally

        if results is None:
            return sources, Tally(self.strict)
        remaining = results.remaining(
            sources, lambda source, record: tracker.follow(source.video, record)
        )
        return remaining, Tally(self.strict, results.done, results.num_failed)

    def _finish(self, results: Results) -> None:
        """Write what is made of all lines; COCO to standard output without a folder."""
        from ..files.coco import find_truths, write_coco

        truths = find_truths(self.images) if self.format == "coco" else []
        if self.out is None:
            write_coco(results.lines, sys.stdout, None, truths)
        else:
            results.finish(self.format or "json", self.samples > 0, truths)


def _digest(air: AIR) -> str:
    """Return a digest of a model's weights and config: equal models have equal ones."""
    digest = hashlib.sha256(json.dumps(flat(air.config), sort_keys=True).encode())
    for name, value in sorted(air.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
