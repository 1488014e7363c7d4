"""The path on which everything is present."""

from __future__ import annotations

from .rollout import Path, Remainder, Walk

__all__ = ["Path", "Remainder", "Walk"]
