"""Types of settings, which say what is valid."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, Strict

from ..seeds import check_seed

PositiveInt = Annotated[int, Field(gt=0)]
"""A number of things of which there is one at least."""
Steps = Annotated[int, Field(ge=0)]
"""A number of steps, or none."""
Positive = Annotated[float, Field(gt=0)]
AtLeastOne = Annotated[float, Field(ge=1)]
UpToHundred = Annotated[float, Field(ge=1, le=100)]
Weight = Annotated[float, Field(ge=0)]
Ratio = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Probabilities = Annotated[tuple[Probability, ...], Strict(False)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
"""A share that never is the whole."""
Seed = Annotated[int, BeforeValidator(check_seed)]

# JSON has lists for tuples.
Layers = Annotated[tuple[PositiveInt, ...], Strict(False)]
"""Sizes of a network's hidden layers."""
Numbers = Annotated[tuple[Steps, ...], Strict(False)]
Texts = Annotated[tuple[str, ...], Strict(False)]
CanvasSize = Annotated[tuple[PositiveInt, PositiveInt], Strict(False)]
"""Height and width in pixels."""
Range = Annotated[tuple[float, float], Strict(False)]
"""Two numbers, the lower one first."""
