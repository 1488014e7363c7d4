"""How fast is a training step, and inference, beside Pyro's tutorial?

    air benchmark throughput                       measure, and print the table
    air benchmark throughput --table               print the committed table
    air benchmark throughput --compile             with compiled cases as well
    air benchmark throughput --batch-size 512      on a GPU, if there is one

All cases take turns, a few steps each, in one process: what slows the machine slows all of them.
`exact` and `reference` have the tutorial's sizes; `fast` is the preset, with its scenes made from
scenes. The products of an `exact` step are also timed alone: what the step's arithmetic costs here.

Result: ``benchmarks/results/throughput.json``.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from reference import CANVAS, Reference
from runs import RESULTS, machine
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attend_infer_repeat import AIR, TrainConfig, load_dataset
from attend_infer_repeat.arrays import as_images
from attend_infer_repeat.averaging import RunningMean
from attend_infer_repeat.config import FAST, TUTORIAL
from attend_infer_repeat.devices import find_device
from attend_infer_repeat.objectives import OBJECTIVES

# The tutorial's published command, as far as it sets sizes.
SIZES = replace(
    TUTORIAL.model,
    predict_net=(200,),
    decoder_output_use_sigmoid=True,
    decoder_output_bias=-2.0,
    scale_prior_sd=0.2,
    z_pres_prior=0.01,
)
PLAIN = {"explore": 0.0, "composite_weight": 0.0, "ema_decay": 0.0, "learning_rate": 1e-4}
CONFIGS = {
    "tutorial": replace(TUTORIAL, model=SIZES, bl_predict_net=(200,)),
    "exact": replace(FAST, model=SIZES, **PLAIN),
    "fast": FAST,
}
SETTLED = 1_000  # a step of the preset's second half: no exploration, scenes made from scenes
LEARNED = 300  # steps after which the preset is sure of single objects, as it is most of the time
EPOCH = 60_000  # images


@dataclass(frozen=True)
class Throughput:
    """Measure the throughput of training and inference beside the reference."""

    batch_size: int = 64
    """Images in a mini-batch."""
    threads: int = os.cpu_count() or 1
    """Threads on the CPU."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda."""
    rounds: int = 15
    """Turns of each case; the median of their times counts."""
    steps: int = 5
    """Steps of each case in a turn."""
    compile: bool = False
    """Measure the compiled cases, too."""
    out: Path = RESULTS / "throughput.json"
    """Where the result goes."""
    table: bool = False
    """Only print the table of an earlier result."""

    def run(self) -> None:
        """Run the command."""
        if not self.table:
            torch.set_num_threads(self.threads)
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.write_text(json.dumps(self.measure(), indent=1) + "\n")
        print_table(json.loads(self.out.read_text()))

    def measure(self) -> dict[str, Any]:
        """Return the result."""
        device = find_device(self.device)
        images = load_dataset("multi-mnist").images
        cases = self.cases(images, device)
        times: dict[str, list[float]] = {name: [] for name in cases}
        for turn in range(self.rounds + 1):
            for name, (num_images, call) in cases.items():
                seconds = timed(call, self.steps, device) / num_images
                if turn:  # the first warms up
                    times[name].append(seconds)
            print(f"round {turn} of {self.rounds}", flush=True)
        pixels = torch.as_tensor(images[: self.batch_size], device=device)
        return {
            "command": f"air benchmark throughput --batch-size {self.batch_size} --threads "
            f"{self.threads} --device {device.type}{' --compile' * self.compile}",
            "machine": machine(),
            "device": device.type,
            "batch_size": self.batch_size,
            "cases": {
                name: {
                    "images_per_second": 1 / statistics.median(values),
                    "ms_per_batch": 1e3 * self.batch_size * statistics.median(values),
                    "ms_per_batch_quartiles": [
                        1e3 * self.batch_size * q for q in statistics.quantiles(values, n=4)[::2]
                    ],
                }
                for name, values in times.items()
            },
            "arithmetic": {
                name: arithmetic(CONFIGS[name], pixels, device, self.rounds)
                for name in ("exact", "fast")
            },
        }

    def cases(
        self, images: np.ndarray, device: torch.device
    ) -> dict[str, tuple[int, Callable[[], object]]]:
        """Return what is measured: images per call, and the call."""
        floats = torch.as_tensor(images, device=device).float() / 255
        cases: dict[str, tuple[int, Callable[[], object]]] = {
            "reference": (self.batch_size, Reference(floats, self.batch_size).step)
        }
        for name, config in CONFIGS.items():
            for compiled in (False, True) if self.compile and name != "tutorial" else (False,):
                step, air = trainer(config, images, self.batch_size, device, compiled)
                cases[name + " compiled" * compiled] = self.batch_size, step
            if name != "tutorial":
                some = images[:4096]
                cases[f"infer {name}"] = len(some), lambda air=air, some=some: air.infer(some)
        return cases


def trainer(
    config: TrainConfig,
    images: np.ndarray,
    batch_size: int,
    device: torch.device,
    compiled: bool = False,
) -> tuple[Callable[[], object], AIR]:
    """Return a function that takes a training step, the running mean included, and its model."""
    torch.manual_seed(0)
    config = replace(config, batch_size=batch_size)
    air = AIR(config.model).to(device)
    pixels = as_images(images, config.model).to(device)
    objective = OBJECTIVES[config.objective](air, pixels, config, compiled=compiled)
    mean = RunningMean(air, config.ema_decay)
    taken = 0

    def step() -> None:
        nonlocal taken
        objective.step(taken, 1.0)
        mean.update(taken)
        taken += 1

    if config.composite_weight:
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


def arithmetic(
    config: TrainConfig, pixels: Tensor, device: torch.device, rounds: int
) -> dict[str, Any]:
    """Count a step's matrix products and time them, and one large product, by themselves."""
    step, _ = trainer(config, pixels.repeat(4, 1, 1).cpu().numpy(), len(pixels), device)
    for _ in range(3):
        step()
    with Products() as products:
        step()
    pairs = [(torch.randn(a, device=device), torch.randn(b, device=device))
             for a, b in products.shapes]  # fmt: skip
    flops = sum(2 * a.numel() * b.shape[-1] for a, b in pairs)
    large = torch.randn(2048, 2048, device=device)

    def all_products() -> None:
        for first, second in pairs:
            torch.matmul(first, second)

    for _ in range(3):
        all_products()
    alone = statistics.median(timed(all_products, 1, device) for _ in range(rounds))
    one = statistics.median(timed(lambda: large @ large, 1, device) for _ in range(rounds))
    return {
        "flops": flops,
        "num_products": len(pairs),
        "products_alone_ms": 1e3 * alone,
        "products_alone_gflops_per_s": flops / alone / 1e9,
        "large_product_gflops_per_s": 2 * 2048**3 / one / 1e9,
    }


def print_table(result: dict[str, Any]) -> None:
    """Print a result as Markdown."""
    hardware, cases = result["machine"], result["cases"]
    print(f"{hardware['gpu'] if result['device'] == 'cuda' else hardware['cpu']}, "
          f"{hardware['threads']} threads of {hardware['cores']} cores, "
          f"{hardware['vector_instructions']}; torch {hardware['versions']['torch']}; "
          f"batches of {result['batch_size']}\n")  # fmt: skip
    print("| case | ms per batch (quartiles) | images/s | beside the reference | epoch of 60,000 |")
    print("| --- | --- | --- | --- | --- |")
    for name, case in cases.items():
        low, high = case["ms_per_batch_quartiles"]
        ratio = case["images_per_second"] / cases["reference"]["images_per_second"]
        print(f"| {name} | {case['ms_per_batch']:.1f} ({low:.1f}-{high:.1f}) | "
              f"{case['images_per_second']:,.0f} | {ratio:.1f} x | "
              f"{EPOCH / case['images_per_second']:.1f} s |")  # fmt: skip
    print("\n| a step of | matrix products | GFLOP | alone | rate alone | share of the step | "
          "rate of 2048^3 |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, costs in result["arithmetic"].items():
        share = costs["products_alone_ms"] / cases[name]["ms_per_batch"]
        print(f"| {name} | {costs['num_products']} | {costs['flops'] / 1e9:.2f} | "
              f"{costs['products_alone_ms']:.1f} ms | "
              f"{costs['products_alone_gflops_per_s']:.0f} GFLOP/s | {share:.0%} | "
              f"{costs['large_product_gflops_per_s']:.0f} GFLOP/s |")  # fmt: skip


if __name__ == "__main__":
    assert CANVAS == SIZES.canvas_size[0]
    tyro.cli(Throughput, description=__doc__, prog="air benchmark throughput").run()
