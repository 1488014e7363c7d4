"""The inference network q(z | x)."""

from __future__ import annotations

from .base import SceneGuide
from .look import GLIMPSE_WIDTH, Look
from .memory import Memory
from .presence import Presence
from .read import Reading
from .recipes import RECIPES
from .state import Attention, GuideState

__all__ = [
    "GLIMPSE_WIDTH",
    "RECIPES",
    "Attention",
    "GuideState",
    "Look",
    "Memory",
    "Presence",
    "Reading",
    "SceneGuide",
]
