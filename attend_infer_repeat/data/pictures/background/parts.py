"""What is behind the objects of a picture that is read in parts: it may depend on the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import NDArray

from ..reading.rasters import Box, Size

Read = Callable[[Box], NDArray[Any]]
"""Reads a part, (channels, height, width), of a scaled picture."""

Own = TypeVar("Own", bound="Everywhere")


class Everywhere:
    """A background, or what takes it away, that is the same for all parts of any picture."""

    @property
    def margin(self) -> int:
        """Pixels around a part of a picture that must be known: none."""
        return 0

    def in_parts(self: Own, read: Read, size: Size) -> Own:
        """Return the same for all parts of one picture: itself."""
        return self

    def part(self: Own, box: Box) -> Own:
        """Return the same for a part of the picture: itself."""
        return self
