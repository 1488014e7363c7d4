"""The generative model p(x, z)."""

from __future__ import annotations

from .scene import Canvas, SceneModel, SceneState, geom, intensity

__all__ = ["Canvas", "SceneModel", "SceneState", "geom", "intensity"]
