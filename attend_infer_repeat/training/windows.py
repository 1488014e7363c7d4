"""How large objects are: the preset ``auto`` chooses zoom and windows by it."""

from __future__ import annotations

import math

import numpy as np

from ..data.pictures.survey.look import largest_size
from ..data.pictures.survey.survey import SMALL_AND_LARGE, Survey
from .choices import Choices

OBJECT_SIZE = 16
"""Size to which a typical object is reduced, in canvas pixels: more detail costs more time."""

MAX_USEFUL_ZOOM = 0.8
"""Largest zoom that is applied: between this and 1, the time saved is not worth the blur."""

WINDOW_MARGIN = 1.15
"""Width of the window on the canvas, in sizes of a typical object, if large ones need no more."""

RELATIVE_SCALE_SD = 0.02
"""Standard deviation of the scale prior as a share of its mean. A window that is half as large
again costs 139 nats then: more than an object costs, so that no window covers two of them."""

WINDOW_RESOLUTION = 0.8
"""Window pixels for each canvas pixel that the window covers, as in the preset fast."""

SMALL_SIZE, LARGE_SHARE = 6, 0.5
"""Size in canvas pixels to which small ones are reduced, and the share of the largest canvas that
large ones have at most, which comes first."""

LEAST_SIZE = 4
"""Size in canvas pixels of the smallest windows' objects, since little is seen of smaller ones."""

OF_ONE_SIZE = frozenset(
    {"size_range", "scale_prior_mean", "scale_prior_sd", "focus", "pos_prior_mean", "pos_prior_sd"}
)
"""Settings by which somebody says that objects are of one size."""

SIZE_RANGES = 1.01, 100.0
"""Bounds of the range of sizes, which is more than one size and what the setting allows."""

LARGE_RESOLUTION = 1 / 3
"""Window pixels for each canvas pixel that the window of a large one covers: small ones, which the
same decoder draws, have more than enough."""

MIN_WINDOW, MAX_WINDOW = 8, 32
"""Bounds of the window size, in pixels."""


def usual_zoom(size: float) -> float:
    """Return the zoom that reduces ``size`` pixels to ``OBJECT_SIZE``; 1 rather than enlarge."""
    return _useful(OBJECT_SIZE / size)


def many_sizes(choices: Choices, look: Survey) -> tuple[float, float] | None:
    """Return the longer sides of small and of large objects, in pixels of their pictures.

    None if objects are of about one size, or somebody says so, or the guide seeks no sizes.
    """
    model, given = choices.config.model, choices.given
    wanted = model.pose.has_sizes
    says_one = not wanted and OF_ONE_SIZE & set(given)
    if says_one or not model.inference.sees_residual:
        return None
    if look.sizes is not None:
        small, large = np.percentile(look.sizes.sides, SMALL_AND_LARGE)
        return float(small), float(large)
    ratio = math.sqrt(model.pose.size_range)
    return (look.side / ratio, look.side * ratio) if wanted else None


def zoom_for(sides: tuple[float, float], largest: int) -> float:
    """Return the zoom for objects of many sizes, on a canvas of at most so many pixels."""
    small, large = sides
    return _useful(min(SMALL_SIZE / small, LARGE_SHARE * largest / large))


def _useful(zoom: float) -> float:
    return 1.0 if zoom > MAX_USEFUL_ZOOM else zoom


def choose_window(choices: Choices, look: Survey, zoom: float) -> None:
    """Choose the size of the window, on the canvas and in pixels of its own."""
    sides = many_sizes(choices, look)
    if sides is not None:
        _choose_windows(choices, look, zoom, sides)
        return
    size, largest = zoom * look.side, zoom * look.largest_side
    canvas = choices.config.dataset.canvas or zoom * largest_size(look.looks)[0]
    window = min(max(WINDOW_MARGIN * size, largest), canvas)
    choices.decide(
        f"a window of {window:.0f} of the canvas's {canvas:.0f} pixels, where a typical object has "
        f"{size:.0f} and a large one {largest:.0f}; tight, so that none covers two",
        scale_prior_mean=round(canvas / window, 2),
        scale_prior_sd=round(RELATIVE_SCALE_SD * canvas / window, 3),
        window_size=int(np.clip(round(WINDOW_RESOLUTION * window), MIN_WINDOW, MAX_WINDOW)),
        composite_zoom=round(max(largest / size, 1.0), 2),
    )


def _choose_windows(
    choices: Choices, look: Survey, zoom: float, sides: tuple[float, float]
) -> None:
    """Choose windows of many sizes."""
    small, large = (max(zoom * side, LEAST_SIZE) for side in sides)
    canvas = choices.config.dataset.canvas or zoom * largest_size(look.looks)[0]
    least, most = (min(WINDOW_MARGIN * side, canvas) for side in (small, large))
    choices.decide(
        f"objects are of many sizes, {small:.0f} to {large:.0f} of the canvas's {canvas:.0f} "
        "pixels, and so are windows",
        size_range=float(np.clip(round(most / least, 2), *SIZE_RANGES)),
        scale_prior_mean=round(canvas / math.sqrt(least * most), 2),
        window_size=int(np.clip(round(LARGE_RESOLUTION * most), MIN_WINDOW, MAX_WINDOW)),
        composite_zoom=1.0,
    )
