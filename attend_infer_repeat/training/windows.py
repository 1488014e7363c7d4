"""How large objects are: the preset ``auto`` chooses zoom and windows by it."""

from __future__ import annotations

import numpy as np

from ..data.pictures.survey.look import largest_size
from ..data.pictures.survey.survey import Survey
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

MIN_WINDOW, MAX_WINDOW = 8, 32
"""Bounds of the window size, in pixels."""


def usual_zoom(size: float) -> float:
    """Return the zoom that reduces ``size`` pixels to ``OBJECT_SIZE``; 1 rather than enlarge."""
    zoom = OBJECT_SIZE / size
    return 1.0 if zoom > MAX_USEFUL_ZOOM else zoom


def choose_window(choices: Choices, look: Survey, zoom: float) -> None:
    """Choose the size of the window, on the canvas and in pixels of its own."""
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
