"""Scenes of 0 to 2 real handwritten digits, made from files that come with scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..dataset import Dataset
from .backgrounds import Background
from .cache import Recipe, load_or_generate
from .multi_mnist import random_size
from .scenes import Draw, Glyph, Layout, SceneArrays, compose

MAX_COUNT = 2
RECIPE_VERSION = 1
NUM_SCENES = {"train": 20_000, "test": 5_000}
SEEDS = {"train": 0, "test": 1}

NUM_TEST_DIGITS = 360
"""The last 360 of the 1,797 digits, a fifth, appear in test scenes only."""

INK_SIZE = 20
"""MNIST's digits fill 20 of their 28 pixels and these fill all their 8, so that the law of
multi-MNIST makes both equally large when it starts from 20 here and from 28 there."""


def load(
    split: str,
    *,
    canvas_size: int = 50,
    max_count: int = MAX_COUNT,
    counts: tuple[int, ...] | None = None,
    background: Background = "black",
) -> Dataset:
    """Load scenes of handwritten digits, labels 0 to 9, without any network.

    The digits are scikit-learn's ``load_digits`` (8 x 8 pixels, from the UCI repository),
    enlarged smoothly to the sizes of multi-MNIST's, about 12 to 20 pixels.

    Args:
        split: ``"train"`` (20,000 scenes) or ``"test"`` (5,000, of other digits).
        canvas_size: height and width in pixels; the digits keep their size.
        max_count: the largest number of digits in a scene.
        counts: the numbers of digits, all as frequent, in place of 0 to ``max_count``.
        background: behind them: ``"black"``, or ``"noisy"`` or ``"grid"`` of ``data.backgrounds``.
    Raises: DataError if the canvas is too small for the digits or for that many of them.
    """
    layout = Layout((canvas_size, canvas_size), max_count, counts, background)

    def generate() -> SceneArrays:
        draw = _digit_drawer(*source_digits(split))
        return compose(draw, num_scenes=NUM_SCENES[split], seed=SEEDS[split], layout=layout)

    recipe = Recipe("digits", split, RECIPE_VERSION, NUM_SCENES[split], layout.parameters())
    return load_or_generate(recipe, generate)


def source_digits(split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the 8 x 8 digits that a split's scenes are made of, and their classes.

    Returns: digits, (N, 8, 8) uint8, 0 to 255, and classes, (N,) int64, 0 to 9.
    """
    from sklearn.datasets import load_digits

    values, classes = load_digits(return_X_y=True)  # values are 0 to 16
    digits = np.round(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    rows = slice(-NUM_TEST_DIGITS, None) if split == "test" else slice(-NUM_TEST_DIGITS)
    return digits[rows], classes[rows].astype(np.int64)


def _digit_drawer(digits: NDArray[np.uint8], classes: NDArray[np.int64]) -> Draw:
    from PIL import Image

    pictures = [Image.fromarray(digit) for digit in digits]

    def draw(rng: np.random.RandomState) -> tuple[Glyph, int]:
        index = int(rng.randint(len(pictures)))
        size = random_size(rng, INK_SIZE)
        glyph = pictures[index].resize((size, size), Image.Resampling.BICUBIC)  # stays in 0..255
        return np.asarray(glyph), int(classes[index])

    return draw
