"""How far a model's counts stray from one look at a picture to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..air import AIR
from ..data.pictures.reading import sampling

SHIFTS = ((0, 0), (0, 1), (1, 0), (0, -2), (-2, 0))
"""Rows and columns by which images are moved."""

MOST_IMAGES = 64
"""Images that are looked at."""


def count_spread(air: AIR, images: NDArray[np.uint8]) -> float:
    """Return the variance of the counts of moved images, as a share of the mean count, at most 1.

    A picture that is moved by a pixel or two shows the same objects. Where a model that is sure of
    each count answers otherwise, its counts are less sure than it says: by so much, on average, for
    each object.

    Args:
        air: the model.
        images: (N, height, width) or (N, channels, height, width), uint8; black in the background.
    """
    chosen = images[sampling.spread(len(images), MOST_IMAGES)]
    counts = np.stack([air.infer(_moved(chosen, *shift)).counts for shift in SHIFTS])
    mean = float(counts.mean())
    return min(float(counts.var(axis=0, ddof=1).mean()) / mean, 1.0) if mean else 0.0


def _moved(images: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Move what images show; black comes in from beyond their edges."""
    moved = np.zeros_like(images)
    (to_y, from_y), (to_x, from_x) = _slices(rows), _slices(columns)
    moved[..., to_y, to_x] = images[..., from_y, from_x]
    return moved


def _slices(by: int) -> tuple[slice, slice]:
    """Return where to and where from along an axis; what would lie beyond the edge stays away."""
    behind, ahead = slice(max(by, 0), min(by, 0) or None), slice(max(-by, 0), min(-by, 0) or None)
    return behind, ahead
