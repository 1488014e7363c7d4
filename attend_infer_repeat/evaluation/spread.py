"""How far a model's counts stray from one look at a picture to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..air import AIR
from ..data.pictures.reading import sampling

MIRRORED = ((-2,), (-1,), (-2, -1))
"""Axes of images along which they are mirrored: upside down, left to right, both."""

EDGE = 3
"""Pixels from the edge of an image within which a box may be cut: those objects are left alone."""

SAME_PLACE = 0.35
"""Distance of centers, in widths of a window, below which two looks found one object."""

MOST_IMAGES = 64
"""Images that are looked at."""


def count_spread(air: AIR, images: NDArray[np.uint8]) -> float:
    """Return the variance of counts for each object, at most 1, as one look differs from another.

    An image in a mirror shows as many objects. If looks are as often wrong as each other, and
    independently, an object is found in one of two looks alone twice as often as it is miscounted
    in one. A model may know things of one hand better: then the variance is too large, and what
    is said of a count too careful.

    Args:
        air: the model.
        images: (N, height, width) or (N, channels, height, width), uint8; black in the background.
    """
    chosen = images[sampling.spread(len(images), MOST_IMAGES)]
    window = air.config.canvas_size[1] / air.config.pose.scale_prior_mean
    first = air.infer(chosen).boxes
    found = alone = 0
    for axes in MIRRORED:
        mirrored = air.infer(np.flip(chosen, axes).copy()).boxes
        mirrored = _mirrored_back(mirrored, images.shape[-2:], axes)
        for own, other in zip(first, mirrored, strict=True):
            for these, those in ((own, other), (other, own)):
                whole, widths = _centers(these, images.shape[-2:], EDGE)
                there, _ = _centers(those, images.shape[-2:])
                found += len(whole)
                for center, width in zip(whole, widths, strict=True):
                    nearby = SAME_PLACE * (width if air.config.pose.has_sizes else window)
                    alone += int(_distance(center, there) > nearby)
    return min(alone / found, 1.0) if found else 0.0


def _mirrored_back(
    boxes: NDArray[np.floating], size: tuple[int, ...], axes: tuple[int, ...]
) -> NDArray[np.floating]:
    """Return where boxes, (..., 4), in mirrored images lie in the images themselves."""
    boxes = boxes.copy()
    for axis in axes:
        low, high = (0, 2) if axis == -1 else (1, 3)
        boxes[..., [low, high]] = size[axis] - boxes[..., [high, low]]
    return boxes


def _centers(
    boxes: NDArray[np.floating], size: tuple[int, ...], edge: float = -np.inf
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return centers, (num, 2), and longer sides, (num,), of boxes clear of the edges.

    Of boxes (T, 4) that are ``edge`` pixels clear of them.

    Those that are NaN, of no object, are left out.
    """
    height, width = size
    low, high = boxes[:, :2], boxes[:, 2:]
    clear = (low >= edge) & (high <= np.array([width, height]) - edge)
    these = clear.all(axis=1)
    return ((low + high) / 2)[these], (high - low).max(axis=1)[these]


def _distance(center: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Return how far the nearest of other centers, (num, 2), is; infinity if there is none."""
    return float(np.hypot(*(others - center).T).min(initial=np.inf))
