"""Settings that somebody gave, and that the pictures speak against."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from itertools import chain

from ..config import TrainConfig
from ..data.pictures.survey.look import largest_size
from ..data.pictures.survey.survey import Survey

logger = logging.getLogger(__name__)

OF_SIZE = frozenset({"canvas", "zoom", "scale_prior_mean", "window_size"})
"""Settings by which somebody tells how large objects are."""

LEAST_SIZE = 5
"""Size of a typical object in canvas pixels below which little of it is seen."""


def warn_of_contradictions(
    config: TrainConfig, given: Collection[str], look: Survey, zoom: float
) -> None:
    """Warn of what the pictures speak against, a line each with what to do.

    Args:
        config: the settings, chosen and given.
        given: names of those that were given.
        look: at the pictures.
        zoom: canvas pixels per picture pixel.
    """
    warnings = _about_count(config, look, zoom)
    if OF_SIZE & set(given):
        warnings = chain(_about_size(config, look, zoom), warnings)
    for warning in warnings:
        logger.warning("%s", warning)


def _about_size(config: TrainConfig, look: Survey, zoom: float) -> Iterator[str]:
    size, canvas = zoom * look.side, config.dataset.canvas
    if canvas is not None and size > canvas:
        yield (
            f"A typical object is {size:.0f} pixels large on a canvas of {canvas}, which cannot "
            "show it: give a larger --canvas, or a smaller --zoom."
        )
    elif size < LEAST_SIZE:
        yield (
            f"A typical object is only {size:.1f} pixels large on the canvas: give a larger "
            "--canvas or --zoom, or leave them out."
        )


def _about_count(config: TrainConfig, look: Survey, zoom: float) -> Iterator[str]:
    count, canvas = config.model.count, config.dataset.canvas
    if canvas is not None and canvas < round(zoom * max(largest_size(look.looks))):
        return  # it shows parts of pictures
    most = max(int((own.sides >= look.side / 2).sum()) for own in look.components)
    if not count.unbounded and most > count.model_steps:
        yield (
            f"A picture seems to show {most} objects, where -t {count.model_steps} allows "
            f"{count.model_steps} at most: give a larger -t, or leave it out."
        )
