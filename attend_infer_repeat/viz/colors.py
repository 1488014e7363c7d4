"""The colors of step 1, 2, 3, ... in figures and annotated pictures."""

from __future__ import annotations

from ..files.annotate import STEP_COLORS, step_color

__all__ = ["INK", "GRAY", "READABLE_COLORS", "STEP_COLORS", "readable_color", "step_color"]

INK, GRAY = "0.15", "0.5"
"""What figures are labeled in; and what matters less."""

# The same hues, toned down: each stands out from black pictures and from white paper alike.
READABLE_COLORS = (
    "#e0483e",
    "#22a05b",
    "#3f7fe8",
    "#e08a1e",
    "#cf4fc0",
    "#16a3b8",
    "#b39b12",
    "#8d5bd0",
)


def readable_color(t: int) -> str:
    """Return the color of step t (from 0), toned for figures that are read closely."""
    return READABLE_COLORS[t % len(READABLE_COLORS)]
