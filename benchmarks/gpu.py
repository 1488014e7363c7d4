"""How soon does the fast preset count on a GPU?

    python benchmarks/gpu.py run          seeds 0-1, one after the other
    python benchmarks/gpu.py table

Trains the preset on multi-MNIST as users do, and measures the test split on the way, which decides
nothing. ``gpu.sh`` calls it. Results: ``benchmarks/results/gpu/multi-mnist-<seed>.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from runs import RESULTS, Task, machine, parse_seeds, read_results, run_all

ASKED = 0.98  # of the counts of the test split
FOLDER = RESULTS / "gpu"


@dataclass(frozen=True)
class Run:
    """Train the preset with every seed that has no result yet."""

    seeds: str = "0-1"
    """Seeds, such as 0-2 or 3,5,8."""
    device: str = "cuda"
    """Where to compute: cuda, cpu."""
    options: str = ""
    """More options of `air train`."""
    work: Path = Path("runs/gpu")
    """Folder of the runs."""
    results: Path = FOLDER
    """Folder of the results."""

    def run(self) -> None:
        """Run the command."""
        run_all([self._task(seed) for seed in parse_seeds(self.seeds)], jobs=1)

    def _task(self, seed: int) -> Task:
        options = "--data multi-mnist --eval-split test --eval-every 125"
        return Task(
            options=f"{options} --device {self.device} --seed {seed} {self.options}".strip(),
            run=self.work / f"multi-mnist-{seed}",
            result=self.results / f"multi-mnist-{seed}.json",
            labels={"seed": seed, "gpu": machine(1)["gpu"]},
        )


@dataclass(frozen=True)
class Table:
    """Print all results, seed by seed, as Markdown."""

    results: Path = FOLDER
    """Folder of the results."""

    def run(self) -> None:
        """Run the command."""
        print(f"| seed | training until {ASKED:.0%} of the counts | in all | count accuracy | on |")
        print("| --- | --- | --- | --- | --- |")
        for result in read_results(self.results):
            print(row(result))


def row(result: dict[str, Any]) -> str:
    """Return a result's row of the table."""
    evaluations = [e for e in result["evaluations"] if e["split"] == "test"]
    reached = [e["seconds"] for e in evaluations if e["count_accuracy"] >= ASKED]
    first = f"{reached[0]:.1f} s" if reached else "not reached"
    last = evaluations[-1]
    accuracy = f"{last['count_accuracy']:.2%}"
    return (
        f"| {result['seed']} | {first} | {last['seconds']:.1f} s | {accuracy} | {result['gpu']} |"
    )


if __name__ == "__main__":
    tyro.cli(Run | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
