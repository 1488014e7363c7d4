"""Scenes of squares, circles and triangles, drawn here, in gray or in color."""

from __future__ import annotations

import colorsys
import functools

import numpy as np
from numpy.typing import NDArray

from ..dataset import Dataset
from .backgrounds import Background
from .cache import Recipe, load_or_generate
from .scenes import Glyph, Layout, SceneArrays, compose

SHAPES = ("square", "circle", "triangle")
"""The names of the labels 0, 1 and 2."""

SIZES = (10, 17)
"""The smallest and the largest height (and width) of a shape, in pixels."""

BRIGHTNESS = (0.6, 1.0)
"""Above 1/2, so that two shapes that overlap always exceed a pixel, and no scene has any."""

SATURATION = (0.5, 1.0)
RECIPE_VERSION = 1
NUM_SCENES = {"train": 20_000, "test": 5_000}
SEEDS = {"train": 0, "test": 1}


def load(
    split: str,
    *,
    canvas_size: int = 50,
    channels: int = 1,
    max_count: int = 3,
    counts: tuple[int, ...] | None = None,
    background: Background = "black",
) -> Dataset:
    """Load scenes of 0 to ``max_count`` shapes; the label is the place in ``SHAPES``.

    Args:
        split: ``"train"`` (20,000 scenes) or ``"test"`` (5,000).
        channels: 1 for gray shapes, 3 for colored ones.
        canvas_size: height and width in pixels; the shapes keep their size.
        max_count: the largest number of shapes in a scene.
        counts: the numbers of shapes, all as frequent, in place of 0 to ``max_count``.
        background: behind them: ``"black"``, or ``"noisy"`` or ``"grid"`` of ``data.backgrounds``.
    Raises: DataError if the canvas is too small for the shapes or for that many of them; 12 have
        room on 100 x 100 pixels.
    """
    layout = Layout((canvas_size, canvas_size), max_count, counts, background)

    def generate() -> SceneArrays:
        return compose(
            _gray_shape if channels == 1 else _colored_shape,
            num_scenes=NUM_SCENES[split],
            seed=SEEDS[split],
            layout=layout,
            channels=channels,
        )

    parameters = {"canvas": canvas_size, "channels": channels} | layout.parameters()
    recipe = Recipe("sprites", split, RECIPE_VERSION, NUM_SCENES[split], parameters)
    return load_or_generate(recipe, generate)


def _gray_shape(rng: np.random.RandomState) -> tuple[Glyph, int]:
    label, mask = _random_mask(rng)
    return _to_uint8(mask * rng.uniform(*BRIGHTNESS)), label


def _colored_shape(rng: np.random.RandomState) -> tuple[Glyph, int]:
    label, mask = _random_mask(rng)
    value = rng.uniform(*BRIGHTNESS)  # the brightest channel
    color = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*SATURATION), value)
    return _to_uint8(mask * np.array(color)[:, None, None]), label  # (3, size, size)


def _random_mask(rng: np.random.RandomState) -> tuple[int, NDArray[np.float64]]:
    label = int(rng.randint(len(SHAPES)))
    size = int(rng.randint(SIZES[0], SIZES[1] + 1))
    return label, shape_mask(SHAPES[label], size)


def _to_uint8(intensity: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.round(255 * intensity).astype(np.uint8)


@functools.cache
def shape_mask(shape: str, size: int, oversampling: int = 8) -> NDArray[np.float64]:
    """Return how much of each pixel a shape covers; the shape touches all sides of its frame.

    Each pixel averages oversampling x oversampling points that are inside (1) or outside (0).

    Returns: (size, size), 0 to 1.
    """
    at = (np.arange(size * oversampling) + 0.5) / (size * oversampling)  # 0 to 1 along the frame
    y, x = at[:, None], at[None, :]
    inside = {
        "square": (x >= 0) & (y >= 0),
        "circle": (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25,
        "triangle": abs(x - 0.5) <= y / 2,  # the apex in the middle of the upper side
    }[shape]
    points = inside.astype(np.float64).reshape(size, oversampling, size, oversampling)
    mask: NDArray[np.float64] = points.mean(axis=(1, 3))
    return mask
