"""Does the fast preset succeed with every seed, and how soon?

Trains the preset once per seed and measures the held-out test split on the way. It decides nothing:
no setting is chosen by it and no run stops early.

    python benchmarks/reproduce.py run --data multi-mnist --seeds 0-19
    python benchmarks/reproduce.py run --data digits sprites --seeds 0-9
    python benchmarks/reproduce.py hour          # larger networks, 30,000 steps, cosine
    python benchmarks/reproduce.py table

A run that is interrupted goes on where it stopped when the same command is given again; a seed
whose result is there is left alone. Results: ``benchmarks/results/reproduce/<data>-<seed>.json``
and ``benchmarks/results/hour/<data>-<seed>.json``.

Success, stated before any number was seen: a seed succeeds if it reaches the count accuracy that is
asked for (multi-mnist 98.0%, digits 99.0%, sprites 98.0%) within its run, and holds it at the end.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from runs import RESULTS, Task, parse_seeds, read_results, run_all

ASKED = {"multi-mnist": 0.98, "digits": 0.99, "sprites": 0.98}
THREE = {"three": "--max-count 3"}  # trained on 0 to 2 objects, tested on scenes of 3
FOLDER = RESULTS / "reproduce"
HOUR = RESULTS / "hour"
HOUR_OPTIONS = (
    "-n 30000 -b 64 -lr 1.5e-3 --lr-schedule cosine --composite-begin 150 --composite-every 1 "
    "--explore-steps 300 --anneal-prior-duration 500 --window-size 20 --rnn-hidden-size 256 "
    "--predict-net 400 --encoder-net 400 --decoder-net 400 400 --eval-every 500"
)


@dataclass(frozen=True)
class Run:
    """Train the fast preset for every data set and seed that has no result yet."""

    data: tuple[str, ...] = ("multi-mnist",)
    """Data sets: multi-mnist, digits, sprites."""
    seeds: str = "0-19"
    """Seeds, such as 0-19 or 3,5,8."""
    jobs: int = 2
    """Runs side by side; they share the cores."""
    eval_every: int = 125
    """Steps between evaluations on the test split."""
    work: Path = Path("runs/reproduce")
    """Folder of the runs."""

    def run(self) -> None:
        """Run the command."""
        run_all([self._task(d, s) for d in self.data for s in parse_seeds(self.seeds)], self.jobs)

    def _task(self, data: str, seed: int) -> Task:
        return Task(
            options=f"--data {data} --seed {seed} --eval-split test --eval-every {self.eval_every}",
            run=self.work / f"{data}-{seed}",
            result=FOLDER / f"{data}-{seed}.json",
            labels={"data": data, "seed": seed},
            measures={} if data == "sprites" else THREE,
        )


@dataclass(frozen=True)
class Hour:
    """Train larger networks for 30,000 steps, less than an hour: the learning rate falls."""

    seeds: str = "0"
    """Seeds, such as 0-1."""
    jobs: int = 2
    """Runs side by side; they share the cores."""
    work: Path = Path("runs/hour")
    """Folder of the runs."""

    def run(self) -> None:
        """Run the command."""
        tasks = [
            Task(
                options=f"--data multi-mnist --seed {seed} {HOUR_OPTIONS}",
                run=self.work / f"multi-mnist-{seed}",
                result=HOUR / f"multi-mnist-{seed}.json",
                labels={"data": "multi-mnist", "seed": seed},
                measures=THREE | {"importance": "--importance-samples 100"},
            )
            for seed in parse_seeds(self.seeds)
        ]
        run_all(tasks, self.jobs)


@dataclass(frozen=True)
class Table:
    """Print the tables of all results, worst seed included, as Markdown."""

    def run(self) -> None:
        """Run the command."""
        results = sorted(read_results(FOLDER), key=lambda result: result["seed"])
        for data in ASKED:
            chosen = [result for result in results if result["data"] == data]
            if chosen:
                print(table(data, chosen))
        for result in read_results(HOUR):
            print(hour_line(result))


def table(data: str, results: list[dict[str, Any]]) -> str:
    """Return a data set's results, seed by seed, under the share of successes and the medians."""
    asked = ASKED[data]
    rows = [_row(result, asked) for result in results]
    successes = sum(row["success"] for row in rows)
    reached = [math.inf if row["reached"] is None else row["reached"] for row in rows]
    columns = [f"s to {asked:.1%}", "at 20 s", "at 40 s", "at the end", "end, s", "ELBO"]
    columns += ["box IoU", "singles misread", "3 objects"]
    lines = [
        f"**{data}**: {successes} of {len(rows)} seeds succeed ({asked:.1%}).",
        "",
        f"| seed | {' | '.join(columns)} |",
        f"| --- |{' --- |' * len(columns)}",
    ]
    for row in rows:
        lines.append(
            f"| {row['seed']} | {_number(row['reached'], '.0f')} | {_number(row['20'], '.2%')} "
            f"| {_number(row['40'], '.2%')} | {row['end']:.2%} | {row['seconds']:.0f} "
            f"| {row['elbo']:.1f} | {_number(row['box_iou'], '.3f')} | {row['misread']:.2%} "
            f"| {_number(row['three'], '.1%')} |"
        )
    ends = [row["end"] for row in rows]
    lines += [
        "",
        f"Median time {_time(statistics.median(reached))}, longest {_time(max(reached))}; accuracy "
        f"at the end: median {statistics.median(ends):.2%}, worst {min(ends):.2%} (seed "
        f"{min(rows, key=lambda row: row['end'])['seed']}); singles misread: median "
        f"{statistics.median(row['misread'] for row in rows):.2%}.",
        "",
    ]
    return "\n".join(lines)


def summary_rows(results: list[dict[str, Any]]) -> list[str]:
    """Return one row for each data set: how many seeds succeed, how soon, and how it ends."""
    lines = []
    for data, asked in ASKED.items():
        rows = [_row(result, asked) for result in results if result["data"] == data]
        if rows:
            reached = [math.inf if row["reached"] is None else row["reached"] for row in rows]
            ends, seconds = ([row[name] for row in rows] for name in ("end", "seconds"))
            lines.append(
                f"| `air train --data {data}` | {sum(row['success'] for row in rows)} of "
                f"{len(rows)} reach {asked:.0%} | median {_time(statistics.median(reached))}, "
                f"longest {_time(max(reached))} | median {statistics.median(ends):.2%}, worst "
                f"{min(ends):.2%} ({statistics.median(seconds):.0f} s) | "
                f"{statistics.median(row['elbo'] for row in rows):.1f} |"
            )
    return lines


def hour_line(result: dict[str, Any]) -> str:
    """Return one sentence on a long run."""
    last = [e for e in result["evaluations"] if e["split"] == "test"][-1]
    importance, three = (result["measures"][name] for name in ("importance", "three"))
    figures = (
        f"{last['count_accuracy']:.2%} of test counts",
        f"ELBO {last['elbo']:.1f}",
        f"importance-weighted bound {importance['importance_bound']:.1f} (100 samples)",
        f"singles misread {misread_singles(last['confusion']):.2%}",
        f"median box IoU {last['box_iou']:.3f}",
        f"scenes of three {share_right(three['confusion'][3], 3):.1%}",
    )
    run = f"{result['data']}, seed {result['seed']}, {last['step']:,} steps"
    return f"{run} in {last['seconds']:.0f} s: {', '.join(figures)}."


def misread_singles(confusion: list[list[int]]) -> float:
    """Return the share of single objects that are read as several or as none."""
    return 1 - share_right(confusion[1], 1)


def share_right(row: list[int], count: int) -> float:
    """Return the share of a confusion matrix's row that is in its true count's column."""
    return row[count] / sum(row)


def _row(result: dict[str, Any], asked: float) -> dict[str, Any]:
    evaluations = [e for e in result["evaluations"] if e["split"] == "test"]

    def at(seconds: float) -> float | None:
        before = [e["count_accuracy"] for e in evaluations if e["seconds"] <= seconds]
        return before[-1] if before else None

    reached = [e["seconds"] for e in evaluations if e["count_accuracy"] >= asked]
    last = evaluations[-1]
    three = result["measures"].get("three")
    return {
        "seed": result["seed"],
        "reached": reached[0] if reached else None,
        "20": at(20),
        "40": at(40),
        "end": last["count_accuracy"],
        "seconds": last["seconds"],
        "elbo": last["elbo"],
        "box_iou": last["box_iou"],
        "misread": misread_singles(last["confusion"]),
        "three": share_right(three["confusion"][3], 3) if three else None,
        "success": last["count_accuracy"] >= asked,
    }


def _time(seconds: float) -> str:
    return "never" if math.isinf(seconds) else f"{seconds:.0f} s"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    tyro.cli(Run | Hour | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
