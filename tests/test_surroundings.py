"""A library changes nothing around it: whatever is called, the process is as it was before."""

from __future__ import annotations

import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyro
import pytest
import torch
import torch._inductor.compile_fx  # sets an environment variable, once torch needs it
from exact import TINY, make_air, random_images

import attend_infer_repeat as package
from attend_infer_repeat import (
    AIR,
    PRESETS,
    AIRCounter,
    Dataset,
    TrainConfig,
    evaluate,
    evaluate_codes,
    export_program,
    load_dataset,
    train,
)
from attend_infer_repeat.config import CompositesConfig
from attend_infer_repeat.objectives import OBJECTIVES


def surroundings() -> dict[str, Any]:
    """Return what a process shares with the package."""
    return {
        "torch's generator": bytes(torch.get_rng_state().numpy()),
        "NumPy's generator": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "Python's generator": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "Pyro's settings": pyro.settings.get(),
        "Pyro's parameters": {k: v.tolist() for k, v in pyro.get_param_store().items()},
        "signal handlers": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "warning filters": list(warnings.filters),
        "logging": [(log.level, list(log.handlers)) for log in (logging.root, OUR_LOG)],
        "Matplotlib's settings": dict(matplotlib.rcParams),
        "environment": dict(os.environ),
        "working folder": Path.cwd(),
    }


OUR_LOG = logging.getLogger("attend_infer_repeat")


def changed(before: dict[str, Any]) -> set[str]:
    """Return what is no longer as it was."""
    return {name for name, value in surroundings().items() if value != before[name]}


@pytest.fixture(autouse=True)
def in_use() -> None:
    """Use what is shared, so that a reset would show as well as a change."""
    torch.manual_seed(11)
    np.random.seed(12)  # noqa: NPY002 - the global generator is what must not change
    random.seed(13)
    pyro.param("mine", torch.tensor(3.0))


def noise(num: int = 40) -> np.ndarray:
    """Return images whose background is dark, uint8."""
    images = np.random.default_rng(0).integers(0, 256, (num, 8, 8), dtype=np.uint8)
    images[:, :3] = 0
    return images


def settings(folder: Path, **changes: Any) -> TrainConfig:
    np.savez(folder / "images.npz", images=noise(), counts=np.arange(40) % 3)
    common = {"data": str(folder / "images.npz"), "num_steps": 4, "batch_size": 6, "model": TINY}
    composites = CompositesConfig(composite_begin=1)
    return TrainConfig(**(common | {"composites": composites, "save_every": 2} | changes))


TUTORIAL = {
    "objective": "tracegraph",
    "explore": 0.0,
    "composites": CompositesConfig(composite_weight=0.0),
}


def train_and_resume(folder: Path) -> None:
    config = settings(folder, lr_schedule="constant")
    run = train(config, folder / "run", quiet=True, figures=False)
    train(replace(config, num_steps=6), resume=run, quiet=True, figures=False)


def train_until_interrupted(folder: Path) -> None:
    kind = OBJECTIVES["exact"]
    take_step = kind.step

    def interrupted(self: Any, step: int, lr_factor: float) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return take_step(self, step, lr_factor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(settings(folder), folder / "run", quiet=True)


def fit_and_predict(folder: Path) -> None:
    counter = AIRCounter(num_steps=2, batch_size=6, config=replace(PRESETS["fast"], model=TINY))
    counter.fit(noise())
    counter.predict(noise())
    counter.transform(noise())
    counter.score(noise(), np.arange(40) % 3)


def codes(folder: Path) -> None:
    rng = np.random.default_rng(0)
    boxes = np.tile(np.array([1, 1, 6, 6], np.float32), (40, 1, 1))
    counts, labels = np.ones(40, np.int64), rng.integers(0, 2, (40, 1))
    data = Dataset("made", "test", noise(), counts=counts, boxes=boxes, labels=labels)
    evaluate_codes(make_counting_air(), data, min_iou=0.01)


def make_counting_air(steps: int = 3) -> AIR:
    """Return a model that finds as many objects as it can; torch's generator stays as it is."""
    with torch.random.fork_rng(devices=()), torch.no_grad():
        air = make_air(replace(TINY, model_steps=steps), gain=3)
        air.guide.predict[-1].bias[0] += 20
        return air


def labeled(folder: Path) -> Dataset:
    settings(folder)
    return load_dataset(str(folder / "images.npz"), "train")


CALLS: dict[str, Callable[[Path], Any]] = {
    "train": lambda folder: train(settings(folder), folder / "run", quiet=True),
    "train, TensorBoard": lambda folder: train(
        settings(folder), folder / "run", quiet=True, figures=False, tensorboard=True
    ),
    "train, tracegraph": lambda folder: train(
        settings(folder, **TUTORIAL), folder / "run", quiet=True, figures=False
    ),
    "train, resume": train_and_resume,
    "train, interrupted": train_until_interrupted,
    "AIR.infer": lambda folder: make_counting_air().infer(noise()),
    "AIR.infer, sample": lambda folder: make_counting_air().infer(noise(), sample=True),
    "AIR.sample": lambda folder: make_counting_air().sample(3),
    "AIR.save": lambda folder: make_counting_air().save(folder / "model"),
    "AIR.load": lambda folder: AIR.load("digits"),
    "AIRCounter": fit_and_predict,
    "evaluate": lambda folder: evaluate(make_counting_air(), labeled(folder), importance_samples=2),
    "evaluate_codes": codes,
    "export_program": lambda folder: export_program(make_counting_air(steps=1)),
    "load_dataset": lambda folder: [load_dataset(name, "test") for name in ("digits", "sprites")],
}

DRAWS: dict[str, Callable[[Path], Any]] = {
    "AIR": lambda folder: AIR(TINY),
    "geom": lambda folder: package.geom(),
    "exact": lambda folder: take_steps(folder),
    "tracegraph": lambda folder: take_steps(folder, **TUTORIAL),
}
"""What draws from torch's generator, as its own modules do, and changes nothing else."""


def take_steps(folder: Path, **changes: Any) -> None:
    config = settings(folder, **changes)
    air, images = AIR(TINY), (random_images(12) * 255).to(torch.uint8)
    objective = OBJECTIVES[config.estimator.objective](air, images, config)
    for step in range(4):
        objective.step(step, 1.0)
    objective.restore(objective.state())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_leaves_the_process_as_it_was(call: Callable[[Path], Any], tmp_path: Path) -> None:
    before = surroundings()
    call(tmp_path)
    assert changed(before) == set()


@pytest.mark.parametrize("call", DRAWS.values(), ids=DRAWS)
def test_what_draws_from_torchs_generator_changes_nothing_else(
    call: Callable[[Path], Any], tmp_path: Path
) -> None:
    before = surroundings()
    call(tmp_path)
    assert changed(before) == {"torch's generator"}


def test_every_public_function_and_class_is_called_here() -> None:
    values = {"Scenes", "Dataset", "Evaluation", "CodesEvaluation", "ModelConfig", "TrainConfig"}
    called = {name.split(",")[0].split(".")[0] for name in {*CALLS, *DRAWS}}
    public = {name for name in package.__all__ if callable(getattr(package, name))}
    errors = {name for name in public if name.endswith("Error")}
    assert public - errors - values == called & public


IMPORTS = """
import pickle, pkgutil, random, signal, sys
import matplotlib, numpy as np, pyro, rich.progress, torch  # rich draws a number itself

def shared():
    return (
        bytes(torch.get_rng_state().numpy()), pickle.dumps(np.random.get_state()),
        random.getstate(), torch.get_default_dtype(), torch.get_float32_matmul_precision(),
        torch.get_num_threads(), pyro.settings.get(), dict(pyro.get_param_store().items()),
        signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM),
        dict(matplotlib.rcParams),
    )

before = shared()
import attend_infer_repeat
for module in pkgutil.walk_packages(attend_infer_repeat.__path__, "attend_infer_repeat."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
sys.exit(shared() != before)
"""


@pytest.mark.long
def test_no_import_changes_the_process() -> None:
    result = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
