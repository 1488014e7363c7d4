"""How do time and memory of a training step grow with batch, canvas and steps?

    air benchmark scaling            measure, and print the tables
    air benchmark scaling --table    print the tables of the last result

A step of the exact objective, at the tutorial's sizes but for the one that varies, on random
images, and the same of the fast preset with its copy-paste composites. Every point has a process
of its own, whose peak memory counts. Growth is how much more a step costs than at the point before,
divided by how much larger that size is: linear is 1, above 1 is super-linear.

Result: ``benchmarks/results/scaling.json``, on a GPU ``scaling-cuda.json``.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
import tyro
from configs import CONFIGS
from runs import machine, read_result, result_path, write_result
from throughput import device_type, in_new_process, peak_memory, timed, trainer

from attend_infer_repeat import TrainConfig
from attend_infer_repeat.cli.process import tune_process
from attend_infer_repeat.config import for_images
from attend_infer_repeat.training.devices import find_device
from attend_infer_repeat.training.session import RunOptions

SIZES = {
    "batch": (16, 32, 64, 128, 256, 512, 1024),
    "canvas": (32, 48, 64, 96, 128),
    "steps": (1, 2, 3, 6, 12),
}
NUM_IMAGES = 2_048


@dataclass(frozen=True)
class Scaling:
    """Measure the time and memory of a training step against its sizes."""

    threads: int = os.cpu_count() or 1
    """Threads on the CPU."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda."""
    rounds: int = 7
    """Times each point is timed; the median counts."""
    table: bool = False
    """Only print the tables of the last result."""

    def run(self) -> None:
        """Run the command."""
        device = device_type(self.device, self.table)
        path = result_path("scaling", device)
        if not self.table:
            write_result(path, self.measure(device))
        print_tables(read_result(path))

    def measure(self, device: str) -> dict[str, Any]:
        """Return the result."""
        points = []
        for name in ("exact", "fast"):
            for size, values in SIZES.items():
                for value in values:
                    config = at_size(CONFIGS[name], size, value)
                    seconds, memory = in_new_process(
                        measure_point, config, device, self.threads, self.rounds
                    )
                    point = {"config": name, "size": size, "value": value}
                    point |= {"ms_per_step": 1e3 * seconds, "peak_memory_mib": memory}
                    print(point, flush=True)
                    points.append(point)
        return {
            "command": f"air benchmark scaling --threads {self.threads} --device {device}",
            "machine": machine(self.threads),
            "device": device,
            "points": points,
        }


def at_size(config: TrainConfig, size: str, value: int) -> TrainConfig:
    """Return the config with one size replaced."""
    if size == "batch":
        return replace(config, batch_size=value)
    if size == "canvas":
        return for_images(config, (value, value), 1)
    return replace(config, model=replace(config.model, model_steps=value))


def measure_point(
    there: Connection, config: TrainConfig, device_name: str, threads: int, rounds: int
) -> None:
    """Send the seconds of a step and the peak memory in MiB."""
    torch.set_num_threads(threads)
    tune_process()
    device = find_device(device_name)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (NUM_IMAGES, *config.model.canvas_size), dtype=np.uint8)
    step, _ = trainer(config, images, device, RunOptions().execution(device))
    timed(step, 4, device)
    seconds = statistics.median(timed(step, 4, device) for _ in range(rounds))
    there.send((seconds, peak_memory(device)))


def print_tables(result: dict[str, Any]) -> None:
    """Print a result as Markdown."""
    hardware, largest = result["machine"], 0.0
    print(f"{hardware['gpu'] if result['device'] == 'cuda' else hardware['cpu']}, "
          f"{hardware['threads']} threads of {hardware['cores']} cores; "
          f"torch {hardware['versions']['torch']}")  # fmt: skip
    for size in SIZES:
        print(f"\n| {size} | exact, ms | growth | images/s | peak memory | fast, ms | growth | "
              "images/s | peak memory |")  # fmt: skip
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        rows = {
            name: [p for p in result["points"] if (p["config"], p["size"]) == (name, size)]
            for name in ("exact", "fast")
        }
        for i, value in enumerate(SIZES[size]):
            cells = [f"{value} x {value}" if size == "canvas" else f"{value}"]
            for name, points in rows.items():
                point, growth = points[i], "-"
                if i:
                    # A canvas's size is its number of pixels.
                    ratio = (value / SIZES[size][i - 1]) ** (2 if size == "canvas" else 1)
                    factor = point["ms_per_step"] / points[i - 1]["ms_per_step"] / ratio
                    growth, largest = f"{factor:.2f}", max(largest, factor)
                batch = value if size == "batch" else CONFIGS[name].optimizer.batch_size
                cells += [f"{point['ms_per_step']:.1f}", growth,
                          f"{1e3 * batch / point['ms_per_step']:,.0f}",
                          f"{point['peak_memory_mib']:.0f} MiB"]  # fmt: skip
            print(f"| {' | '.join(cells)} |")
    print(f"\nLargest growth: {largest:.2f}.")


if __name__ == "__main__":
    tyro.cli(Scaling, description=__doc__, prog="air benchmark scaling").run()
