"""How far does AIR go: many objects, any number of them, and backgrounds?

Trains each case once per seed, two runs side by side, and measures the test split at the end. It
decides nothing: settings were chosen by the validation split.

    python benchmarks/many.py run                      every case, seeds 0-2
    python benchmarks/many.py run --cases five nine
    python benchmarks/many.py table

A run that is interrupted goes on where it stopped when the same command is given again; a result
that is there is left alone. Results: ``benchmarks/results/many/<case>-<seed>.json``.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from runs import RESULTS, Task, parse_seeds, read_results, run_all

FOLDER = RESULTS / "many"


class Case(NamedTuple):
    """What is trained, and what it is tested on besides the test split."""

    options: str
    measures: dict[str, str]


MNIST = "--data multi-mnist"
TWO = f"--preset many {MNIST} -n 8000"
WITHOUT = f"{TWO} --composite-rare 0.3"
NOISY = (
    f"{MNIST} --background noisy --guide memoryless --focus 2 --z-pres-prior 1e-10 "
    "--composite-weight 0 -n 2000 --lr-schedule cosine"
)
GRID = f"{MNIST} --background grid --composition over --composite-weight 0 -n 1000"
THREE = {"3": "--counts 3 --importance-samples 5"}
FIVE = f"--preset many {MNIST} --canvas 75 --max-digits 5 --scale-prior-mean 3.9"
CASES = {
    "five": Case(FIVE, {"6-8": "--counts 6 7 8"}),  # composites have up to six pasted digits
    "five-seen": Case(f"{FIVE} --composite-most 5", {"6-8": "--counts 6 7 8"}),
    "nine": Case(
        f"--preset many {MNIST} --canvas 100 --max-digits 9 --scale-prior-mean 5.2 -b 128 -n 2500",
        {},
    ),
    "two": Case(f"{TWO} --foresight --z-pres-prior 1e-8", THREE),
    "two-without": Case(WITHOUT, THREE),
    "two-bounded": Case(f"{WITHOUT} --no-unbounded", THREE),
    "fast-seen": Case(f"{MNIST} --composite-most 2", {"3": "--counts 3"}),
    "fast-unbounded": Case(f"{MNIST} --unbounded", {"3": "--counts 3"}),
    "noisy": Case(f"{NOISY} --background-model constant --learn-likelihood-sd", {}),
    "noisy-without": Case(NOISY, {}),
    "grid": Case(f"{GRID} --background-model learned", {}),
    "grid-without": Case(GRID, {}),
}


@dataclass(frozen=True)
class Run:
    """Train every case with every seed that has no result yet."""

    cases: tuple[str, ...] = tuple(CASES)
    """Which of them."""
    seeds: str = "0-2"
    """Seeds, such as 0-2 or 3,5,8."""
    jobs: int = 2
    """Runs side by side; they share the cores."""
    work: Path = Path("runs/many")
    """Folder of the runs."""

    def run(self) -> None:
        """Run the command."""
        run_all([self._task(c, s) for c in self.cases for s in parse_seeds(self.seeds)], self.jobs)

    def _task(self, name: str, seed: int) -> Task:
        return Task(
            options=f"{CASES[name].options} --seed {seed}",
            run=self.work / f"{name}-{seed}",
            result=FOLDER / f"{name}-{seed}.json",
            labels={"case": name, "seed": seed},
            measures=CASES[name].measures,
        )


@dataclass(frozen=True)
class Table:
    """Print all results, seed by seed, as Markdown."""

    def run(self) -> None:
        """Run the command."""
        results = read_results(FOLDER)
        for name in CASES:
            chosen = [result for result in results if result["case"] == name]
            if chosen:
                print(table(name, sorted(chosen, key=lambda result: result["seed"])))


def table(name: str, results: list[dict[str, Any]]) -> str:
    """Return a case's results, seed by seed, and their medians."""
    case = CASES[name]
    others = [f"{n} objects: {what}" for n, m in results[0]["measures"].items() for what in _of(m)]
    columns = ["seed", "count accuracy", "mean count error", "box AP at 0.5", *others, "ELBO", "s"]
    commits = ", ".join(sorted({result["versions"]["commit"] for result in results}))
    lines = [f"`{case.options}` (commit {commits})", "", f"| {' | '.join(columns)} |"]
    lines.append(f"| {' | '.join(['---'] * len(columns))} |")
    rows = [_row(result) for result in results]
    lines += [_line(str(result["seed"]), row) for result, row in zip(results, rows, strict=True)]
    columns_of = zip(*rows, strict=True)
    medians = [(statistics.median(v for v, _ in values), values[0][1]) for values in columns_of]
    return "\n".join([*lines, _line("median", medians), ""])


def _row(result: dict[str, Any]) -> list[tuple[float, str]]:
    last = [e for e in result["evaluations"] if e["split"] == "test"][-1]
    row = [(last["count_accuracy"], ".2%"), (last["count_error"], ".3f"), (last["box_ap50"], ".3f")]
    for measured in result["measures"].values():
        row += _of(measured).values()
    return [*row, (last["elbo"], ".1f"), (last["seconds"], ".0f")]


def _of(measured: dict[str, Any]) -> dict[str, tuple[float, str]]:
    """Return what the table tells of scenes of other counts."""
    told = {
        "accuracy": (measured["count_accuracy"], ".1%"),
        "error": (measured["count_error"], ".3f"),
    }
    if measured["importance_count_accuracy"] is not None:
        told["accuracy by importance"] = (measured["importance_count_accuracy"], ".1%")
    return told


def _line(name: str, row: list[tuple[float, str]]) -> str:
    return f"| {name} | {' | '.join(format(value, form) for value, form in row)} |"


if __name__ == "__main__":
    tyro.cli(Run | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
