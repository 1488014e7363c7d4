"""The colours of step 1, 2, 3, ... in figures and annotated pictures."""

from __future__ import annotations

# The tutorial's colours of step 1, 2, 3; further steps go on in ones that differ from them.
STEP_COLORS = ("red", "green", "blue", "orange", "magenta", "cyan", "yellow", "purple")


def step_color(t: int) -> str:
    """Return the colour of step t (from 0)."""
    return STEP_COLORS[t % len(STEP_COLORS)]


INK, GREY = "0.15", "0.5"
"""What figures are labelled in; and what matters less."""

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
    """Return the colour of step t (from 0), toned for figures that are read closely."""
    return READABLE_COLORS[t % len(READABLE_COLORS)]
