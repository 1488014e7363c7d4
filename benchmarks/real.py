"""What does `air` reach on pictures that people have, with nothing given but `--data`?

    python make.py PICTURES --seed 1 ...      draws or cuts the pictures; no part of the project
    python benchmarks/real.py run PICTURES touching nuclei --seeds 0-2
    python benchmarks/real.py classic PICTURES touching nuclei
    python benchmarks/real.py table

``PICTURES/CASE`` holds ``train/``, and ``test/`` with ``coco.json``. `air train --data` sees the
first, `air infer` the second; truths are for judging alone. ``classic`` measures what ten lines of
scikit-image find in the same test pictures: Otsu's threshold and connected components; Otsu's or a
local threshold and a watershed of the distance transform; blobs by the Laplacian of a Gaussian; the
median of the training pictures subtracted and connected components. Each of their settings is
chosen by the truths of the test pictures themselves, which is in their favor.

Results: ``benchmarks/results/real/CASE-SEED.json`` and ``CASE-classic.json``.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from runs import RESULTS, machine, parse_seeds, read_results, write_result
from scipy import ndimage

FOLDER = RESULTS / "real"
MATCHED = 0.5  # intersection over union from which two boxes are of one object

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Cases:
    """Runs of cases by seeds."""

    pictures: tyro.conf.Positional[Path]
    """Folder of the cases."""
    cases: tyro.conf.Positional[tuple[str, ...]]
    """Names of the cases."""
    seeds: str = "0-2"
    """Seeds of training."""
    work: Path = Path("runs/real")
    """Folder of the runs."""
    threads: int = 2
    """Threads of training and inference."""

    def write_missing(self, folder: Path, measure: Callable[[str, int, Path], Any]) -> None:
        """Write what is measured of each case, seed and run, unless ``folder`` has it already."""
        for case, seed in itertools.product(self.cases, parse_seeds(self.seeds)):
            result = folder / f"{case}-{seed}.json"
            if not result.exists():
                write_result(result, measure(case, seed, self.work / f"{case}-{seed}"))
                print(result, flush=True)


@dataclass(frozen=True)
class Run(Cases):
    """Train on each case, infer its test pictures, and judge, for each seed without a result."""

    def run(self) -> None:
        """Run the command."""

        def measured(case: str, seed: int, run: Path) -> dict[str, Any]:
            shutil.rmtree(run, ignore_errors=True)  # of a measurement that was cut
            return measure(self.pictures / case, seed, run, self.threads)

        self.write_missing(FOLDER, measured)


@dataclass(frozen=True)
class Classic:
    """Measure scikit-image on the test pictures of each case without a result."""

    pictures: tyro.conf.Positional[Path]
    """Folder of the cases."""
    cases: tyro.conf.Positional[tuple[str, ...]]
    """Names of the cases."""

    def run(self) -> None:
        """Run the command."""
        for case in self.cases:
            result = FOLDER / f"{case}-classic.json"
            if not result.exists():
                write_result(result, classic(self.pictures / case))
                print(result, flush=True)


@dataclass(frozen=True)
class Table:
    """Print the results as Markdown."""

    def run(self) -> None:
        """Run the command."""
        print(table())


def measure(case: Path, seed: int, run: Path, threads: int) -> dict[str, Any]:
    """Train on a case's pictures, infer its test pictures, and judge what was found."""
    train = ["train", "--data", f"{case / 'train'}", "--seed", f"{seed}", "--out", f"{run}"]
    infer = ["infer", f"{run}", f"{case / 'test'}", "--format", "json", "--out", f"{run / 'found'}"]
    seconds = []
    for command in (train, [*infer, "--no-annotate"]):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "attend_infer_repeat.cli", *command, "--quiet"],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
        seconds.append(round(time.perf_counter() - began, 1))
    lines = (run / "found" / "scenes.jsonl").read_text().splitlines()
    records = {Path(record["file"]).name: record for record in map(json.loads, lines)}
    truth = read_truth(case)
    found = {
        name: np.array([own["box"] for own in records[name]["objects"]]).reshape(-1, 4)
        if name in records and "objects" in records[name]
        else np.zeros((0, 4))
        for name in truth
    }
    intervals = {n: r["count_interval"] for n, r in records.items() if "count_interval" in r}
    held = [low <= len(truth[n]) <= high for n, (low, high) in intervals.items() if n in truth]
    return {
        "case": case.name,
        "seed": seed,
        "commands": [
            f"air train --data PICTURES/{case.name}/train --seed {seed} --out RUN",
            f"air infer RUN PICTURES/{case.name}/test --format json --no-annotate --out RUN/found",
        ],
        "machine": machine(threads),
        "chosen": json.loads((run / "config.json").read_text())["config"]["chosen"],
        "train_seconds": seconds[0],
        "infer_seconds": seconds[1],
        **judge(found, truth),
        "interval_holds": float(np.mean(held)) if held else None,
    }


def read_truth(case: Path) -> dict[str, Boxes]:
    """Return the true boxes, (n, 4), x0, y0, x1, y1, of each test picture."""
    content = json.loads((case / "test" / "coco.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    boxes: dict[str, list[list[float]]] = {name: [] for name in names.values()}
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        boxes[names[annotation["image_id"]]].append([x, y, x + width, y + height])
    return {name: np.array(own, np.float64).reshape(-1, 4) for name, own in boxes.items()}


def judge(found: dict[str, Boxes], truth: dict[str, Boxes]) -> dict[str, float]:
    """Compare what was found with the truth.

    Returns: the share of pictures whose count is right, the mean error of counts, the error of the
        total as a share of it, and F1 of boxes at an IoU of 0.5, matched one to one.
    """
    errors = np.array([len(found[name]) - len(boxes) for name, boxes in truth.items()])
    total, num_found = (sum(map(len, boxes.values())) for boxes in (truth, found))
    hits = sum(num_matched(found[name], boxes) for name, boxes in truth.items())
    return {
        "pictures": len(truth),
        "objects": total,
        "count_accuracy": float((errors == 0).mean()),
        "count_error": float(np.abs(errors).mean()),
        "total_error": float(errors.sum() / max(total, 1)),
        "f1": 2 * hits / max(total + num_found, 1),
    }


def num_matched(found: Boxes, true: Boxes) -> int:
    """Return how many boxes are matched one to one, best overlap first."""
    if not len(found) or not len(true):
        return 0
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:], true[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (found, true)]
    overlap = shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)
    num = 0
    while overlap.max() >= MATCHED:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[row], overlap[:, column] = -1, -1
        num += 1
    return num


# scikit-image, with settings chosen in its favor


def classic(case: Path) -> dict[str, Any]:
    """Return the best of several methods and settings, by F1 and then by counts."""
    truth = read_truth(case)
    pictures = {name: gray(case / "test" / name) for name in truth}
    suffixes = (".png", ".tif")
    training = [p for p in sorted((case / "train").iterdir()) if p.suffix in suffixes][:200]
    tried = []
    seen = [gray(path) for path in training]
    shapes = {picture.shape for picture in (*seen, *pictures.values())}
    for name, find in methods(seen if len(shapes) == 1 else []):
        found = {key: find(picture) for key, picture in pictures.items()}
        tried.append({"method": name, **judge(found, truth)})
    best = max(tried, key=lambda result: (round(result["f1"], 3), result["count_accuracy"]))
    return {"case": case.name, "seed": None, "machine": machine(1), **best, "tried": len(tried)}


def gray(path: Path) -> NDArray[np.float64]:
    """Return a picture's intensity from 0 to 1: the largest channel's distance from the level."""
    pixels = np.asarray(Image.open(path)).astype(np.float64)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
    away = np.abs(pixels - np.median(pixels, axis=(0, 1))).max(axis=2)
    return away / max(away.max(), 1e-9)


def methods(
    training: list[NDArray[np.float64]],
) -> Iterator[tuple[str, Callable[[NDArray[np.float64]], Boxes]]]:
    """Yield methods by name, with their settings.

    Args:
        training: pictures of one size, of which the median is subtracted; without any it is not.
    """
    from skimage import feature, filters

    median = np.median(np.stack(training), axis=0) if training else None

    def threshold(image: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
        if np.ptp(image) == 0:
            return np.zeros(image.shape, bool)
        return np.asarray(image > share * filters.threshold_otsu(image))

    for share, smallest in itertools.product((0.6, 1.0, 1.3), (4, 20, 80)):
        yield (
            f"Otsu x {share}, components of {smallest} pixels",
            lambda image, s=share, m=smallest: components(threshold(image, s), m),
        )
        if median is not None:
            yield (
                f"median frame, Otsu x {share}, components of {smallest} pixels",
                lambda image, s=share, m=smallest: components(
                    threshold(np.abs(image - median), s), m
                ),
            )
        for distance in (3, 5, 8, 12):
            yield (
                f"Otsu x {share}, watershed with peaks {distance} apart, {smallest} pixels",
                lambda image, s=share, m=smallest, d=distance: watershed(threshold(image, s), d, m),
            )
    for block, distance in itertools.product((31, 61, 101), (3, 5, 8, 12)):
        yield (
            f"local threshold of {block}, watershed with peaks {distance} apart",
            lambda image, b=block, d=distance: watershed(
                image > np.maximum(filters.threshold_local(image, b, offset=-0.02), 0.05), d, 20
            ),
        )
    for sigma, level in itertools.product((2, 4, 6, 9, 14), (0.05, 0.1, 0.2)):
        yield (
            f"blobs of sigma {sigma}, threshold {level}",
            lambda image, s=sigma, t=level: blobs(
                feature.blob_log(image, min_sigma=s / 1.4, max_sigma=s * 1.4, threshold=t)
            ),
        )


def components(mask: NDArray[np.bool_], smallest: int) -> Boxes:
    """Return the boxes of connected components."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return boxes_of(labels, smallest)


def watershed(mask: NDArray[np.bool_], distance: int, smallest: int) -> Boxes:
    """Return the boxes of a watershed of the distance transform."""
    from skimage import feature, segmentation

    mask = ndimage.binary_fill_holes(mask)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1)
    labels, _ = ndimage.label(mask)
    peaks = feature.peak_local_max(
        depth, min_distance=distance, labels=labels, exclude_border=False
    )
    markers = np.zeros(mask.shape, np.int64)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return boxes_of(segmentation.watershed(-depth, markers, mask=mask), smallest)


def blobs(found: NDArray[np.float64]) -> Boxes:
    """Return the boxes of blobs, rows y, x, sigma."""
    y, x, radius = found[:, 0], found[:, 1], found[:, 2] * np.sqrt(2)
    return np.stack([x - radius, y - radius, x + radius, y + radius], axis=1)


def boxes_of(labels: NDArray[np.integer], smallest: int) -> Boxes:
    """Return the boxes of labels that are large enough."""
    sizes = np.bincount(labels.ravel())
    found = [
        (part[1].start, part[0].start, part[1].stop, part[0].stop)
        for i, part in enumerate(ndimage.find_objects(labels), 1)
        if part is not None and sizes[i] >= smallest
    ]
    return np.array(found, np.float64).reshape(-1, 4)


def table() -> str:
    """Return the results as Markdown: of each case all seeds, and scikit-image's best."""
    lines = [
        "| pictures | seeds | counts right | total | F1 at 0.5 | interval holds | training | "
        "inference | scikit-image: counts right, total, F1 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    results = sorted(read_results(FOLDER), key=lambda r: (r["case"], r["seed"] is None, r["seed"]))
    for case, of_case in itertools.groupby(results, key=lambda result: result["case"]):
        runs = list(of_case)
        best = runs.pop() if runs[-1]["seed"] is None else None
        row = [
            case,
            ", ".join(str(run["seed"]) for run in runs),
            _each(runs, "count_accuracy", ".1%"),
            _each(runs, "total_error", "+.1%"),
            _each(runs, "f1", ".3f"),
            _each(runs, "interval_holds", ".0%"),
            _each(runs, "train_seconds", ".0f") + " s",
            _each(runs, "infer_seconds", ".0f") + " s",
        ]
        beside = ""
        if best is not None:
            found = f"{best['count_accuracy']:.1%}, {best['total_error']:+.1%}, {best['f1']:.3f}"
            beside = f"{found} ({best['method']})"
        lines.append("| " + " | ".join([*row, beside]) + " |")
    return "\n".join(lines)


def _each(runs: Sequence[Mapping[str, Any]], name: str, form: str) -> str:
    """Return a figure of all runs, or one if they are the same."""
    figures = [format(run[name], form) for run in runs]
    return figures[0] if len(set(figures)) == 1 else ", ".join(figures)


if __name__ == "__main__":
    tyro.cli(Run | Classic | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
