"""How fast is a training step, and inference, beside Pyro's tutorial?

    air benchmark throughput                       measure, and print the table
    air benchmark throughput --table               print the table of the last result
    air benchmark throughput --compile             with compiled cases as well
    air benchmark throughput --device cuda         on a GPU

Every case has a process of its own, with the allocator as its users have it, and all take turns, a
few steps each: what slows the machine slows all of them. `exact` and `reference` have the sizes of
the tutorial's published command; `fast` is the preset, with its composites. The reference runs as a
user of Pyro's example runs it, and set up as `air` sets its process up. Speed is compared at equal
batch; what a larger batch and smaller networks add is told apart. The matrix products of a step are
also timed alone, at their shapes: what the step's arithmetic costs here.

Result: ``benchmarks/results/throughput.json``, on a GPU ``throughput-cuda.json``.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
import tyro
from configs import CONFIGS, LEARNED, SETTLED, SIZES
from reference import CANVAS, Reference
from runs import RESULTS, machine, read_result, result_path, write_result
from torch.utils._python_dispatch import TorchDispatchMode

from attend_infer_repeat import AIR, TrainConfig, load_dataset
from attend_infer_repeat.arrays import as_images
from attend_infer_repeat.cli.process import tune_process
from attend_infer_repeat.config import FAST
from attend_infer_repeat.objectives import OBJECTIVES, Execution
from attend_infer_repeat.training.averaging import ExponentialMovingAverage
from attend_infer_repeat.training.devices import find_device

REFERENCE_BATCH = 64
WARM_UP = 6  # calls; the losses are compiled in the first of them
INFERRED = 4096  # images in a call of infer
EPOCH = 60_000  # images


@dataclass(frozen=True)
class Case:
    """Something to time: training steps, or inference, of the reference or of a config."""

    config: str
    batch_size: int
    infers: bool = False
    execution: Execution = "plain"
    tuned: bool = True  # the process is set up as `air` sets it up

    @property
    def name(self) -> str:
        """What the table calls it."""
        words = [f"infer, sizes of {self.config}" if self.infers else self.config]
        words += [f"batch {self.batch_size}"] * (not self.infers)
        words += [self.execution] * (self.execution != "plain")
        words += ["set up as ours"] * (self.config == "reference" and self.tuned)
        return ", ".join(words)


@dataclass(frozen=True)
class Throughput:
    """Measure the throughput of training and inference beside the reference."""

    threads: int = os.cpu_count() or 1
    """Threads on the CPU."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda."""
    rounds: int = 15
    """Turns of each case; the median of their times counts."""
    steps: int = 8
    """Steps of each case in a turn."""
    compile: bool = False
    """Measure the compiled cases, too."""
    results: Path = RESULTS
    """Folder of the result."""
    table: bool = False
    """Only print the table of the last result."""

    def run(self) -> None:
        """Run the command."""
        device = device_type(self.device, self.table)
        path = result_path("throughput", device, self.results)
        if not self.table:
            write_result(path, self.measure(device))
        print_table(read_result(path))

    def measure(self, device: str) -> dict[str, Any]:
        """Return the result."""
        workers = {}
        for case in self.cases(device):
            workers[case] = Worker(case, device, self.threads)
            if device == "cpu":  # one at a time, since they would slow each other
                workers[case].wait()
        if device != "cpu":
            for worker in workers.values():
                worker.wait()
        times: dict[Case, list[float]] = {case: [] for case in workers}
        for turn in range(self.rounds + 1):
            for case, worker in workers.items():
                seconds = worker.ask("time", 1 if case.infers else self.steps)
                if turn:  # the first warms up
                    times[case].append(seconds / (INFERRED if case.infers else case.batch_size))
            print(f"round {turn} of {self.rounds}", flush=True)
        arithmetic = {
            case.name: worker.ask("arithmetic", self.rounds)
            for case, worker in workers.items()
            if case.config in ("exact", "fast") and not case.infers and case.execution == "plain"
        }
        peaks = {case: worker.ask("peak", 0) for case, worker in workers.items()}
        for worker in workers.values():
            worker.end()
        return {
            "command": f"air benchmark throughput --threads {self.threads} --device {device} "
            f"--rounds {self.rounds} --steps {self.steps}" + " --compile" * self.compile,
            "machine": machine(self.threads),
            "device": device,
            "cases": {
                case.name: {
                    "batch_size": case.batch_size,
                    "images_per_second": 1 / statistics.median(values),
                    "ms_per_batch": 1e3 * case.batch_size * statistics.median(values),
                    "ms_per_batch_quartiles": [
                        1e3 * case.batch_size * q for q in statistics.quantiles(values, n=4)[::2]
                    ],
                    "peak_memory_mib": peaks[case],
                }
                for case, values in times.items()
            },
            "arithmetic": arithmetic,
        }

    def cases(self, device: str) -> list[Case]:
        """Return what is measured."""
        small, large = REFERENCE_BATCH, FAST.optimizer.batch_size
        cases = [
            *(Case("reference", b, tuned=t) for b in (small, large) for t in (False, True)),
            Case("tutorial", small),
            Case("exact", small),
            Case("exact", large),
            Case("fast", small),
            Case("fast", large),
            *[Case("exact", 512)] * (device == "cuda"),
        ]
        others: list[Execution] = ["recorded"] * (device == "cuda") + ["compiled"] * self.compile
        ours = [case for case in cases if case.config in ("exact", "fast")]
        cases += [replace(case, execution=execution) for execution in others for case in ours]
        return [*cases, Case("exact", 256, infers=True), Case("fast", 256, infers=True)]


class Worker:
    """A process that does a case's steps when asked to."""

    def __init__(self, case: Case, device: str, threads: int) -> None:
        context = mp.get_context("spawn")
        self.connection, far_end = context.Pipe()
        arguments = far_end, case, device, threads
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()

    def wait(self) -> None:
        """Wait until it is ready."""
        self.connection.recv()

    def ask(self, question: str, number: int) -> Any:
        """Return its answer: seconds of a step, the arithmetic of one, or peak memory in MiB."""
        self.connection.send((question, number))
        return self.connection.recv()

    def end(self) -> None:
        """End the process."""
        self.connection.send(("end", 0))
        self.process.join()


def serve(connection: Connection, case: Case, device_name: str, threads: int) -> None:
    """Answer questions about a case until the process is ended."""
    torch.set_num_threads(threads)
    device = find_device(device_name)
    images = load_dataset("multi-mnist").images
    is_reference = case.config == "reference"
    if case.tuned:  # as `air` does
        tune_process(is_reference or not CONFIGS[case.config].model.count.unbounded)
    if is_reference:
        floats = torch.as_tensor(images, device=device).float() / 255
        call: Callable[[], object] = Reference(floats, case.batch_size).step
    else:
        call, air = trainer(replace(CONFIGS[case.config], batch_size=case.batch_size), images,
                            device, case.execution)  # fmt: skip
        if case.infers:
            some = images[:INFERRED]
            call = lambda: air.infer(some, batch_size=case.batch_size)  # noqa: E731
    timed(call, WARM_UP, device)
    connection.send("ready")
    while True:
        question, number = connection.recv()
        if question == "time":
            connection.send(timed(call, number, device))
        elif question == "arithmetic":
            connection.send(arithmetic(call, device, number))
        elif question == "peak":
            connection.send(peak_memory(device))
        else:
            return


def trainer(
    config: TrainConfig, images: np.ndarray, device: torch.device, execution: Execution = "plain"
) -> tuple[Callable[[], object], AIR]:
    """Return a function that takes a training step, the running mean included, and its model."""
    torch.manual_seed(0)
    air = AIR(config.model).to(device)
    pixels = as_images(images, config.model).to(device)
    objective = OBJECTIVES[config.estimator.objective](air, pixels, config, execution=execution)
    mean = ExponentialMovingAverage(air, config.optimizer.ema_decay)
    taken = 0

    def step() -> None:
        nonlocal taken
        objective.step(taken, 1.0)
        mean.update(taken)
        taken += 1

    if config.composites.composite_weight:
        for _ in range(LEARNED):
            step()
        taken = SETTLED
    return step, air


def timed(call: Callable[[], object], steps: int, device: torch.device) -> float:
    """Return the mean seconds of a call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def device_type(name: str, table: bool) -> str:
    """Return ``cpu`` or ``cuda``; the table of a GPU's result is printed without one, too."""
    return "cuda" if table and name.startswith("cuda") else find_device(name).type


def peak_memory(device: torch.device) -> float:
    """Return the most memory that this process has held so far, in MiB: the GPU's if it has one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def in_new_process(measure: Callable[..., None], *arguments: object) -> Any:
    """Return what ``measure(connection, *arguments)`` sends from a process of its own."""
    context = mp.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=measure, args=(there, *arguments))
    process.start()
    answer = here.recv()
    process.join()
    return answer


class Products(TorchDispatchMode):
    """Notes the shapes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[torch.Size, torch.Size]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if name.startswith(("aten.mm.", "aten.bmm.", "aten.addmm.")):
            first, second = args[1:3] if "addmm" in name else args[:2]
            self.shapes.append((first.shape, second.shape))
        return func(*args, **(kwargs or {}))


def arithmetic(step: Callable[[], object], device: torch.device, rounds: int) -> dict[str, Any]:
    """Count a step's matrix products and time them, and one large product, by themselves."""
    with Products() as products:
        step()
    pairs = [(torch.randn(a, device=device), torch.randn(b, device=device))
             for a, b in products.shapes]  # fmt: skip
    flops = sum(2 * a.numel() * b.shape[-1] for a, b in pairs)
    large = torch.randn(2048, 2048, device=device)

    def all_products() -> None:
        for first, second in pairs:
            torch.matmul(first, second)

    result: dict[str, Any] = {"flops": flops, "num_products": len(pairs)}
    tuned = torch.get_float32_matmul_precision()
    for library, precision in (("default", "highest"), ("tuned", tuned)):
        torch.set_float32_matmul_precision(precision)
        timed(all_products, 3, device)
        alone = statistics.median(timed(all_products, 1, device) for _ in range(rounds))
        one = statistics.median(timed(lambda: large @ large, 1, device) for _ in range(rounds))
        result[library] = {
            "products_alone_ms": 1e3 * alone,
            "products_alone_gflops_per_s": flops / alone / 1e9,
            "large_product_gflops_per_s": 2 * 2048**3 / one / 1e9,
        }
    return result


def reference(batch_size: int, tuned: bool) -> str:
    """Return the name of the reference's case."""
    return Case("reference", batch_size, tuned=tuned).name


def speed(cases: dict[str, Any], name: str) -> float:
    """Return a case's images per second."""
    return float(cases[name]["images_per_second"])


def summary(cases: dict[str, Any]) -> str:
    """Say what the objective, the batch and the sizes make of the speed, one after the other."""
    small, large = REFERENCE_BATCH, FAST.optimizer.batch_size
    ours = Case("exact", small), Case("exact", large), Case("fast", large)
    recorded = [replace(case, execution="recorded") for case in ours]  # as a GPU's users have it
    ours = recorded if recorded[0].name in cases else ours
    exact, wide, fast = (case.name for case in ours)
    equal = [speed(cases, exact) / speed(cases, reference(small, t)) for t in (False, True)]
    return (
        f"At equal batch and sizes, *exact* trains on {equal[0]:.1f} times as many images a second "
        f"as the reference as a user runs it, {equal[1]:.1f} times as many as the reference set up "
        f"as ours. Batches of {large} in place of {small} add a factor of "
        f"{speed(cases, wide) / speed(cases, exact):.1f}, the sizes of *fast* and its composites "
        f"one of {speed(cases, fast) / speed(cases, wide):.1f}: together "
        f"{speed(cases, fast) / speed(cases, reference(small, False)):.0f} and "
        f"{speed(cases, fast) / speed(cases, reference(small, True)):.0f}."
    )


def print_table(result: dict[str, Any]) -> None:
    """Print a result as Markdown."""
    hardware, cases = result["machine"], result["cases"]
    print(f"{hardware['gpu'] if result['device'] == 'cuda' else hardware['cpu']}, "
          f"{hardware['threads']} threads of {hardware['cores']} cores, "
          f"{hardware['vector_instructions']}; "
          f"torch {hardware['versions']['torch']}\n")  # fmt: skip
    print("| case | ms per batch (quartiles) | images/s | beside the reference, same batch "
          "| beside it set up as ours | epoch of 60,000 | peak memory |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, case in cases.items():
        low, high = case["ms_per_batch_quartiles"]
        ratios = ["-", "-"] if name.startswith("infer") else [
            f"{speed(cases, name) / speed(cases, reference(case['batch_size'], tuned)):.1f} x"
            for tuned in (False, True)
            if reference(case["batch_size"], tuned) in cases
        ] or ["-", "-"]  # fmt: skip
        print(f"| {name} | {case['ms_per_batch']:.1f} ({low:.1f}-{high:.1f}) | "
              f"{case['images_per_second']:,.0f} | {' | '.join(ratios)} | "
              f"{EPOCH / case['images_per_second']:.1f} s | "
              f"{case['peak_memory_mib']:.0f} MiB |")  # fmt: skip
    print("\n" + summary(cases))
    print("\n| a step of | products | GFLOP | products by | alone | rate | share of the step "
          "| rate of 2048^3 |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, costs in result["arithmetic"].items():
        for library, label in (("default", "PyTorch's default"), ("tuned", "oneDNN, as in `air`")):
            times = costs[library]
            share = times["products_alone_ms"] / cases[name]["ms_per_batch"]
            print(f"| {name} | {costs['num_products']} | {costs['flops'] / 1e9:.2f} | {label} | "
                  f"{times['products_alone_ms']:.1f} ms | "
                  f"{times['products_alone_gflops_per_s']:.0f} GFLOP/s | {share:.0%} | "
                  f"{times['large_product_gflops_per_s']:.0f} GFLOP/s |")  # fmt: skip


if __name__ == "__main__":
    assert SIZES.canvas_size == (CANVAS, CANVAS)
    tyro.cli(Throughput, description=__doc__, prog="air benchmark throughput").run()
