"""What do the codes know?

Trains the preset, without labels, once per data set and seed, and reads the objects' classes from
z_what and from the same windows' pixels: by linear probes, fitted on objects found in the first
10,000 training scenes, and by k-means. Test split; nothing is chosen by it.

    python benchmarks/codes.py run --data multi-mnist digits sprites --seeds 0-2
    python benchmarks/codes.py table

Results: ``benchmarks/results/codes/<data>-<seed>.json``.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from runs import RESULTS, Task, parse_seeds, read_results, run_all

FOLDER = RESULTS / "codes"
DATA = ("multi-mnist", "digits", "sprites")
NAMES = {"z_what": "z_what", "pixels": "pixels", "pca": "pixels' principal components"}


@dataclass(frozen=True)
class Run:
    """Train and probe for every data set and seed that has no result yet."""

    data: tuple[str, ...] = DATA
    """Data sets: multi-mnist, digits, sprites."""
    seeds: str = "0-2"
    """Seeds, such as 0-2 or 3,5,8."""
    jobs: int = 2
    """Runs side by side; they share the cores."""
    work: Path = Path("runs/codes")
    """Folder of the runs."""

    def run(self) -> None:
        """Run the command."""
        run_all([self._task(d, s) for s in parse_seeds(self.seeds) for d in self.data], self.jobs)

    def _task(self, data: str, seed: int) -> Task:
        return Task(
            options=f"--data {data} --seed {seed}",
            run=self.work / f"{data}-{seed}",
            result=FOLDER / f"{data}-{seed}.json",
            labels={"data": data, "seed": seed},
            measures={"codes": ""},
            judge="codes",
        )


@dataclass(frozen=True)
class Table:
    """Print the tables of all results as Markdown, every seed's accuracy in them."""

    def run(self) -> None:
        """Run the command."""
        results = sorted(read_results(FOLDER), key=lambda result: result["seed"])
        for data in DATA:
            chosen = [r["measures"]["codes"] for r in results if r["data"] == data]
            if chosen:
                print(table(data, chosen))


def table(data: str, codes: list[dict[str, Any]]) -> str:
    """Return a data set's figures, one row for each description of the objects."""
    tested, found, true = (sum(c[f"num_{k}"] for c in codes) for k in ("tested", "found", "true"))
    chance = statistics.mean(c["chance"] for c in codes)
    lines = [
        f"**{data}**: {tested / found:.2%} of the found objects match a labeled one, "
        f"{tested / true:.2%} of the labeled ones; {codes[0]['num_clusters']} clusters; "
        f"the most frequent class alone: {chance:.2%}.",
        "",
        "| what is read | numbers | accuracy of a linear probe, every seed | standard error, each "
        "| purity | NMI | Rand |",
        f"|{' --- |' * 7}",
    ]
    for name, text in NAMES.items():
        rows = [c["features"][name] for c in codes]
        accuracies = ", ".join(f"{row['accuracy']:.2%}" for row in rows)
        error = math.sqrt(statistics.mean(row["standard_error"] ** 2 for row in rows))
        clusters = " | ".join(
            f"{statistics.mean(row[figure] for row in rows):.3f}"
            for figure in ("purity", "mutual_information", "rand_index")
        )
        lines.append(f"| {text} | {rows[0]['size']} | {accuracies} | {error:.2%} | {clusters} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    tyro.cli(Run | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
