"""The data of Pyro's AIR tutorial, bit for bit: scenes of 0 to 2 MNIST digits."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..dataset import Dataset
from .backgrounds import Background
from .cache import Recipe, load_or_generate
from .mnist import load_mnist
from .scenes import Draw, Glyph, Layout, SceneArrays, compose

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


def load(
    split: str,
    *,
    canvas_size: int = CANVAS_SIZE,
    max_count: int = MAX_COUNT,
    counts: tuple[int, ...] | None = None,
    background: Background = "black",
) -> Dataset:
    """Load multi-MNIST: 50 x 50 pixels, 0 to 2 digits, labels 0 to 9.

    A box is the frame of the resized 28 x 28 digit, so its margin is empty. With any option that is
    not as it stands, the scenes are others than the tutorial's, by the same recipe.

    Args:
        split: ``"train"`` (60,000 scenes of MNIST's training digits) or ``"test"`` (10,000 of
            its test digits).
        canvas_size: height and width in pixels; the digits keep their size.
        max_count: the largest number of digits in a scene.
        counts: the numbers of digits, all as frequent, in place of 0 to ``max_count``.
        background: behind them: ``"black"``, or ``"noisy"`` or ``"grid"`` of ``data.backgrounds``.
    Raises: DataError if MNIST is neither on this machine nor to be had from the network, or if the
        canvas is too small for that many digits.
    """
    layout = Layout((canvas_size, canvas_size), max_count, counts, background)

    def generate() -> SceneArrays:
        draw = _digit_drawer(*load_mnist(split))
        return compose(draw, num_scenes=NUM_SCENES[split], seed=SEEDS[split], layout=layout)

    original = Layout((CANVAS_SIZE, CANVAS_SIZE), MAX_COUNT)
    as_it_stands = original.parameters()
    changed = {k: v for k, v in layout.parameters().items() if as_it_stands.get(k) != v}
    recipe = Recipe("multi-mnist", split, RECIPE_VERSION, NUM_SCENES[split], changed)
    return load_or_generate(recipe, generate, _check if not changed else lambda data: None)


def _digit_drawer(digits: NDArray[np.uint8], classes: NDArray[np.uint8]) -> Draw:
    def draw(rng: np.random.RandomState) -> tuple[Glyph, int]:
        index = rng.randint(len(digits))
        size = random_size(rng, ink_size=digits.shape[-1])
        nearest = nearest_pixels(digits.shape[-1], size)
        return digits[index][nearest[:, None], nearest], int(classes[index])

    return draw


@functools.cache
def nearest_pixels(old_size: int, new_size: int) -> NDArray[np.intp]:
    """Return, for each pixel of a resized line, the old pixel under its center, (new_size,).

    Center i lies at (i + 1/2) old / new. Like Pillow, which resized the original, this adds up
    the steps one by one: where a center falls on the edge between two old pixels, the rounding
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
