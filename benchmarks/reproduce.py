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

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from runs import RESULTS, Task, parse_seeds, read_results, run_all

ASKED = {"multi-mnist": 0.98, "digits": 0.99, "sprites": 0.98}
FOLDER = RESULTS / "reproduce"


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
    options: Annotated[str, tyro.conf.arg(aliases=("-o",))] = "--eval-split test --eval-every 250"
    """Options of `air train` beside data and seed."""

    def run(self) -> None:
        """Run the command."""
        run_all([self._task(d, s) for d in self.data for s in parse_seeds(self.seeds)], self.jobs)

    def _task(self, data: str, seed: int) -> Task:
        return Task(
            options=f"--data {data} --seed {seed} {self.options}",
            run=self.work / f"{data}-{seed}",
            result=FOLDER / f"{data}-{seed}.json",
            labels={"data": data, "seed": seed},
        )


@dataclass(frozen=True)
class Table:
    """Print the table of all results, worst seed included, as Markdown."""

    def run(self) -> None:
        """Run the command."""
        results = sorted(read_results(FOLDER), key=lambda result: result["seed"])
        for data in ASKED:
            chosen = [result for result in results if result["data"] == data]
            if chosen:
                print(table(data, chosen))


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


if __name__ == "__main__":
    tyro.cli(Run | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
