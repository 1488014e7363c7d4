"""From outside the package: a data set that is known by its name, and trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import attend_infer_repeat as air
from attend_infer_repeat.data import Dataset
from attend_infer_repeat.data.registry import DATASETS, Source


def crosses(split: str, *, num_images: int = 40) -> Dataset:
    """Make scenes of no or one cross, 16 x 16."""
    draws = np.random.default_rng(split == "test")
    counts = draws.integers(2, size=num_images)
    images = np.zeros((num_images, 16, 16), np.uint8)
    for image, count in zip(images, counts, strict=True):
        y, x = draws.integers(3, 13, size=2)
        image[y - 2 : y + 3, x] = image[y, x - 2 : x + 3] = 255 * count
    return Dataset("crosses", split, images, counts)


def test_a_named_set_is_loaded_and_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "crosses", Source("scenes of 0-1 crosses", crosses))
    assert air.load_dataset("crosses", split="test", num_images=7).images.shape == (7, 16, 16)
    config = air.TrainConfig(data="crosses", num_steps=2, batch_size=8)
    run = air.train(config, tmp_path / "run", quiet=True, figures=False)
    assert air.AIR.load(run).config.canvas_size == (16, 16)
    assert air.AIR.load(run).infer(crosses("test").images).counts.shape == (40,)
