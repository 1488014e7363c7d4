"""Does a run that is killed at any moment end as one that is not?

    python benchmarks/trials.py               60 kills
    python benchmarks/trials.py --kills 10

A small model is trained once from beginning to end. Then it is trained again and again, and killed
(SIGKILL) at random moments: from when its process owns the run's folder, to when the figures are
drawn. After some kills a run is left to end. It must have the same checkpoint, byte by byte (the
weights, Adam's moments, the random generators), the same metrics but for the times, the same
figures, and no file more. The first difference ends the trials, and its folder is kept.

Result: ``benchmarks/results/trials/train.json``.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from runs import RESULTS, machine, write_result

from attend_infer_repeat import load_dataset
from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint
from attend_infer_repeat.storage import LOCK_FILE
from attend_infer_repeat.training.metrics import read_metrics

NUM_STEPS = 120
OPTIONS = (
    f"--preset fast --quiet --device cpu -n {NUM_STEPS} -b 32 --composite-begin 10 "
    "--progress-every 1 --eval-every 20 --save-every 5 "
    "--rnn-hidden-size 16 --predict-net 16 --encoder-net 16 --decoder-net 16"
)
AT_THE_END = "at the end, with nothing left to do"
TIMES = ("seconds", "images_per_second")


@dataclass(frozen=True)
class Train:
    """Kill `air train` at random moments, and compare what it comes to."""

    kills: int = 60
    """How often a process is killed."""
    kills_per_run: int = 6
    """Kills after which a run is left to end; it may end before them."""
    seed: int = 0
    """Of the moments."""

    def run(self) -> None:
        """Run the command."""
        moments = random.Random(self.seed)
        folder = Path(tempfile.mkdtemp(prefix="air-trials-"))
        for split, name in (("train", "scenes"), ("test", "scenes_test")):
            data = load_dataset("digits", split)[:300]
            np.savez(folder / name, images=data.images, counts=data.counts, boxes=data.boxes)
        straight = folder / "straight"
        took, _ = train(folder, straight, kill_after=None)
        phases: Counter[str] = Counter()
        runs = 0
        while phases.total() < self.kills:
            runs += 1
            run, ended = folder / f"run-{runs}", False
            for _ in range(min(self.kills_per_run, self.kills - phases.total())):
                _, ended = train(folder, run, kill_after=moments.uniform(0, took))
                if ended:
                    break
                phases[phase(run)] += 1
                print(f"{phases.total():>4} of {self.kills}  {phase(run)}", flush=True)
                ended = phase(run) == AT_THE_END
                if ended:
                    break
            if not ended:
                train(folder, run, kill_after=None)
            compare(run, straight)
            shutil.rmtree(run)
        shutil.rmtree(folder)
        write_result(RESULTS / "trials" / "train.json", self.result(runs, phases))
        print(f"{self.kills} kills of air train in {runs} runs: all came to the same checkpoint, "
              "metrics and figures as without a kill")  # fmt: skip

    def result(self, runs: int, phases: Counter[str]) -> dict[str, Any]:
        """Return what is written."""
        return {
            "command": f"python benchmarks/trials.py --kills {self.kills} "
            f"--kills-per-run {self.kills_per_run} --seed {self.seed}",
            "trained": f"air train {OPTIONS}",
            "machine": machine(1),
            "runs": runs,
            "kills": phases.total(),
            "kills_by_phase": dict(phases.most_common()),
            "runs_that_differ": 0,
        }


def train(folder: Path, run: Path, kill_after: float | None) -> tuple[float, bool]:
    """Begin a run, or go on with it, and kill it some seconds after it owns its folder.

    Returns: for how many seconds it owned the folder, and whether it came to its end.
    """
    begun = (run / "config.json").exists()
    data = folder / "scenes.npz"
    options = f"--resume {run} --quiet" if begun else f"--data {data} {OPTIONS} --out {run}"
    process = subprocess.Popen(
        [sys.executable, "-m", "attend_infer_repeat.cli", "train", *shlex.split(options)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while process.poll() is None and not is_owned(run, process.pid):
        time.sleep(0.01)
    began = time.monotonic()
    try:
        _, errors = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return time.monotonic() - began, False
    if process.returncode:
        raise SystemExit(f"{folder}: air train {options}: {errors}")
    return time.monotonic() - began, True


def is_owned(run: Path, process: int) -> bool:
    """Tell whether a process is the one that writes to a folder."""
    try:
        return bool(json.loads((run / LOCK_FILE).read_text())["process"] == process)
    except (OSError, ValueError):
        return False


def phase(run: Path) -> str:
    """Name what a run was doing when it was killed, by what is in its folder."""
    if not (run / "config.json").exists():
        return "before config.json"
    if not (run / "checkpoint" / "state.json").exists():
        return "before the first checkpoint"
    if read_checkpoint(run).step < NUM_STEPS:
        return "in training"
    if not any(record.get("split") == "test" for record in read_metrics(run)):
        return "before the test"
    if json.loads((run / "config.json").read_text())["finished"] is None:
        return "in the figures"
    return AT_THE_END


def compare(run: Path, straight: Path) -> None:
    """End the trials if a run differs from the one without a kill."""
    metrics, others = (
        [{k: v for k, v in record.items() if k not in TIMES} for record in read_metrics(path)]
        for path in (run, straight)
    )
    differences = {
        "checkpoint": read_checkpoint(run).sha256 != read_checkpoint(straight).sha256,
        "metrics": metrics != others,
        "figures": contents(run / "figures") != contents(straight / "figures"),
        "files": names(run) != names(straight),
    }
    if any(differences.values()):
        different = ", ".join(name for name, differs in differences.items() if differs)
        raise SystemExit(f"{run}: not as {straight}: {different}")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(run: Path) -> set[Path]:
    """Return a run's files, but for TensorBoard's: each process writes one of its own."""
    files = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return {path for path in files if path.parts[0] != "tensorboard"}


if __name__ == "__main__":
    tyro.cli(Train, description=__doc__, prog="trials.py").run()
