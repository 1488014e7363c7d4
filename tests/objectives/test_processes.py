"""Several processes train what one process trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import make_air, seeded

from attend_infer_repeat import ConfigError, ModelConfig, TrainConfig
from attend_infer_repeat.air import AIR
from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint
from attend_infer_repeat.config import to_dict
from attend_infer_repeat.errors import MissingError
from attend_infer_repeat.objectives import OBJECTIVES, augmentation
from attend_infer_repeat.objectives.processes import Processes
from attend_infer_repeat.training.distributed import join_processes

WORKER = Path(__file__).parents[1] / "worker.py"
MODEL = ModelConfig(
    model_steps=2,
    window_size=4,
    encoder_latent_size=3,
    decoder_net=(8,),
    encoder_net=(8,),
    predict_net=(8,),
    rnn_hidden_size=8,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=dots(240))
    return path


def dots(num: int) -> np.ndarray:
    """Return images of one or two gray squares, which can be pasted onto one another."""
    random, images = np.random.default_rng(0), np.zeros((num, 12, 12), np.uint8)
    for i, image in enumerate(images):
        for y, x in random.integers(0, 11, (1 + i % 2, 2)):
            image[y : y + 2, x : x + 2] = 80
    return images


def start(num: int, folder: Path, config: TrainConfig, **settings: Any) -> list[list[list[float]]]:
    """Train with so many processes; return what each has read, step by step."""
    seen = folder / f"seen-{num}-{len(list(folder.iterdir()))}"
    seen.mkdir()
    file = seen / "settings.json"
    file.write_text(
        json.dumps({"config": to_dict(config), "seen": str(seen)} | settings, default=str)
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num}"]
    command = [sys.executable, *(torchrun if num > 1 else []), str(WORKER), str(file)]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONWARNINGS": "default", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return [json.loads((seen / f"{rank}.json").read_text()) for rank in range(num)]


def settings(data: Path) -> TrainConfig:
    return TrainConfig(
        data=str(data),
        num_steps=9,
        batch_size=24,
        learning_rate=1e-2,
        explore_steps=6,
        composite_begin=2,
        composite_scattered=0.5,
        eval_every=4,
        save_every=0,
        progress_every=2,
        model=MODEL,
    )


def assert_close(run: Path, other: Path) -> None:
    """Compare weights, running means, Adam's moments and made scenes of two runs' ends."""
    first, second = read_checkpoint(run), read_checkpoint(other)
    assert first.step == second.step
    for part in ("model", "training"):
        ours, theirs = first.tensors(part), second.tensors(part)
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-9, msg=name)


class One(Processes):
    """One process, which notes what all would have gathered."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.gathered: list[torch.Tensor] = []

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        self.gathered.append(rows)
        return rows


class OneOfTwo(Processes):
    """One of two processes; the other's rows are those that one process by itself has had."""

    def __init__(self, rank: int, alone: One) -> None:
        super().__init__(torch.device("cpu"))
        self.rank, self.size, self.alone, self.num_gathered = rank, 2, alone, 0

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        whole = self.alone.gathered[self.num_gathered]
        torch.testing.assert_close(rows, self.share(whole), rtol=1e-9, atol=1e-9)
        self.num_gathered += 1
        return whole


@pytest.mark.parametrize("of", ["objects", "scenes"])
def test_two_processes_gradients_have_the_mean_of_one(
    of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the next test shows of whole runs, of steps from the same weights and moments."""
    monkeypatch.setattr(augmentation, "CONFIDENCE_THRESHOLD", 1e-9)  # an untrained guide is
    monkeypatch.setattr(augmentation, "MAX_RESIDUAL_SHARE", 1e9)  # sure of nothing
    config = settings(Path("none"))
    config = replace(config, composite_of=of, composite_every=2, learning_rate=1e-3)
    images, alone = torch.from_numpy(dots(48))[:, None], One()
    new = partial(make_air, replace(MODEL, canvas_size=(12, 12)), gain=6, seed=0)
    objectives = [
        OBJECTIVES["exact"](new(), images, config, processes)
        for processes in (alone, OneOfTwo(0, alone), OneOfTwo(1, alone))
    ]
    weights = new().state_dict()
    for step in range(8):
        gradients = []
        for objective in objectives:
            objective.air.load_state_dict(weights)
            seeded(step, objective.step, step, 1.0)
            gradients.append([p.grad.clone() for p in objective.air.parameters()])
        weights = {n: v.clone() for n, v in objectives[0].air.state_dict().items()}
        for whole, *halves in zip(*gradients, strict=True):
            torch.testing.assert_close(sum(halves) / 2, whole, rtol=1e-9, atol=1e-9)
    assert len(alone.gathered) > 6  # composites were made three times, at least,
    assert objectives[0].composites.weights.all()  # and can be used


@pytest.mark.long
def test_two_processes_train_the_model_of_one_and_go_on_after_an_interruption(
    data: Path, tmp_path: Path
) -> None:
    config = settings(data)
    (whole,) = start(1, tmp_path, config, out=tmp_path / "one")
    shares = start(2, tmp_path, config, out=tmp_path / "two")
    assert_close(tmp_path / "two", tmp_path / "one")
    made = read_checkpoint(tmp_path / "two").tensors("training")
    assert made["objective/composites/weights"].any()

    # Each has read its own half of every mini-batch, which holds 24 images.
    assert [[len(batch) for batch in share] for share in shares] == [[12] * 9] * 2
    for batch, *halves in zip(whole, *shares, strict=True):
        np.testing.assert_allclose(batch, np.concatenate(halves))

    # One wrote: no line stands in the metrics twice.
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines if "split" not in json.loads(line)]
    assert steps == [2, 4, 6, 8, 9]

    # One is asked to stop in step 4; both stop when they report, and go on from there.
    start(2, tmp_path, config, out=tmp_path / "cut", stop=4)
    assert read_checkpoint(tmp_path / "cut").step == 6
    start(2, tmp_path, config, resume=tmp_path / "cut")
    assert_close(tmp_path / "cut", tmp_path / "one")


class ThreeProcesses(Processes):
    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.size = 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 64}, "batch_size: 64 images cannot be shared equally among 3"),
        (
            {"objective": "tracegraph", "explore": 0.0, "composite_weight": 0.0, "batch_size": 6},
            "tracegraph trains in one process",
        ),
    ],
)
def test_what_processes_cannot_share_is_refused(changes: dict[str, Any], message: str) -> None:
    config = TrainConfig(model=MODEL, **changes)
    images = torch.zeros(100, 1, 50, 50, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=message):
        OBJECTIVES[config.estimator.objective](AIR(MODEL), images, config, ThreeProcesses())


def test_processes_are_not_given_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="cuda:1 is one for 2 processes"):
        join_processes("cuda:1")


def test_without_fabric_several_processes_are_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingError, match=r"attend-infer-repeat\[distributed\]"):
        join_processes("cpu")


def test_a_process_by_itself_needs_no_fabric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    alone = join_processes("cpu")
    rows = torch.arange(6)
    assert (alone.rank, alone.size, alone.is_first) == (0, 1, True)
    assert alone.share(rows) is alone.gather(rows) is alone.mean(rows) is rows
    assert alone.any(True)
    assert not alone.any(False)
