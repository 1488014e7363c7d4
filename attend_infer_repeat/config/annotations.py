"""What a field's name and type cannot say of its option: short names, or being positional."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class arg:
    """What an option's field cannot say by its name and type."""

    aliases: tuple[str, ...] = ()
    metavar: str | None = None
    positional: bool = False
    hidden: bool = False


Positional = Annotated[T, arg(positional=True)]
"""A positional option, given without a name."""
Suppress = Annotated[T, arg(hidden=True)]
"""A field that is no option."""
