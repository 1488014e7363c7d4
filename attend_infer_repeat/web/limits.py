"""What the server refuses because it is too large, and the types of fields that say so."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

MAX_BODY = 5_000_000
"""Bytes of a request."""

MAX_PIXELS = 16_000_000
"""Pixels of a picture that is sent: a phone's photo has 12 million."""

MAX_OBJECTS = 50
"""Objects of a scene that is to be drawn."""

MAX_SCENES = 16
"""Scenes that are sampled at once."""

MAX_IMPORTANCE_SAMPLES = 500
"""Importance samples of a picture."""

MAX_SIZE = 1e4
"""The largest number of a pose or a code, by its size: far beyond what any model finds."""

MAX_SIDE = 1024
"""Pixels along a side of a canvas, and numbers of a code."""

MAX_SEED = 2**53 - 1
"""The largest whole number that every JavaScript program knows exactly."""

Number = Annotated[float, Field(ge=-MAX_SIZE, le=MAX_SIZE, allow_inf_nan=False)]
Pixel = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Plane = Annotated[
    list[Annotated[list[Pixel], Field(min_length=1, max_length=MAX_SIDE)]],
    Field(min_length=1, max_length=MAX_SIDE),
]
Planes = Annotated[list[Plane], Field(min_length=3, max_length=3)]
Pose = Annotated[list[Number], Field(min_length=3, max_length=3)]
Code = Annotated[list[Number], Field(min_length=1, max_length=MAX_SIDE)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
Image = Annotated[str, Field(description="a PNG as a data URI")]
Invert = Literal["auto", "yes", "no"]
