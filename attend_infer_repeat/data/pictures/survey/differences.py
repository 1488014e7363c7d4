"""How pictures differ from what is behind their objects: direction, spread, and tone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..background.background import Objects, Tone
from ..background.candidates import MIN_STEP, NUM_SDS

LUMINANCE = (0.299, 0.587, 0.114)
"""What red, green and blue add to gray (ITU-R BT.601)."""

ONE_SIDED = 0.85
"""Share of the foreground's energy that is brighter, or darker, where all objects are."""

FOREGROUND_SDS, FOREGROUND_SHARE = 4.0, 0.4
"""The threshold of the foreground: at least so many standard deviations of the noise, and at least
that share of the median of what is beyond the noise."""

CONTRAST_PERCENTILE, HEADROOM = 95, 1.5
"""White is that percentile of what is beyond the noise, but at most so many times its median: what
a rendering leaves of a few very bright objects would pay for many objects."""

BRIGHTEST_PERCENTILE, MANY_TIMES = 99, 2.0
"""Where that percentile is so many times the median, it is white, and differences are stretched:
they are linear up to what would be white."""


def in_channels(image: NDArray[np.floating], channels: int) -> NDArray[np.floating]:
    """Return an image, (1 or 3, height, width), in gray or in color, as Pillow converts it."""
    if len(image) == channels:
        return image
    if channels == 3:
        return np.broadcast_to(image, (3, *image.shape[1:]))
    return np.tensordot(np.array(LUMINANCE, np.float32), image, 1)[None]


def direction(differences: Sequence[NDArray[np.floating]], sd: float) -> Objects:
    """Tell how objects differ from the background, by the energy of what is beyond the noise."""
    step = max(NUM_SDS * sd, MIN_STEP)
    energies = np.array(
        [
            sum(float((d[d > step] ** 2).sum()) for d in differences),
            sum(float((d[d < -step] ** 2).sum()) for d in differences),
        ]
    )
    brighter, darker = energies / max(energies.sum(), 1e-9)
    if brighter > ONE_SIDED:
        return "brighter"
    return "darker" if darker > ONE_SIDED else "both"


def spread_behind(differences: Sequence[NDArray[np.floating]], objects: Objects) -> float:
    """Return how far the background strays, from the side of it on which no objects are.

    The median of that side's absolute values, as of half a normal distribution; 0 if there are
    objects on both sides.
    """
    if objects == "both":
        return 0.0
    away = np.concatenate([(-d if objects == "brighter" else d).ravel()[::7] for d in differences])
    behind = away[away > 0.5 / 255]
    return 1.4826 * float(np.median(behind)) if len(behind) > 0.02 * len(away) else 0.0


def choose_tone(away: Sequence[NDArray[np.floating]], noise: float) -> tuple[Tone, float]:
    """Return how differences are shown, and the threshold of the foreground.

    Args:
        away: (channels, height, width) of each view, how far its pixels differ in the direction in
            which objects do.
        noise: standard deviation, of the same.
    """
    brightest = np.concatenate([image.max(axis=0).ravel() for image in away])
    strong = brightest[brightest > max(NUM_SDS * noise, MIN_STEP)]
    if not len(strong):
        return Tone(), 1.0
    typical = float(np.median(strong))
    threshold = max(FOREGROUND_SDS * noise, FOREGROUND_SHARE * typical)
    most = float(np.percentile(strong, BRIGHTEST_PERCENTILE))
    if most > MANY_TIMES * typical:
        return Tone(min(most, 1.0), most / (HEADROOM * typical)), threshold
    contrast = min(float(np.percentile(strong, CONTRAST_PERCENTILE)), HEADROOM * typical)
    return Tone(min(contrast, 1.0)), threshold
