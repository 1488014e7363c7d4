"""How far a model's counts stray from one look at a picture to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..air import AIR
from ..data.pictures.reading import sampling

SHIFTS = ((0, 1), (1, 0), (0, -2), (-2, 0))
"""Rows and columns by which images are moved."""

EDGE = 3
"""Pixels from the edge of an image within which a box is cut in some look, or close to that."""

SAME_PLACE = 0.35
"""Distance of centers, in widths of a window, below which two looks found one object."""

MOST_IMAGES = 64
"""Images that are looked at."""


def count_spread(air: AIR, images: NDArray[np.uint8]) -> float:
    """Return the variance of counts for each object, at most 1, as one look differs from another.

    An image that is moved by a pixel or two shows the same objects, but for those that its edges
    cut, which are left alone. If looks are as often wrong as each other, and independently, an
    object is found in one of two looks alone twice as often as it is miscounted in one.

    Args:
        air: the model.
        images: (N, height, width) or (N, channels, height, width), uint8; black in the background.
    """
    chosen = images[sampling.spread(len(images), MOST_IMAGES)]
    nearby = SAME_PLACE * air.config.canvas_size[1] / air.config.pose.scale_prior_mean
    first = air.infer(chosen).boxes
    found = alone = 0
    for rows, columns in SHIFTS:
        moved = air.infer(_moved(chosen, rows, columns)).boxes
        moved = moved - np.array([columns, rows, columns, rows], moved.dtype)
        for own, other in zip(first, moved, strict=True):
            for these, those in ((own, other), (other, own)):
                whole = _centers(these, images.shape[-2:], EDGE)
                there = _centers(those, images.shape[-2:])
                found += len(whole)
                alone += sum(_distance(center, there) > nearby for center in whole)
    return min(alone / found, 1.0) if found else 0.0


def _centers(
    boxes: NDArray[np.floating], size: tuple[int, ...], edge: float = -np.inf
) -> NDArray[np.floating]:
    """Return the centers, (num, 2), of boxes, (T, 4), that are ``edge`` pixels clear of the edges.

    Those that are NaN, of no object, are left out.
    """
    height, width = size
    low, high = boxes[:, :2], boxes[:, 2:]
    clear = (low >= edge) & (high <= np.array([width, height]) - edge)
    return ((low + high) / 2)[clear.all(axis=1)]


def _distance(center: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Return how far the nearest of other centers, (num, 2), is; infinity if there is none."""
    return float(np.hypot(*(others - center).T).min(initial=np.inf))


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
