"""What scenes can stand in front of: nothing, noise, or a grid.

Both are those on which the authors of SuPAIR showed AIR to fail (Stelzner, Peharz and Kersting
2019, "Faster Attend-Infer-Repeat with tractable probabilistic models"; the figures are those of
their published code):

    noisy   x <- 0.8 x + 0.1 + 0.2 e, e ~ Normal(0, 1) for each pixel, cut off at 0 and 1
    grid    x <- max(x, 0.4) on every fifth row and every fifth column, the first of each uniform
            among the first five
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Background = Literal["black", "noisy", "grid"]
BACKGROUNDS: tuple[str, ...] = get_args(Background)

CONTRAST, LEVEL, NOISE = 0.8, 0.1, 0.2
SPACING = 5
LINE = round(0.4 * 255)

STREAM = 0x6261636B
"""Added to a set's seed: backgrounds have a generator of their own, so that a set's objects are the
same in front of each of them."""

CHUNK = 1_000  # images at a time: floats take eight times the room of uint8


def put_behind(images: NDArray[np.uint8], background: Background, seed: int) -> None:
    """Put a background behind the objects of images, in place.

    Args:
        images: (N, height, width) or (N, channels, height, width), objects on black.
        background: which one.
        seed: of the set.
    """
    rng = np.random.default_rng(STREAM + seed)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        if background == "noisy":
            noise = rng.standard_normal(part.shape, dtype=np.float32)
            noisy = CONTRAST * part.astype(np.float32) + 255 * (LEVEL + NOISE * noise)
            part[:] = np.round(noisy.clip(0, 255))
        if background == "grid":
            _draw_lines(part, rng.integers(SPACING, size=len(part)), axis=-2)
            _draw_lines(part, rng.integers(SPACING, size=len(part)), axis=-1)


def _draw_lines(images: NDArray[np.uint8], first: NDArray[np.int64], axis: int) -> None:
    """Draw lines at each image's first place along an axis and every fifth after it, in place."""
    at = np.arange(images.shape[axis])
    lines = at % SPACING == first[:, None]  # (N, height or width)
    shape = [len(images)] + [1] * (images.ndim - 1)
    shape[axis] = len(at)
    np.maximum(images, LINE * lines.reshape(shape).astype(np.uint8), out=images)
