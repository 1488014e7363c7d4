"""What the benchmarks share: training runs side by side, the machine, and results as JSON."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MEASURED = (
    *("step", "seconds", "split", "count_accuracy", "count_error", "elbo", "box_iou", "box_ap50"),
    "confusion",
)


@dataclass(frozen=True)
class Task:
    """One training run and where its result goes."""

    options: str  # of `air train`
    run: Path  # the run's folder
    result: Path  # the JSON file
    labels: dict[str, Any]  # what the result says of itself
    measures: Mapping[str, str] = field(default_factory=dict)  # name: options of `air {judge}`
    judge: str = "evaluate"  # or codes


def run_all(tasks: Sequence[Task], jobs: int, threads: int | None = None) -> None:
    """Train what has no result yet; go on with what was cut.

    Args:
        tasks: the runs, in the order in which they begin.
        jobs: runs side by side; they share the cores.
        threads: of each run; its share of the cores if None.
    """
    threads = threads or max((os.cpu_count() or 1) // jobs, 1)
    with ThreadPoolExecutor(jobs) as pool:
        missing = [task for task in tasks if not task.result.exists()]
        for done in [pool.submit(_run, task, jobs, threads) for task in missing]:
            done.result()


def result_path(benchmark: str, device: str, folder: Path = RESULTS) -> Path:
    """Return where a benchmark's result for a type of device goes."""
    return folder / f"{benchmark}{'' if device == 'cpu' else f'-{device}'}.json"


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write one result, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def read_result(path: Path) -> dict[str, Any]:
    """Return one result."""
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return all results in a folder."""
    return [read_result(path) for path in sorted(folder.glob("*.json"))]


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of a text such as ``0-19`` or ``3,5,8-10``."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def machine(threads: int) -> dict[str, Any]:
    """Return what the figures were measured on, and with which versions and commit."""
    import torch

    from attend_infer_repeat.checkpoints.versions import versions

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in fields.items()}
        cpu = f"{fields.get('model name', cpu)}, family {fields.get('cpu family')}, model "
        cpu += str(fields.get("model"))
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": threads,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions(),
    }


def _run(task: Task, jobs: int, threads: int) -> None:
    train(task.options, task.run, threads)
    lines = [json.loads(line) for line in (task.run / "metrics.jsonl").read_text().splitlines()]
    record = json.loads((task.run / "config.json").read_text())
    result = task.labels | {
        "command": f"OMP_NUM_THREADS={threads} air train {task.options} --out {task.run}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores; runs side by side: {jobs}, "
        f"threads a run: {threads}",
        "versions": record["versions"],
        "config": record["config"],
        "evaluations": [{k: x.get(k) for k in MEASURED} for x in lines if "split" in x],
        "measures": {
            name: {"command": f"air {task.judge} {task.run} {given}".strip()}
            | json.loads(_air(f"{task.judge} --json {task.run} {given}", threads))
            for name, given in task.measures.items()
        },
    }
    write_result(task.result, result)
    print(task.result, flush=True)


def train(options: str, run: Path, threads: int, quiet: bool = True) -> None:
    """Train a run unless it is finished; go on where it was cut.

    Args:
        options: of `air train`, for a run that is not begun.
        run: its folder.
        threads: of the process.
        quiet: show no progress.
    """
    from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint
    from attend_infer_repeat.checkpoints.find import has_checkpoint
    from attend_infer_repeat.training.run import is_finished

    if has_checkpoint(run) and is_finished(run, read_checkpoint(run).step):
        return
    begun = (run / "config.json").exists()
    what = f"--resume {run}" if begun else f"{options} --out {run}"
    _air(f"train {'--quiet ' * quiet}{what}", threads)


def _air(arguments: str, threads: int) -> str:
    """Run `air` on so many threads and return what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "attend_infer_repeat.cli", *shlex.split(arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    ).stdout
