"""What speaks against a model is said, each kind by itself, and nothing of a model that fits."""

from __future__ import annotations

import numpy as np
import pytest

from attend_infer_repeat.config import ModelConfig, replace
from attend_infer_repeat.evaluation.doubts import FEW, Doubts, color_shares

SIDE, SIZE = 64, 16
CONFIG = ModelConfig(canvas_size=(SIDE, SIDE), scale_prior_mean=SIDE / 20, model_steps=3)
PLACES = ((5, 6), (30, 40), (44, 8))


def scene(size: int, count: int, level: float = 0.0) -> np.ndarray:
    image = np.full((1, SIDE, SIDE), level)
    for x, y in PLACES[:count]:
        image[0, y : y + size, x : x + size] = 0.9
    return image


def told(found: list, num: int = 20, config: ModelConfig = CONFIG) -> str:
    """Return what is told of pictures; ``found`` gives (image, count, boxes, reconstruction)."""
    doubts = Doubts(config)
    for i in range(num):
        image, count, boxes, drawn = found[i % len(found)]
        doubts.add(np.round(255 * image).astype(np.uint8), count, boxes, drawn)
    return " | ".join(doubts.lines())


def right(size: int, count: int) -> tuple:
    boxes = [(x, y, x + size, y + size) for x, y in PLACES[:count]]
    return scene(size, count), count, boxes, scene(size, count)


def blind(size: int, count: int) -> tuple:
    return scene(size, count), 0, [], np.zeros((1, SIDE, SIDE))


def test_nothing_is_said_of_a_model_that_fits() -> None:
    assert told([right(SIZE, n) for n in (0, 1, 2, 3)]) == ""
    assert told([right(SIZE, 0)]) == ""  # empty pictures are no fault


def frame(width: int) -> tuple:
    """Return a picture of outlines of squares, which a filter of noise takes away, and a spot."""
    image, inner = scene(SIZE, 2), slice(width, SIZE - width)
    for x, y in PLACES[:2]:
        image[0, y : y + SIZE, x : x + SIZE][inner, inner] = 0
    image[0, PLACES[0][1] + 4 : PLACES[0][1] + 8, PLACES[0][0] : PLACES[0][0] + 4] = 0.9
    return image, 2, [], image


@pytest.mark.parametrize("width", [1, 2])
def test_thin_things_are_as_large_as_they_are(width: int) -> None:
    assert told([frame(width)]) == ""


def test_specks_that_are_filtered_out_are_no_objects() -> None:
    image = scene(SIZE, 1)
    image[0, 50:53, 10:60:6] = 0.9  # lines of a pixel by three
    assert told([(image, 1, [(5, 6, 21, 22)], image), right(SIZE, 0)], num=8) == ""


def test_windows_of_many_sizes_fit_all_of_them() -> None:
    config = replace(CONFIG, guide="memoryless", scale_prior_mean=SIDE / 12, size_range=9.0)
    for size in (4, 12, 16):
        assert told([right(size, 2), right(size, 1)], config=config) == ""
    config = replace(config, scale_prior_mean=SIDE / 24, size_range=4.0)
    assert "window has 12 to 48" in told([right(4, 2), right(4, 1)], config=config)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([blind(SIZE, 2)], "counted as 0"),
        ([right(SIZE, 3)], "counted as 3, the most"),
        ([(scene(SIZE, 2), 1, [(0, 0, SIDE, SIDE)], scene(SIZE, 2))], "the whole picture"),
        ([(scene(SIZE, 2), 1, [(5, 6, 21, 22)], 0.1 * scene(SIZE, 2))], "explains 19%"),
        ([right(4, 2), right(4, 1)], "4 pixels large"),
        ([(scene(SIZE, 1, 1.0), 1, [(5, 6, 21, 22)], scene(SIZE, 1, 1.0))], "is bright"),
    ],
)
def test_each_kind_of_misfit_is_one_line_with_what_to_do(found: list, words: str) -> None:
    line = told(found)
    assert words in line
    assert "\n" not in line


def test_other_colors_than_trained_on_are_told() -> None:
    def colored(*shares: float) -> list:
        image = np.sqrt(np.array(shares))[:, None, None] * scene(SIZE, 2)
        return [(image, 2, [(x, y, x + SIZE, y + SIZE) for x, y in PLACES[:2]], image)]

    images = np.stack([np.round(255 * colored(0.2, 0.5, 0.3)[0][0]).astype(np.uint8)] * 8)
    shares = color_shares(images)
    assert shares == pytest.approx((0.2, 0.5, 0.3), abs=0.01)
    config = replace(CONFIG, channels=3, trained_colors=shares)
    assert told(colored(0.3, 0.4, 0.3), config=config) == ""
    line = told(colored(0.7, 0.2, 0.1), config=config)
    assert line.startswith("70% of what the pictures show is red, and 20%")
    assert told(colored(0.7, 0.2, 0.1), num=FEW - 1, config=config) == ""
    assert color_shares(images[:, 0]) == ()


def test_a_few_pictures_may_be_empty_or_full() -> None:
    assert told([right(SIZE, 3)], num=FEW - 1) == ""


def test_without_a_bound_the_step_limit_is_the_most() -> None:
    config = ModelConfig(
        canvas_size=(SIDE, SIDE), scale_prior_mean=SIDE / 20, unbounded=True, step_limit=3
    )
    assert "--step-limit" in told([right(SIZE, 3)], config=config)
