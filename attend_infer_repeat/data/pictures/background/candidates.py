"""Which background pictures have: the simplest one that explains nearly as many pixels as any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .background import Background, Black, Level, Smooth
from .common import Common
from .smooth import level_of

MIN_STEP = 3 / 255
"""Difference from the background that no background explains, where there is no noise."""

NUM_SDS = 3.0
"""Noise standard deviations up to which a pixel is explained."""

MIN_EXPLAINED = {Level: 0.03, Smooth: 0.05, Common: 0.03}
"""Share of the pixels that a background must explain beyond a simpler one, to be chosen."""

FEWEST_IN_COMMON = 8
"""Fewest pictures of which a common background is taken."""

FEWEST_SHOW, FEWEST_PIXELS = 0.1, 9
"""Share of the pictures in which something is in front of a common background, at least, and the
pixels that it has."""

OFTEN, STEADY, LARGEST_BOARD = 0.2, 0.8, 0.05
"""A pixel has another value in common where it is not the median in so many pictures, and is the
same in so many of those; and the share of the pixels of which that may be true: objects are often
somewhere, too, but nowhere so often."""

KERNEL_SHARE = 1 / 6
"""Kernel width of a smooth background, as a share of the view's longer side."""

SMOOTH_SAMPLE = 24
"""Views in which a smooth background is tried."""


def choose_background(
    images: Sequence[NDArray[np.floating]], sd: float, shared: bool
) -> tuple[Background, float]:
    """Return the simplest background that explains nearly as many pixels as any.

    Args:
        images: (channels, height, width) each, intensity.
        sd: of their noise.
        shared: whether one image may be behind all.
    Returns: it, and the share of the pixels that it explains.
    """
    levels = np.array([level_of(image) for image in images])
    width = KERNEL_SHARE * float(np.median([max(image.shape[1:]) for image in images]))
    candidates: list[Background] = [
        Level(tuple(np.median(levels, axis=0).round(4).tolist())),
        Level(),
        Smooth(width),
    ]
    if shared and len(images) >= FEWEST_IN_COMMON:
        common = _common(np.stack(images), sd)
        if _shown_before(common, images, sd) >= FEWEST_SHOW:
            candidates.append(common)
    chosen: Background = Black()
    best = _explained(chosen, images, sd)
    sample = images[:: -(-len(images) // SMOOTH_SAMPLE)]
    for candidate in candidates:
        explained = _explained(candidate, sample, sd)
        if explained >= best + MIN_EXPLAINED[type(candidate)]:
            chosen, best = candidate, explained
    return chosen, best


def _common(images: NDArray[np.floating], sd: float) -> Common:
    """Return what images have in common: the median and, where it is steady, another value.

    Args:
        images: (num, channels, height, width).
        sd: of their noise.
    """
    step = max(NUM_SDS * sd, MIN_STEP)
    image = np.median(images, axis=0)
    differs = np.abs(images - image).max(axis=1) > 2 * step  # (num, height, width)
    often = np.nonzero(differs.mean(axis=0) >= OFTEN)
    other = image.copy()
    for y, x in zip(*often, strict=True):
        values = images[differs[:, y, x], :, y, x]
        value = np.median(values, axis=0)
        if (np.abs(values - value).max(axis=1) <= step).mean() >= STEADY:
            other[:, y, x] = value
    changed = (other != image).any(axis=0).mean()
    return Common(image, other if changed <= LARGEST_BOARD else image)


def _shown_before(common: Common, images: Sequence[NDArray[np.floating]], sd: float) -> float:
    """Return the share of the images that show something in front of a common background.

    Of equal pictures, the median is what they show.
    """
    step = max(NUM_SDS * sd, MIN_STEP)
    differ = [(np.abs(image - common.of(image)).max(axis=0) > 2 * step).sum() for image in images]
    return float(np.mean(np.array(differ) >= FEWEST_PIXELS))


def _explained(background: Background, images: Sequence[NDArray[np.floating]], sd: float) -> float:
    """Return the share of the pixels that a background explains, but for noise."""
    step = max(NUM_SDS * sd, MIN_STEP)
    shares = [(np.abs(image - background.of(image)).max(axis=0) <= step).mean() for image in images]
    return float(np.mean(shares))
