"""Every seed from 0 to 2**63 - 1 works, everywhere; anything else is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import TINY, make_air
from PIL import Image

from attend_infer_repeat import AIR, AIRCounter, ConfigError, TrainConfig, train
from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data import Dataset
from attend_infer_repeat.evaluation import evaluate
from attend_infer_repeat.evaluation.codes import evaluate_codes
from attend_infer_repeat.files.sources import find_sources
from attend_infer_repeat.files.streaming import infer_pictures
from attend_infer_repeat.objectives.base import mini_batch
from attend_infer_repeat.seeds import MAX_SEED, check_seed
from attend_infer_repeat.viz.plots import samples_figure

LARGE = [2**32, 2**40, MAX_SEED]
NO_SEEDS = [-1, MAX_SEED + 1, 2**70, 1.5, "1", True, None]

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
DATA = Dataset(
    "noise",
    "test",
    IMAGES,
    np.ones(40, np.int64),
    np.tile(np.float32([0, 0, 8, 8]), (40, 1, 1)),
    np.arange(40)[:, None] % 2,
)


def finding_air() -> AIR:
    """Return an AIR that finds three objects in every image."""
    air = make_air(gain=3)
    with torch.no_grad():
        air.guide.predict[-1].bias[0] += 20
    return air


def fit(seed: Any, folder: Path) -> Any:
    settings = TrainConfig(composite_begin=2, eval_every=0, model=TINY)
    return AIRCounter(num_steps=2, batch_size=4, config=settings, random_state=seed).fit(IMAGES)


def infer_file(seed: Any, folder: Path) -> Any:
    Image.fromarray(IMAGES[0]).save(folder / "x.png")
    return list(
        infer_pictures(make_air(TINY), find_sources([str(folder / "x.png")]), samples=2, seed=seed)
    )


# Everything in Python that takes a seed.
TAKERS: dict[str, Callable[[Any, Path], Any]] = {
    "infer": lambda seed, _: make_air(TINY).infer(IMAGES, sample=True, seed=seed),
    "infer pictures": infer_file,
    "sample": lambda seed, _: make_air(TINY).sample(3, seed=seed),
    "samples figure": lambda seed, _: samples_figure(make_air(TINY), 3, seed),
    "evaluate": lambda seed, _: evaluate(make_air(TINY), DATA, seed=seed, importance_samples=2),
    "codes": lambda seed, _: evaluate_codes(finding_air(), DATA, min_iou=1e-6, seed=seed),
    "config": lambda seed, _: TrainConfig(seed=seed),
    "fit": fit,
}  # fmt: skip


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize("seed", LARGE)
def test_large_seeds_work(take: Callable[[Any, Path], Any], seed: int, tmp_path: Path) -> None:
    take(seed, tmp_path)


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize("seed", NO_SEEDS)
def test_what_is_no_seed_is_refused(
    take: Callable[[Any, Path], Any], seed: Any, tmp_path: Path
) -> None:
    if take is fit and type(seed) is not int:
        pytest.skip("scikit-learn's random_state may be other things")
    with pytest.raises(ConfigError, match="seed: expected a whole number from 0") as refusal:
        take(seed, tmp_path)
    assert "\n" not in str(refusal.value)


def test_numpys_whole_numbers_are_seeds() -> None:
    assert type(check_seed(np.int64(3))) is int


@pytest.mark.parametrize("seed", LARGE)
def test_a_run_with_a_large_seed_is_trained_and_resumed(seed: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=IMAGES)
    config = TrainConfig(
        data=str(tmp_path / "x.npz"), num_steps=6, batch_size=4, seed=seed, model=TINY
    )
    whole = train(config, tmp_path / "whole", quiet=True, figures=False)
    part = train(replace(config, num_steps=3), tmp_path / "part", quiet=True, figures=False)
    train(config, resume=part, quiet=True, figures=False)
    assert read_checkpoint(part).train_config.seed == seed
    ours, theirs = AIR.load(whole).state_dict(), AIR.load(part).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("seed", ["-1", str(2**63), "1.5"])
@pytest.mark.parametrize("command", ["train", "infer digits x.png", "sample digits"])
def test_commands_refuse_what_is_no_seed(
    command: str, seed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(IMAGES[0]).save("x.png")
    assert main([*command.split(), "--seed", seed]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "seed" in line
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


# Mini-batches

OLD = {(3, 0): [4, 1, 0, 6, 2, 3, 5, 7], (2**40 - 1, 5): [2, 7, 5, 3, 1, 4, 0, 6]}
"""Mini-batches of eight of eight images, by seed and epoch, as they were at first."""


def test_mini_batches_of_small_seeds_are_those_of_ever() -> None:
    assert mini_batch(0, 8, 8, 3).tolist() == OLD[3, 0]
    assert mini_batch(5, 8, 8, 2**40 - 1).tolist() == OLD[2**40 - 1, 5]


def test_mini_batches_of_large_seeds_differ_by_seed_and_epoch() -> None:
    seeds = [2**40, 2**40 + 1, 2**41, MAX_SEED, MAX_SEED - 2**40, MAX_SEED - 1]
    orders = [tuple(mini_batch(epoch, 20, 20, seed).tolist()) for seed in seeds for epoch in (0, 1)]
    assert len(set(orders)) == len(orders)
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] == tuple(mini_batch(0, 20, 20, 2**40).tolist())
