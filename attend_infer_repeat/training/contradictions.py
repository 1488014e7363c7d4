"""Settings that somebody gave, and that the pictures speak against."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ..config import TrainConfig
from ..data.pictures.survey.survey import Survey

logger = logging.getLogger(__name__)

LEAST_SIZE = 5
"""Size of a typical object in canvas pixels below which little of it is seen."""


def warn_of_contradictions(config: TrainConfig, look: Survey, zoom: float) -> None:
    """Warn of what the pictures speak against, a line each with what to do.

    Args:
        config: the settings, chosen and given.
        look: at the pictures.
        zoom: canvas pixels per picture pixel.
    """
    for warning in _contradictions(config, look, zoom):
        logger.warning("%s", warning)


def _contradictions(config: TrainConfig, look: Survey, zoom: float) -> Iterator[str]:
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
    most = max(int((own.sides >= look.side / 2).sum()) for own in look.components)
    count = config.model.count
    if not count.unbounded and most > count.model_steps:
        yield (
            f"A picture seems to show {most} objects, where -t {count.model_steps} allows "
            f"{count.model_steps} at most: give a larger -t, or leave it out."
        )
