"""The inference network q(z | x)."""

from __future__ import annotations

from .base import DOUBT, GLIMPSE, PACE, Attention, GuideState, SceneGuide, step_features

__all__ = ["Attention", "DOUBT", "GLIMPSE", "GuideState", "PACE", "SceneGuide", "step_features"]
