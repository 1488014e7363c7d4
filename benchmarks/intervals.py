"""Do intervals of counts hold the truth as often as they say, nine times in ten?

    python benchmarks/real.py run PICTURES nuclei slide --seeds 0
    python benchmarks/intervals.py run PICTURES nuclei slide --seeds 0
    python benchmarks/intervals.py table

Crops of random sizes are cut out of the test pictures of a case, counted by `air infer` with the
run that ``real.py`` left, and judged. Their edges cut no object: nobody could say whether that is
to be counted. No two show the same objects, but crops of one picture overlap, and are not
independent.

Results: ``benchmarks/results/intervals/CASE-SEED.json``.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from real import Cases, read_truth
from runs import RESULTS, machine, read_results

FOLDER = RESULTS / "intervals"
MOST_TRIES = 200_000
"""Crops that are tried: of crowded pictures, few cut no object."""


@dataclass(frozen=True)
class Run(Cases):
    """Count crops, and judge, for each case and seed without a result."""

    crops: int = 100
    """Crops of each case, if so many can be had."""
    sides: tuple[int, int] = (80, 240)
    """Shortest and longest side of a crop, in pixels; never more than the picture's own."""

    def run(self) -> None:
        """Run the command."""

        def measured(case: str, seed: int, run: Path) -> dict[str, Any]:
            found = judge(self.pictures / case, run, self.crops, self.sides, self.threads)
            labels = {"case": case, "seed": seed, "sides": self.sides}
            return labels | found | {"machine": machine(self.threads)}

        self.write_missing(FOLDER, measured)


@dataclass(frozen=True)
class Table:
    """Print the results as Markdown."""

    def run(self) -> None:
        """Run the command."""
        print(table())


def judge(case: Path, run: Path, num: int, sides: tuple[int, int], threads: int) -> dict[str, Any]:
    """Count crops of a case's test pictures with a run, and compare intervals with truths."""
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, box, count in itertools.islice(crops(case, sides), num):
            path = Path(folder) / f"{len(counts):03d}{Path(name).suffix}"
            with Image.open(case / "test" / name) as picture:
                picture.crop(box).save(path)
            counts[path.name] = count
        if not counts:
            raise SystemExit(f"{case}: no crop of {sides[0]} to {sides[1]} pixels cuts no object.")
        infer = ["infer", f"{run}", folder, "--format", "json", "--quiet"]
        lines = subprocess.run(
            [sys.executable, "-m", "attend_infer_repeat.cli", *infer],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        ).stdout
    records = [json.loads(line) for line in lines.splitlines()]
    true = np.array([counts[Path(record["file"]).name] for record in records])
    found = np.array([record["count"] for record in records])
    low, high = np.array([record["count_interval"] for record in records]).T
    assert len(true) == len(counts)
    return {
        "crops": len(counts),
        "mean_count": float(true.mean()),
        "count_accuracy": float((found == true).mean()),
        "count_error": float(np.abs(found - true).mean()),
        "interval_holds": float(((low <= true) & (true <= high)).mean()),
        "interval_width": float((high - low).mean()),
    }


def crops(
    case: Path, sides: tuple[int, int]
) -> Iterator[tuple[str, tuple[int, int, int, int], int]]:
    """Yield the picture, the box and the count of crops that cut no object and show some."""
    truth, rng, seen = read_truth(case), np.random.default_rng(0), set()
    sizes = {}
    for name in truth:
        with Image.open(case / "test" / name) as picture:
            sizes[name] = np.array(picture.size)
    for _ in range(MOST_TRIES):
        name = sorted(truth)[int(rng.integers(len(truth)))]
        size = np.minimum(rng.integers(sides[0], sides[1] + 1, size=2), sizes[name])
        start = rng.integers(sizes[name] - size + 1)
        boxes = truth[name]
        inside = ((boxes[:, :2] >= start) & (boxes[:, 2:] <= start + size)).all(axis=1)
        outside = ((boxes[:, 2:] <= start) | (boxes[:, :2] >= start + size)).any(axis=1)
        shown = name, *np.flatnonzero(inside)
        if (inside | outside).all() and inside.any() and shown not in seen:
            seen.add(shown)
            (x, y), (right, low) = start.tolist(), (start + size).tolist()
            yield name, (x, y, right, low), int(inside.sum())


def table() -> str:
    """Return the results as Markdown."""
    lines = [
        "| pictures | seed | crops | objects in each | counts right | interval holds | width |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in sorted(read_results(FOLDER), key=lambda r: (r["case"], r["seed"])):
        lines.append(
            f"| {result['case']} | {result['seed']} | {result['crops']} "
            f"| {result['mean_count']:.1f} | {result['count_accuracy']:.0%} "
            f"| {result['interval_holds']:.0%} | {result['interval_width']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(Run | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
