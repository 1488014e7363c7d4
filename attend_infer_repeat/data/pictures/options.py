"""What may be chosen when the user's own images are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ...config import FramingConfig


@dataclass(frozen=True)
class Options:
    """How pictures become a data set.

    Attributes:
        canvas_size: (height, width) in pixels, or the side of a square; the pictures' own if None.
        channels: 1 or 3; what the pictures have if None.
        framing: how they come onto the canvas.
        strict: stop at a picture that cannot be read.
        sample: load no more pictures than this, evenly spread over all; all of them if None.
    """

    canvas_size: int | tuple[int, int] | None = None
    channels: int | None = None
    framing: FramingConfig = field(default_factory=FramingConfig)
    strict: bool = False
    sample: int | None = None

    @classmethod
    def of(cls, **options: Any) -> Options:
        """Take options, and those of the framing by their own names."""
        own = {option.name for option in fields(cls)}
        framing = {name: value for name, value in options.items() if name not in own}
        given = {name: value for name, value in options.items() if name in own}
        return cls(**({"framing": FramingConfig(**framing)} | given))
