"""How soon does an answer come?

    air benchmark latency            measure, and print the table
    air benchmark latency --table    print the table of the last result

Whole processes are timed from their start to their answer (the first line of `air infer`, the end
of `air --help`), with files in the system's cache; `import torch` stands beside them. Single images
are timed in a process that has answered before. Answers take as long from an untrained model.

Result: ``benchmarks/results/latency.json``.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from configs import CONFIGS
from PIL import Image
from runs import machine, read_result, result_path, write_result

from attend_infer_repeat import AIR

RESULT = result_path("latency", "cpu")
AIR_COMMAND = (sys.executable, "-m", "attend_infer_repeat.cli")


@dataclass(frozen=True)
class Latency:
    """Measure the time to the first answer, and to each one after that."""

    threads: int = os.cpu_count() or 1
    """Threads on the CPU."""
    rounds: int = 15
    """Processes of each kind; the median of their times counts."""
    table: bool = False
    """Only print the table of the last result."""

    def run(self) -> None:
        """Run the command."""
        if not self.table:
            write_result(RESULT, self.measure())
        print_table(read_result(RESULT))

    def measure(self) -> dict[str, Any]:
        """Return the result."""
        torch.set_num_threads(self.threads)
        picture = np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8)
        figures: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            Image.fromarray(picture).save(Path(folder) / "picture.png")
            models = {name: AIR(CONFIGS[name].model) for name in ("exact", "fast")}
            for name, air in models.items():
                air.save(Path(folder) / name)
            for turn in range(self.rounds + 1):
                taken = {"air --help": self.process(*AIR_COMMAND, "--help")}
                taken["python -c 'import torch'"] = self.process(
                    sys.executable, "-c", "import torch"
                )
                for name in models:
                    taken[f"air infer, one picture, sizes of {name}"] = self.process(
                        *AIR_COMMAND, "infer", f"{folder}/{name}", f"{folder}/picture.png"
                    )
                if turn:  # the first fills the system's cache
                    for name, seconds in taken.items():
                        figures.setdefault(name, []).append(seconds)
        for name, air in models.items():
            answers = [timed_answer(air, picture) for _ in range(self.rounds * 20 + 20)]
            figures[f"one more picture, sizes of {name}"] = answers[20:]
        return {
            "command": f"air benchmark latency --threads {self.threads} --rounds {self.rounds}",
            "machine": machine(self.threads),
            "seconds": {
                name: {
                    "median": statistics.median(values),
                    "p90": statistics.quantiles(values, n=10)[-1],
                    "longest": max(values),
                    "number": len(values),
                }
                for name, values in figures.items()
            },
        }

    def process(self, *command: str) -> float:
        """Return the seconds from a process's start to its first line of output, or its end."""
        began = time.perf_counter()
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": str(self.threads)},
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            if "--help" in command:
                child.stdout.read()
            seconds = time.perf_counter() - began
        assert child.returncode == 0
        return seconds


def timed_answer(air: AIR, picture: np.ndarray) -> float:
    """Return the seconds that one answer takes."""
    began = time.perf_counter()
    air.infer(picture[None])
    return time.perf_counter() - began


def print_table(result: dict[str, Any]) -> None:
    """Print a result as Markdown."""
    hardware = result["machine"]
    print(f"{hardware['cpu']}, {hardware['threads']} threads of {hardware['cores']} cores; "
          f"torch {hardware['versions']['torch']}\n")  # fmt: skip
    print("| from start to answer | median | 90% within | longest | of |")
    print("| --- | --- | --- | --- | --- |")
    for name, seconds in result["seconds"].items():
        median, p90, longest = (f"{1e3 * seconds[k]:,.1f} ms" for k in ("median", "p90", "longest"))
        print(f"| {name} | {median} | {p90} | {longest} | {seconds['number']} |")


if __name__ == "__main__":
    tyro.cli(Latency, description=__doc__, prog="air benchmark latency").run()
