"""Does the fast preset succeed with every seed, and how soon?

Trains the preset once per seed, single-threaded runs side by side, and measures the held-out
test split on the way. It decides nothing: no setting is chosen by it and no run stops early.

    python benchmarks/reproduce.py run --data multi-mnist --seeds 0-19
    python benchmarks/reproduce.py run --data digits sprites --seeds 0-9
    python benchmarks/reproduce.py table

A run that is interrupted goes on where it stopped when the same command is given again; a seed
whose result is there is left alone. Results: ``benchmarks/results/reproduce/<data>-<seed>.json``.

Success, stated before any number was seen: a seed succeeds if it reaches the count accuracy that is
asked for (multi-mnist 98.0%, digits 99.0%, sprites 98.0%) within its run, and holds it at the end.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

ASKED = {"multi-mnist": 0.98, "digits": 0.99, "sprites": 0.98}
RESULTS = Path(__file__).parent / "results" / "reproduce"


@dataclass(frozen=True)
class Run:
    """Train the fast preset for every data set and seed that has no result yet."""

    data: tuple[str, ...] = ("multi-mnist",)
    """Data sets: multi-mnist, digits, sprites."""
    seeds: str = "0-19"
    """Seeds, such as 0-19 or 3,5,8."""
    jobs: int = 2
    """Single-threaded runs side by side."""
    work: Path = Path("runs/reproduce")
    """Folder of the runs."""
    options: Annotated[str, tyro.conf.arg(aliases=("-o",))] = ""
    """Further options of `air train`, such as "-n 5000"."""

    def run(self) -> None:
        """Run the command."""
        tasks = [(data, seed) for data in self.data for seed in parse_seeds(self.seeds)]
        with ThreadPoolExecutor(self.jobs) as pool:
            for task in tasks:
                pool.submit(self._train, *task)

    def _train(self, data: str, seed: int) -> None:
        result = RESULTS / f"{data}-{seed}.json"
        if result.exists():
            return
        run = self.work / f"{data}-{seed}"
        new = [*f"--data {data} --seed {seed} --eval-split test --eval-every 250".split(), "--out"]
        start = ["--resume"] if (run / "checkpoint" / "state.json").exists() else new
        command = ["air", "train", "--quiet", *self.options.split(), *start, str(run)]
        subprocess.run(
            [sys.executable, "-m", "attend_infer_repeat.cli", *command[1:]],
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        RESULTS.mkdir(parents=True, exist_ok=True)
        result.write_text(json.dumps(summarise(run, data, seed, command), indent=1) + "\n")
        print(f"{data} seed {seed}: {result}", flush=True)


def summarise(run: Path, data: str, seed: int, command: list[str]) -> dict[str, Any]:
    """Return what a finished run shows: its evaluations on the test split, and how it was made."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = ("step", "seconds", "count_accuracy", "elbo", "box_iou", "confusion")
    record = json.loads((run / "config.json").read_text())
    return {
        "data": data,
        "seed": seed,
        "command": " ".join(command),
        "machine": f"{platform.machine()}, one thread per run, {os.cpu_count()} cores",
        "versions": record["versions"],
        "config": record["config"],
        "evaluations": [{k: x[k] for k in names} for x in lines if x.get("split") == "test"],
    }


@dataclass(frozen=True)
class Table:
    """Print the table of all results, worst seed included, as Markdown."""

    def run(self) -> None:
        """Run the command."""
        for data in ASKED:
            results = [json.loads(path.read_text()) for path in RESULTS.glob(f"{data}-*.json")]
            if results:
                print(table(data, sorted(results, key=lambda result: result["seed"])))


def table(data: str, results: list[dict[str, Any]]) -> str:
    """Return a data set's results, seed by seed, under the share of successes and the medians."""
    asked = ASKED[data]
    rows = [_row(result["seed"], result["evaluations"], asked) for result in results]
    successes = sum(row["success"] for row in rows)
    reached = [row["reached"] for row in rows if row["reached"] is not None]
    lines = [
        f"**{data}**: {successes} of {len(rows)} seeds succeed ({asked:.1%}).",
        "",
        f"| seed | s to {asked:.1%} | at 60 s | at 120 s | at the end | end, s | ELBO | box IoU |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row['seed']} | {_number(row['reached'], '.0f')} | {_number(row['60'], '.2%')} "
            f"| {_number(row['120'], '.2%')} | {row['end']:.2%} | {row['seconds']:.0f} "
            f"| {row['elbo']:.1f} | {_number(row['box_iou'], '.3f')} |"
        )
    ends = [row["end"] for row in rows]
    median = f"{statistics.median(reached):.0f} s" if reached else "never"
    lines += [
        "",
        f"Median time {median}; accuracy at the end: median {statistics.median(ends):.2%}, "
        f"worst {min(ends):.2%} (seed {min(rows, key=lambda row: row['end'])['seed']}).",
        "",
    ]
    return "\n".join(lines)


def _row(seed: int, evaluations: list[dict[str, Any]], asked: float) -> dict[str, Any]:
    def at(seconds: float) -> float | None:
        before = [e["count_accuracy"] for e in evaluations if e["seconds"] <= seconds]
        return before[-1] if before else None

    reached = [e["seconds"] for e in evaluations if e["count_accuracy"] >= asked]
    last = evaluations[-1]
    return {
        "seed": seed,
        "reached": reached[0] if reached else None,
        "60": at(60),
        "120": at(120),
        "end": last["count_accuracy"],
        "seconds": last["seconds"],
        "elbo": last["elbo"],
        "box_iou": last["box_iou"],
        "success": last["count_accuracy"] >= asked,
    }


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of a text such as ``0-19`` or ``3,5,8-10``."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


if __name__ == "__main__":
    tyro.cli(Run | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
