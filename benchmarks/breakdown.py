"""Where does the time of a training step go?

    air benchmark breakdown                                    measure, and print the table
    air benchmark breakdown --table                            print the tables of all results
    PYTHONPATH=<checkout> python benchmarks/breakdown.py --name before    of an older version

A step of the exact objective at the tutorial's sizes, and one of the fast preset, with PyTorch's
profiler: the time inside each kind of operation, and the rest: Python and dispatch. The profiler
itself slows small operations, so that shares count here; the milliseconds are measured without it.

Result: ``benchmarks/results/breakdown/<name>.json``.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import tyro
from runs import RESULTS, machine, read_result, write_result
from torch.profiler import ProfilerActivity, profile

from attend_infer_repeat import AIR, TrainConfig, load_dataset
from attend_infer_repeat.arrays import as_images
from attend_infer_repeat.cli.process import tune_process
from attend_infer_repeat.config import FAST, TUTORIAL
from attend_infer_repeat.objectives import OBJECTIVES
from attend_infer_repeat.training.averaging import ExponentialMovingAverage

FOLDER = RESULTS / "breakdown"
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "grid_sample": ("aten::grid_sampler_2d", "aten::grid_sampler_2d_backward"),
    "optimizer, running mean": ("aten::_fused_adam_", "Optimizer.", "aten::lerp_"),
    "copies": ("aten::cat", "aten::copy_", "aten::fill_", "aten::index", "aten::_to_copy"),
    "other operations": ("aten::",),
}
REST = "Python, dispatch, autograd"


@dataclass(frozen=True)
class Breakdown:
    """Measure where the time of a training step goes."""

    name: str = "now"
    """Name of the result."""
    threads: int = os.cpu_count() or 1
    """Threads on the CPU."""
    steps: int = 20
    """Steps that are profiled."""
    table: bool = False
    """Only print the tables of all results."""

    def run(self) -> None:
        """Run the command."""
        if not self.table:
            torch.set_num_threads(self.threads)
            write_result(FOLDER / f"{self.name}.json", self.measure())
        print_table({path.stem: read_result(path) for path in FOLDER.glob("*.json")})

    def measure(self) -> dict[str, Any]:
        """Return the result."""
        tune_process()  # as `air` does
        sizes = replace(
            TUTORIAL.model,
            predict_net=(200,),
            decoder_output_use_sigmoid=True,
            decoder_output_bias=-2.0,
        )
        plain = replace(FAST, batch_size=64, model=sizes, explore=0.0, composite_weight=0.0)
        configs = {"exact": replace(plain, ema_decay=0.0), "fast": FAST}
        return {
            "command": f"python benchmarks/breakdown.py --name {self.name}",
            "machine": machine(self.threads),
            "cases": {name: self.breakdown(config) for name, config in configs.items()},
        }

    def breakdown(self, config: TrainConfig) -> dict[str, Any]:
        """Return the milliseconds of a step, and what share each kind of operation has of it."""
        step = trainer(config)
        for _ in range(60):
            step()
        unprofiled = statistics.median(mean_seconds(step, 8) for _ in range(9))
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            seconds = mean_seconds(step, self.steps)
        milliseconds = dict.fromkeys(KINDS, 0.0)
        for event in profiled.key_averages():
            kind = next((k for k, names in KINDS.items() if event.key.startswith(names)), None)
            if kind is not None:
                milliseconds[kind] += event.self_cpu_time_total / self.steps / 1e3
        shares = {kind: value / seconds / 1e3 for kind, value in milliseconds.items()}
        return {
            "batch_size": config.optimizer.batch_size,
            "ms_per_step": 1e3 * unprofiled,
            "shares": shares | {REST: 1 - sum(shares.values())},
        }


def trainer(config: TrainConfig) -> Callable[[], None]:
    """Return a function that takes a step; of what every version of the package offers."""
    torch.manual_seed(0)
    air = AIR(config.model)
    pixels = as_images(load_dataset("multi-mnist").images, config.model)
    objective = OBJECTIVES["exact"](air, pixels, config)
    mean = ExponentialMovingAverage(air, config.optimizer.ema_decay)
    taken = 1_000

    def step() -> None:
        nonlocal taken
        objective.step(taken, 1.0)
        mean.update(taken)
        taken += 1

    return step


def mean_seconds(step: Callable[[], None], num: int) -> float:
    began = time.perf_counter()
    for _ in range(num):
        step()
    return (time.perf_counter() - began) / num


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """Print all results as Markdown."""
    cases = [(name, case) for name in sorted(results) for case in ("exact", "fast")]
    found = [results[name]["cases"][case] for name, case in cases]
    names = [f"{case}, {name}" for name, case in cases]
    commits = {name: result["machine"]["versions"]["commit"] for name, result in results.items()}
    print(f"| share of a step ({', '.join(f'{n}: {c}' for n, c in sorted(commits.items()))}) | "
          f"{' | '.join(names)} |")  # fmt: skip
    print(f"| --- |{' --- |' * len(found)}")
    for kind in (*KINDS, REST):
        print(f"| {kind} | {' | '.join(format(case['shares'][kind], '.0%') for case in found)} |")
    per_64 = [64 * case["ms_per_step"] / case["batch_size"] for case in found]
    print(f"| images in a step | {' | '.join(str(case['batch_size']) for case in found)} |")
    print(f"| ms a step | {' | '.join(format(case['ms_per_step'], '.1f') for case in found)} |")
    print(f"| ms per 64 images | {' | '.join(format(ms, '.1f') for ms in per_64)} |")


if __name__ == "__main__":
    tyro.cli(Breakdown, description=__doc__, prog="air benchmark breakdown").run()
