"""How far counts stray when images are mirrored."""

from __future__ import annotations

import itertools
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
from attend_infer_repeat.evaluation.spread import count_spread

CONFIG = ModelConfig(canvas_size=(40, 40), scale_prior_mean=5.0)


def finding(find: Callable[[np.ndarray], list[tuple[int, ...]]], slots: int = 25) -> Any:
    """Return a stand-in for a model, which finds boxes with a function of an image."""

    def infer(images: np.ndarray) -> SimpleNamespace:
        boxes = np.full((len(images), slots, 4), np.nan, np.float32)
        for own, image in zip(boxes, images, strict=True):
            found = find(image.reshape(-1, 40, 40)[0])
            own[: len(found)] = np.array(found).reshape(-1, 4)
        return SimpleNamespace(boxes=boxes)

    return SimpleNamespace(infer=infer, config=CONFIG)


def components(image: np.ndarray) -> list[tuple[int, ...]]:
    parts = ndimage.find_objects(ndimage.label(image)[0])
    return [(x.start, y.start, x.stop, y.stop) for y, x in parts]


def squares(num: int, channels: int = 1) -> np.ndarray:
    """Return squares anywhere, many of which the edges cut."""
    rng = np.random.default_rng(0)
    images = np.zeros((num, channels, 60, 60), np.uint8)
    for image in images:
        for y, x in itertools.product(range(0, 60, 12), repeat=2):
            if rng.random() < 0.7:
                y, x = y + rng.integers(5), x + rng.integers(5)
                image[:, y : y + 5, x : x + 5] = 200
    images = images[..., 6:46, 6:46]
    return images if channels > 1 else images[:, 0]


@pytest.mark.parametrize("channels", [1, 3])
def test_objects_that_are_found_in_every_look_have_no_spread(channels: int) -> None:
    images = squares(20, channels)
    assert any(image.reshape(-1, 40, 40)[0, 0].any() for image in images)
    assert count_spread(finding(components), images) == 0


@pytest.mark.parametrize("rate", [0.03, 0.1])
def test_the_spread_is_the_variance_of_independent_errors(rate: float) -> None:
    rng = np.random.default_rng(1)

    def unsure(image: np.ndarray) -> list[tuple[int, ...]]:
        return [box for box in components(image) if rng.random() > rate]

    # In one of two looks alone: 2 p (1 - p) of the objects, of (1 - p) that are found in each.
    assert count_spread(finding(unsure), squares(64)) == pytest.approx(rate, rel=0.25)


def test_without_objects_there_is_no_spread() -> None:
    assert count_spread(finding(lambda image: []), squares(3)) == 0


def test_an_error_that_depends_on_the_side_is_seen() -> None:
    def left_alone(image: np.ndarray) -> list[tuple[int, ...]]:
        return [box for box in components(image) if box[2] <= 20]

    assert count_spread(finding(left_alone), squares(20)) > 0.5


def test_a_run_keeps_what_was_measured_and_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter((0.25, 0.5))
    monkeypatch.setattr(
        "attend_infer_repeat.training.session.count_spread", lambda *_: next(measured)
    )
    np.savez(tmp_path / "x.npz", images=squares(40))
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
