"""The data of Pyro's AIR tutorial, bit for bit: scenes of 0 to 2 MNIST digits."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .cache import Recipe, load_or_generate
from .dataset import Dataset
from .mnist import load_mnist
from .scenes import Draw, Glyph, SceneArrays, compose

CANVAS_SIZE = 50
MAX_COUNT = 2
RECIPE_VERSION = 1
NUM_SCENES = {"train": 60_000, "test": 10_000}
SEEDS = {"train": 681307, "test": 1}
PIXEL_SUMS = {"train": 883114919, "test": 150359554}
"""The sum of all pixels of each split. The training split's is also that of the original."""


def random_size(rng: np.random.RandomState, ink_size: int) -> int:
    """Draw the size in pixels of something ``ink_size`` pixels large, by the tutorial's law.

    size = int(ink_size / (0.1 z + 1.3)), z ~ Normal(0, 1)
    """
    scale = 0.1 * rng.randn() + 1.3
    return int(ink_size / scale)


def load(split: str, *, max_count: int = MAX_COUNT) -> Dataset:
    """Load multi-MNIST: 50 x 50 pixels, 0 to 2 digits, labels 0 to 9.

    A box is the frame of the resized 28 x 28 digit, so its margin is empty.

    Args:
        split: ``"train"`` (60,000 scenes of MNIST's training digits) or ``"test"`` (10,000 of
            its test digits).
        max_count: the largest number of digits in a scene. Another one than 2 makes other scenes
            than the tutorial's, by the same recipe.
    Raises: DataError if MNIST is neither on this machine nor to be had from the network.
    """
    original = Recipe("multi-mnist", split, RECIPE_VERSION, NUM_SCENES[split])
    if max_count == MAX_COUNT:
        return load_or_generate(original, lambda: _generate(split, max_count), _check)
    recipe = replace(original, parameters={"max": max_count})
    return load_or_generate(recipe, lambda: _generate(split, max_count))


def _generate(split: str, max_count: int) -> SceneArrays:
    return compose(
        _digit_drawer(*load_mnist(split)),
        num_scenes=NUM_SCENES[split],
        seed=SEEDS[split],
        max_count=max_count,
        canvas_size=(CANVAS_SIZE, CANVAS_SIZE),
    )


def _digit_drawer(digits: NDArray[np.uint8], classes: NDArray[np.uint8]) -> Draw:
    def draw(rng: np.random.RandomState) -> tuple[Glyph, int]:
        index = rng.randint(len(digits))
        size = random_size(rng, ink_size=digits.shape[-1])
        nearest = nearest_pixels(digits.shape[-1], size)
        return digits[index][nearest[:, None], nearest], int(classes[index])

    return draw


@functools.cache
def nearest_pixels(old_size: int, new_size: int) -> NDArray[np.intp]:
    """Return, for each pixel of a resized line, the old pixel under its centre, (new_size,).

    Centre i lies at (i + 1/2) old / new. Like Pillow, which resized the original, this adds up
    the steps one by one: where a centre falls on the edge between two old pixels, the rounding
    of the running sum decides between them, and the checksum notices.
    """
    step = old_size / new_size
    steps = np.full(new_size, step)
    steps[0] = step / 2
    return np.add.accumulate(steps).astype(np.intp)


def _check(data: Dataset) -> None:
    expected = PIXEL_SUMS[data.split]
    pixel_sum = int(data.images.sum(dtype=np.int64))
    if pixel_sum != expected:
        raise DataError(
            f"multi-mnist {data.split}: expected pixels that add up to {expected}, "
            f"got {pixel_sum}. Please report this, with the version of NumPy."
        )
