"""The generative model p(x, z)."""

from __future__ import annotations

from .background import Background
from .composition import Canvas, Composition
from .count_prior import CountPrior
from .geometric import geom, geom_prior, prior_step_sketch
from .likelihood import PixelLikelihood
from .poses import Poses
from .scene import SceneModel, SceneState, intensity

__all__ = [
    "Background",
    "Canvas",
    "Composition",
    "CountPrior",
    "PixelLikelihood",
    "Poses",
    "SceneModel",
    "SceneState",
    "geom",
    "geom_prior",
    "intensity",
    "prior_step_sketch",
]
