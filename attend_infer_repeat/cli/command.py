"""What the commands of `air` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ..errors import ConfigError
from .options import Given, build


class Command:
    """A command of `air`: a dataclass whose fields are its options, its docstring their help."""

    essential: ClassVar[tuple[str, ...]] = ()
    """The options that ``-h`` shows, where a command has more than most people need; else empty."""
    headings: ClassVar[Mapping[str, str]] = {}
    """Headings of help, by the first option below each one; the options after it stand there."""
    passes_on: ClassVar[bool] = False
    """Whether all that follows the first operand is an operand, options included."""

    @classmethod
    def base(cls, given: Given) -> Command | None:
        """Return the command that the given options change; None for the fields' own defaults.

        Raises: AirError if what was given names settings that there are not.
        """
        return None

    @classmethod
    def of(cls, given: Given, base: Command | None) -> Command:
        """Make the command from what was given, and from ``base`` for what was not."""
        return build(cls, given, base)

    def run(self) -> int | None:
        """Do the work; return the exit code, None for 0."""
        raise NotImplementedError


def require_at_least(least: int, **options: int) -> None:
    """Raise a ConfigError if an option's value is too small."""
    for name, value in options.items():
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}.")
