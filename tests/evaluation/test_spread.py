"""How far counts stray when images are moved by a pixel or two."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from attend_infer_repeat import AIR, ModelConfig, TrainConfig, train
from attend_infer_repeat.config import replace
from attend_infer_repeat.evaluation.spread import SHIFTS, count_spread


def counting(count: Callable[[np.ndarray], int]) -> Any:
    """Return a stand-in for a model, which counts with a function of an image."""
    return SimpleNamespace(
        infer=lambda images: SimpleNamespace(counts=np.array([count(image) for image in images]))
    )


def squares(num: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    images = np.zeros((num, channels, 30, 40), np.uint8)
    for image in images:
        for x in range(4, 32, 8)[: rng.integers(1, 5)]:
            image[:, (y := rng.integers(4, 20)) : y + 4, x : x + 4] = 200
    return images if channels > 1 else images[:, 0]


@pytest.mark.parametrize("channels", [1, 3])
def test_counts_that_stay_have_no_spread(channels: int) -> None:
    model = counting(lambda image: ndimage.label(image.reshape(-1, 30, 40)[0])[1])
    assert count_spread(model, squares(20, channels)) == 0


def test_the_spread_is_the_variance_of_the_counts_over_their_mean() -> None:
    images = squares(20, 1)
    model = counting(lambda image: 9 + int(np.argwhere(image).min(axis=0).sum() % 2))
    first = np.array([np.argwhere(image).min(axis=0).sum() for image in images])
    counts = np.array([9 + (first + sum(shift)) % 2 for shift in SHIFTS])
    expected = counts.var(axis=0, ddof=1).mean() / counts.mean()
    assert count_spread(model, images) == pytest.approx(expected)
    assert expected > 0


def test_without_objects_there_is_no_spread() -> None:
    assert count_spread(counting(lambda image: 0), squares(3, 1)) == 0


def test_a_run_keeps_what_was_measured_and_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter((0.25, 0.5))
    monkeypatch.setattr(
        "attend_infer_repeat.training.session.count_spread", lambda *_: next(measured)
    )
    np.savez(tmp_path / "x.npz", images=squares(40, 1)[:, :, :30])
    config = replace(
        TrainConfig(model=ModelConfig()), data=str(tmp_path / "x.npz"), num_steps=2, batch_size=4
    )
    run = train(config, tmp_path / "run", quiet=True, figures=False)
    written = json.loads((run / "config.json").read_text())
    assert written["config"]["model"]["count"]["count_spread"] == 0.25
    assert len(written["commands"]) == 1
    assert AIR.load(run).config.count.count_spread == 0.25
    train(replace(config, num_steps=4), resume=run, quiet=True, figures=False)
    assert AIR.load(run).config.count.count_spread == 0.5
