"""The rollout along 'every object is present', and what is computed along it."""

from __future__ import annotations

from .noise import draw_noise, make_noise, noise_shape
from .rollout import Rollout, roll_out
from .stopping import Stopping, make_stopping

__all__ = [
    "Rollout",
    "Stopping",
    "draw_noise",
    "make_noise",
    "make_stopping",
    "noise_shape",
    "roll_out",
]
