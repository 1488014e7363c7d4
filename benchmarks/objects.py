"""How do time and memory grow with the number of objects in an image?

    air benchmark objects            measure, and print the table
    air benchmark objects --table    print the table of the last result

The preset many, untrained, whose windows cover 19 pixels of any canvas. All images of a point have
the same number of objects, and a rollout takes as many steps with each: a step of training (ELBO,
its gradient, Adam) and inference (means, boxes, the scene drawn again). Every point has a process
of its own, whose peak memory counts:

    objects     1 to 24 on 128 x 128 pixels. A straight line through the points (least squares)
                shows what an object costs, and how far the points lie from it.
    crowded     1 to 100 on 512 x 512 pixels, likewise; and 100 of one picture on one core.
    canvases    50 x 50 to 512 x 512 pixels: what each of ten more objects costs there.

And what the bound is worth: a step of the preset fast on multi-mnist, trained for a while and with
its copy-paste composites, beside the same without a bound: each in a process of its own, in turns.

Result: ``benchmarks/results/objects.json``, on a GPU ``objects-cuda.json``.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from runs import RESULTS, machine, read_result, result_path, write_result
from throughput import Case, Worker, device_type, in_new_process, peak_memory, timed

from attend_infer_repeat import AIR
from attend_infer_repeat.cli.process import tune_process
from attend_infer_repeat.config import FAST, for_images, get_preset
from attend_infer_repeat.rollout.terms import count_terms
from attend_infer_repeat.training.devices import find_device
from attend_infer_repeat.training.session import RunOptions

COUNTS = (1, 2, 4, 8, 12, 16, 20, 24)
CANVAS, BATCH = 128, 64
CROWDS = (1, 2, 5, 10, 20, 50, 100)
CANVASES = (50, 75, 100, 150, 200, 300, 400, 512)
LARGE, FEW = 512, 8  # canvas and batch of crowds, and of images on all canvases
MORE = 10  # objects, whose part is set beside the canvas's
WINDOW = 19.2  # pixels, as the preset's on its canvas
PAIRS = 41  # turns of a bounded and an unbounded model
QUANTITIES = {
    "train_ms": "training, ms an image",
    "train_mib": "peak memory of training, MiB an image",
    "infer_ms": "inference, ms an image",
    "infer_mib": "peak memory of inference, MiB an image",
}


class Size(NamedTuple):
    """What a point measures."""

    canvas: int  # pixels along each side
    count: int  # objects of each image
    batch: int  # images


@dataclass(frozen=True)
class Objects:
    """Measure the time and memory of an image against the number of its objects."""

    threads: int = os.cpu_count() or 1
    """Threads on the CPU."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda."""
    rounds: int = 7
    """Times each point is timed; the median counts."""
    counts: tuple[int, ...] = COUNTS
    """Numbers of objects."""
    canvases: bool = True
    """Measure crowds, and objects on all canvases, too."""
    results: Path = RESULTS
    """Folder of the result."""
    table: bool = False
    """Only print the table of the last result."""

    def run(self) -> None:
        """Run the command."""
        device = device_type(self.device, self.table)
        path = result_path("objects", device, self.results)
        if not self.table:
            write_result(path, self.measure(device))
        print_table(read_result(path))

    def measure(self, device: str) -> dict[str, Any]:
        """Return the result."""
        points = [self._point(Size(CANVAS, count, BATCH), device) for count in self.counts]
        further = self._measure_canvases(device) if self.canvases else {}
        batch, execution = FAST.optimizer.batch_size, RunOptions().execution(find_device(device))
        pair = Case("fast", batch, execution=execution), Case("fast, unbounded", batch)
        return further | {
            "command": f"air benchmark objects --threads {self.threads} --device {device} "
            f"--rounds {self.rounds} --counts {' '.join(map(str, self.counts))}"
            f"{'' if self.canvases else ' --no-canvases'}",
            "machine": machine(self.threads),
            "device": device,
            "canvas": CANVAS,
            "batch": BATCH,
            "points": points,
            "bounded_and_unbounded": beside(pair, device, self.threads),
        }

    def _measure_canvases(self, device: str) -> dict[str, Any]:
        """Return crowds on a large canvas, and small groups on all canvases."""
        crowds = [self._point(Size(LARGE, count, FEW), device) for count in CROWDS]
        canvases = [
            self._point(Size(canvas, count, FEW), device)
            for canvas in CANVASES
            for count in (1, 1 + MORE)
        ]
        picture = Size(LARGE, CROWDS[-1], 1)
        seconds, _, _ = in_new_process(measure_point, "infer", picture, device, 1, self.rounds)
        return {"crowds": crowds, "canvases": canvases, "picture_seconds": seconds}

    def _point(self, size: Size, device: str) -> dict[str, Any]:
        """Return what an image of a size costs."""
        point: dict[str, Any] = {"canvas": size.canvas, "objects": size.count}
        for kind in ("train", "infer"):
            seconds, memory, before = in_new_process(
                measure_point, kind, size, device, self.threads, self.rounds
            )
            point[f"{kind}_ms"] = 1e3 * seconds / size.batch
            point[f"{kind}_mib"] = (memory - before) / size.batch
        print(point, flush=True)
        return point


def beside(cases: Sequence[Case], device: str, threads: int) -> dict[str, Any]:
    """Return the ms of a step of two cases that take turns, and the ratio of the second's."""
    workers = []
    for case in cases:
        workers.append(Worker(case, device, threads))
        workers[-1].wait()  # one at a time, since they would slow each other
    steps = FAST.composites.composite_every
    pairs = [[1e3 * worker.ask("time", steps) for worker in workers] for _ in range(PAIRS)]
    for worker in workers:
        worker.end()
    ratios = [second / first for first, second in pairs]
    medians = [statistics.median(times) for times in zip(*pairs, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "ms_per_step": medians,
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [low, high],
        "rounds": PAIRS,
    }


def measure_point(
    there: Connection, kind: str, size: Size, device_name: str, threads: int, rounds: int
) -> None:
    """Send the seconds of a batch, and the peak memory of the process, in MiB, and before it."""
    torch.set_num_threads(threads)
    tune_process(shapes_repeat=False)
    device = find_device(device_name)
    config = for_images(get_preset("many"), (size.canvas, size.canvas), 1).model
    scale = size.canvas / WINDOW
    air = AIR(replace(config, scale_prior_mean=scale, step_limit=CROWDS[-1])).to(device)
    images = torch.rand(size.batch, 1, size.canvas, size.canvas, device=device)
    counts = torch.full((size.batch,), size.count, device=device)
    optimizer = torch.optim.Adam(air.parameters(), fused=True)

    def train() -> None:
        optimizer.zero_grad()
        rollout = air.rollout(images, counts=counts, roulette=True)
        (-count_terms(air.model, rollout).elbo.mean()).backward()
        optimizer.step()

    @torch.no_grad()
    def infer() -> None:
        air.scenes_along(images, air.rollout(images, sample=False, counts=counts))

    before = peak_memory(device)
    step = train if kind == "train" else infer
    timed(step, 2, device)
    seconds = statistics.median(timed(step, 2, device) for _ in range(rounds))
    there.send((seconds, peak_memory(device), before))


def print_table(result: dict[str, Any]) -> None:
    """Print a result as Markdown."""
    hardware = result["machine"]
    print(f"{hardware['gpu'] if result['device'] == 'cuda' else hardware['cpu']}, "
          f"{hardware['threads']} threads of {hardware['cores']} cores; "
          f"torch {hardware['versions']['torch']}\n")  # fmt: skip
    print_line("objects", result["points"])
    if "crowds" in result:
        print_line(f"objects on {LARGE} x {LARGE}", result["crowds"])
        where = " on one core" * (result["device"] == "cpu")
        print(f"\nA picture of {LARGE} x {LARGE} pixels with {CROWDS[-1]} objects is inferred in "
              f"{result['picture_seconds']:.2f} s{where}.")  # fmt: skip
        print_canvases(result["canvases"])
    pair = result["bounded_and_unbounded"]
    (bounded, unbounded), (low, high) = pair["ms_per_step"], pair["ratio_quartiles"]
    print("\n| fast, ms a step | fast, unbounded | ratio (quartiles) |")
    print("| --- | --- | --- |")
    print(f"| {bounded:.1f} | {unbounded:.1f} | {pair['ratio']:.2f} ({low:.2f}-{high:.2f}) |")


def print_line(head: str, points: list[dict[str, Any]]) -> None:
    """Print points against the number of objects, and what each object costs along a line."""
    print(f"\n| {head} | {' | '.join(QUANTITIES.values())} |")
    print(f"| --- |{' --- |' * len(QUANTITIES)}")
    for point in points:
        cells = [f"{point[name]:.3g}" for name in QUANTITIES]
        print(f"| {point['objects']} | {' | '.join(cells)} |")
    counts = [point["objects"] for point in points]
    lines = {name: straight_line(counts, [p[name] for p in points]) for name in QUANTITIES}
    print(f"| each object | {' | '.join(f'{slope:.3g}' for slope, _, _ in lines.values())} |")
    worst = max(distance for _, _, distance in lines.values())
    print(f"\nNo point lies further than {worst:.0%} of the largest from a straight line.")


def print_canvases(points: list[dict[str, Any]]) -> None:
    """Print what one object and each further one cost on every canvas."""
    print(f"\n| canvas | one object: {' | '.join(QUANTITIES.values())} | "
          f"each of {MORE} more: {' | '.join(QUANTITIES.values())} |")  # fmt: skip
    print(f"| --- |{' --- |' * 2 * len(QUANTITIES)}")
    for one, more in zip(points[::2], points[1::2], strict=True):
        cells = [f"{one[name]:.3g}" for name in QUANTITIES]
        cells += [f"{(more[name] - one[name]) / MORE:.3g}" for name in QUANTITIES]
        print(f"| {one['canvas']} x {one['canvas']} | {' | '.join(cells)} |")


def straight_line(counts: list[int], values: list[float]) -> tuple[float, float, float]:
    """Return slope and intercept, and the largest distance, as a share of the largest value."""
    slope, intercept = np.polyfit(counts, values, 1)
    distance = np.abs(np.polyval((slope, intercept), counts) - values).max() / max(values)
    return float(slope), float(intercept), float(distance)


if __name__ == "__main__":
    tyro.cli(Objects, description=__doc__, prog="air benchmark objects").run()
