"""How much quicker is a training step than it was at an older commit?

    air benchmark before                     measure beside cdbe334
    air benchmark before --commit 6b500e8    beside another one
    air benchmark before --table             print the table of the last result

The older commit is checked out into a folder of its own. Each case has two processes, one of each
version, which take turns on the same images, from the same seed: so what slows the machine slows
both. Both train for a while first, and then take steps as they are for most of a run.

*exact* has equal sizes in both. A preset is what it is at each commit: at cdbe334 *fast* had one
glimpse and 100 units to decide by, where it has two and 200 now.

Result: ``benchmarks/results/before.json``.
"""

from __future__ import annotations

import inspect
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from configs import CONFIGS, LEARNED, SETTLED
from runs import RESULTS, machine, read_result, result_path, write_result

# Of either version, in the process that serves it: these names are older than both.
import attend_infer_repeat
from attend_infer_repeat import AIR, PRESETS, load_dataset
from attend_infer_repeat.arrays import as_images
from attend_infer_repeat.cli.process import tune_process
from attend_infer_repeat.config import for_images
from attend_infer_repeat.objectives import OBJECTIVES

ROOT = Path(__file__).parents[1]
STARTED = "cdbe334"  # the last one with whole canvases for every object
NUM_IMAGES = 20_000
# Name: preset, what is changed, and options of multi-MNIST.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "exact, batch 64": ("exact", {}, {}),
    "fast, batch 256": ("fast", {}, {}),
    "many, 5 digits on 75 x 75": (
        "many",
        {"scale_prior_mean": 3.9},
        {"canvas_size": 75, "max_count": 5},
    ),
    "many, 9 digits on 100 x 100": (
        "many",
        {"scale_prior_mean": 5.2, "batch_size": 128},
        {"canvas_size": 100, "max_count": 9},
    ),
}


@dataclass(frozen=True)
class Before:
    """Measure training steps beside those of an older commit."""

    commit: str = STARTED
    """The older commit."""
    threads: int = os.cpu_count() or 1
    """Threads on the CPU."""
    rounds: int = 15
    """Turns of each version; the median of their times counts."""
    steps: int = 4
    """Steps in a turn, as many as share composites."""
    learned: int = LEARNED
    """Steps that are taken before."""
    results: Path = RESULTS
    """Folder of the result."""
    table: bool = False
    """Only print the table of the last result."""

    def run(self) -> None:
        """Run the command."""
        path = result_path("before", "cpu", self.results)
        if not self.table:
            write_result(path, self.measure())
        print_table(read_result(path))

    def measure(self) -> dict[str, Any]:
        """Return the result."""
        with checked_out(self.commit) as older:
            cases = {name: self._beside(name, older) for name in CASES}
        return {
            "command": f"air benchmark before --commit {self.commit} --threads {self.threads} "
            f"--rounds {self.rounds} --learned {self.learned}",
            "machine": machine(self.threads),
            "commit": self.commit,
            "cases": cases,
        }

    def _beside(self, name: str, older: Path) -> dict[str, Any]:
        """Return the ms of a step, before and now."""
        workers = [worker(tree, name, self.threads, self.learned) for tree in (older, ROOT)]
        times: list[list[float]] = [[], []]
        for _ in range(self.rounds):
            for process, own in zip(workers, times, strict=True):
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{self.steps}\n")
                process.stdin.flush()
                own.append(float(process.stdout.readline()))
        for process in workers:
            process.communicate()
        point = {
            version: {
                "ms_per_step": statistics.median(own),
                "quartiles": statistics.quantiles(own, n=4)[::2],
            }
            for version, own in zip(("before", "now"), times, strict=True)
        }
        print(name, point, flush=True)
        return point


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Check a commit out, into a folder that is gone at the end."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def worker(tree: Path, case: str, threads: int, learned: int) -> subprocess.Popen[str]:
    """Return a process that takes steps of a case with the code of a tree; it is ready."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", case, str(threads), str(learned)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tree)},
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != str(tree):
        raise SystemExit(f"{case}: no steps with the code in {tree}.")
    return process


def serve(case: str, threads: int, learned: int) -> None:
    """Answer with the mean ms of as many steps as each line asks for."""
    preset, changes, options = CASES[case]
    if preset == "exact":
        config = CONFIGS["exact"]
    else:
        config = replace(PRESETS[preset], **changes)
    torch.set_num_threads(threads)
    bounded = not config.model.count.unbounded
    repeats = "shapes_repeat" in inspect.signature(tune_process).parameters
    tune_process(**{"shapes_repeat": bounded} if repeats else {})
    images = load_dataset("multi-mnist", **options).images[:NUM_IMAGES]
    config = for_images(config, images.shape[-2:], 1)
    torch.manual_seed(0)
    air = AIR(config.model)
    objective = OBJECTIVES["exact"](air, as_images(images, config.model), config)
    for step in range(learned):
        objective.step(step, 1.0)
    taken = SETTLED

    def steps(num: int) -> float:
        nonlocal taken
        began = time.perf_counter()
        for _ in range(num):
            objective.step(taken, 1.0)
            taken += 1
        return 1e3 * (time.perf_counter() - began) / num

    steps(4)
    print(Path(attend_infer_repeat.__file__).parents[1], flush=True)  # whose code it is
    for line in sys.stdin:
        print(steps(int(line)), flush=True)


def print_table(result: dict[str, Any]) -> None:
    """Print a result as Markdown."""
    hardware = result["machine"]
    print(f"{hardware['cpu']}, {hardware['threads']} threads of {hardware['cores']} cores; "
          f"torch {hardware['versions']['torch']}\n")  # fmt: skip
    now = hardware["versions"]["commit"]
    print(f"| a step of training | at {result['commit']}, ms (quartiles) | at {now} | quicker by |")
    print("| --- | --- | --- | --- |")
    for name, case in result["cases"].items():
        cells = [
            f"{v['ms_per_step']:.1f} ({v['quartiles'][0]:.1f}-{v['quartiles'][1]:.1f})"
            for v in case.values()
        ]
        ratio = case["before"]["ms_per_step"] / case["now"]["ms_per_step"]
        print(f"| {name} | {' | '.join(cells)} | {ratio:.2f} x |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        tyro.cli(Before, description=__doc__, prog="air benchmark before").run()
