"""The colours of step 1, 2, 3, ... in figures and annotated pictures."""

from __future__ import annotations

# The tutorial's colours of step 1, 2, 3; further steps go on in ones that differ from them.
STEP_COLORS = ("red", "green", "blue", "orange", "magenta", "cyan", "yellow", "purple")


def step_color(t: int) -> str:
    """Return the colour of step t (from 0)."""
    return STEP_COLORS[t % len(STEP_COLORS)]
