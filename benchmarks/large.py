"""Can a picture that is larger than memory be trained on and counted, and by several processes?

    python benchmarks/large.py draw SLIDE.zarr      discs on a dim noisy background, 20,000 x 20,000
    python benchmarks/large.py run SLIDE.zarr
    python benchmarks/large.py table

``run`` trains on the one zarr with nothing given but `--data`, then infers it in one process, and
with two processes of Dask. The zarr lies beside ``SLIDE.npy``, the true centers, for judging alone.

It is a success if the count is within 1% of the truth, no process takes as much as 2 GiB of memory,
and Dask's results are those of one process, byte for byte. Memory is the largest process's peak.

Results: ``benchmarks/results/large/SLIDE-SEED.json``.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import zarr
from numpy.typing import NDArray
from runs import RESULTS, machine, read_results, write_result
from scipy.spatial import cKDTree

FOLDER = RESULTS / "large"
CELL, RADIUS, MARGIN = 100, 10.0, 15.0
"""Pixels of a cell, which holds a disc or none; radius of a disc, and its center's distance from
the edge of the cell."""

BACKGROUND, NOISE, BRIGHT = 900.0, 60.0, (6_000.0, 12_000.0)
MATCHED = 5.0
"""Pixels between a center that was found and a true one, at most."""

LARGEST_ERROR, LARGEST_MEMORY = 0.01, 2048


@dataclass(frozen=True)
class Draw:
    """Draw a zarr of discs, and write their centers beside it."""

    path: tyro.conf.Positional[Path]
    """Of the zarr."""
    side: int = 20_000
    """In pixels, a multiple of 1,000."""
    seed: int = 0
    """Of the discs."""

    def run(self) -> None:
        """Run the command."""
        centers = draw(self.path, self.side, self.seed)
        np.save(self.path.with_suffix(".npy"), centers)
        print(f"{self.path}: {len(centers)} discs")


@dataclass(frozen=True)
class Run:
    """Train on a zarr and infer it, unless there is a result."""

    path: tyro.conf.Positional[Path]
    """Of the zarr."""
    seed: int = 0
    """Of training."""
    work: Path = Path("runs/large")
    """Folder of the run and its results."""
    threads: int = 1
    """Threads of each process."""

    def run(self) -> None:
        """Run the command."""
        result = FOLDER / f"{self.path.stem}-{self.seed}.json"
        if not result.exists():
            shutil.rmtree(self.work, ignore_errors=True)  # of a measurement that was cut
            write_result(result, measure(self.path, self.seed, self.work, self.threads))
            print(result)


@dataclass(frozen=True)
class Table:
    """Print the results as Markdown."""

    def run(self) -> None:
        """Run the command."""
        print(table())


def draw(path: Path, side: int, seed: int) -> NDArray[np.float64]:
    """Draw discs on a dim noisy background, strip by strip, as a zarr of 16 bits.

    Returns: their centers, (n, 2), x and y in pixels.
    """
    rng = np.random.default_rng(seed)
    cells = side // CELL
    there = rng.random((cells, cells)) < 0.5
    places = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1) * CELL
    places = places + rng.uniform(MARGIN, CELL - MARGIN, (cells, cells, 2))  # x, y
    radii = rng.uniform(0.9 * RADIUS, 1.1 * RADIUS, (cells, cells))
    brightness = rng.uniform(*BRIGHT, (cells, cells))
    options = {"shape": (side, side), "chunks": (1024, 1024), "dtype": "u2", "zarr_format": 2}
    array = zarr.open_array(str(path), mode="w", **options)
    for row in range(cells):
        strip = rng.normal(BACKGROUND, NOISE, (CELL, side)).astype(np.float32)
        for column in np.flatnonzero(there[row]):
            x, y = places[row, column] - (column * CELL, row * CELL)
            v, u = np.mgrid[:CELL, :CELL] + 0.5
            cover = (radii[row, column] - np.hypot(u - x, v - y) + 0.5).clip(0, 1)
            strip[:, column * CELL : (column + 1) * CELL] += brightness[row, column] * cover
        array[row * CELL : (row + 1) * CELL] = strip.clip(0, 65535).astype(np.uint16)
    return places[there]


def measure(path: Path, seed: int, work: Path, threads: int) -> dict[str, Any]:
    """Train on a zarr, infer it in one process and in two, and judge what was found."""
    run = work / "run"
    train = ["train", "--data", f"{path}", "--seed", f"{seed}", "--out", f"{run}"]
    infer = ["infer", f"{run}", f"{path}", "--no-annotate", "--format", "json", "--out"]
    figures = {
        "train": timed(train, threads),
        "infer": timed([*infer, f"{work / 'one'}"], threads),
        "dask": timed([*infer, f"{work / 'two'}", "--dask", "2"], threads),
    }
    one, two = ((work / name / "scenes.jsonl").read_bytes() for name in ("one", "two"))
    name = path.name
    return {
        "case": path.stem,
        "seed": seed,
        "commands": [
            f"air train --data {name} --seed {seed} --out RUN",
            f"air infer RUN {name} --no-annotate --format json --out ONE",
            f"air infer RUN {name} --no-annotate --format json --out TWO --dask 2",
        ],
        "machine": machine(threads),
        "chosen": json.loads((run / "config.json").read_text())["config"]["chosen"],
        "side": zarr.open_array(str(path), mode="r").shape[0],
        **figures,
        "dask_is_same": one == two,
        **judge(json.loads(one), np.load(path.with_suffix(".npy"))),
    }


def timed(command: list[str], threads: int) -> dict[str, float]:
    """Run `air`, and return its seconds and the peak memory, in MiB, of its largest process."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "attend_infer_repeat.cli", *command, "--quiet"],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"air {' '.join(command)}: it failed.")
    seconds = time.perf_counter() - began
    return {"seconds": round(seconds, 1), "peak_mib": round(usage.ru_maxrss / 1024)}


def judge(record: dict[str, Any], truth: NDArray[np.float64]) -> dict[str, Any]:
    """Compare what was found with the true centers, (n, 2)."""
    boxes = np.array([own["box"] for own in record["objects"]])
    distances, nearest = cKDTree(truth).query((boxes[:, :2] + boxes[:, 2:]) / 2)
    hits = len(set(nearest[distances <= MATCHED].tolist()))
    return {
        "objects": len(truth),
        "count": record["count"],
        "count_interval": record["count_interval"],
        "total_error": record["count"] / len(truth) - 1,
        "missed": len(truth) - hits,
        "without_truth": record["count"] - hits,
    }


def is_success(result: dict[str, Any]) -> bool:
    """Tell whether a result is within the bounds that were stated before."""
    most = max(result[step]["peak_mib"] for step in ("train", "infer", "dask"))
    within = math.fabs(result["total_error"]) <= LARGEST_ERROR and most < LARGEST_MEMORY
    return within and result["dask_is_same"]


def table() -> str:
    """Return the results as Markdown."""
    lines = [
        "| picture | seed | true | found | missed | twice or wrong | success | training "
        "| inference | inference by two processes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in read_results(FOLDER):
        steps = " | ".join(
            f"{result[step]['seconds']:.0f} s, {result[step]['peak_mib']:,} MiB"
            for step in ("train", "infer", "dask")
        )
        found = f"{result['count']:,} ({result['total_error']:+.2%})"
        lines.append(
            f"| {result['side']:,} x {result['side']:,} | {result['seed']} "
            f"| {result['objects']:,} | {found} | {result['missed']:,} "
            f"| {result['without_truth']:,} | {'yes' if is_success(result) else 'no'} | {steps} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Draw | Run | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
