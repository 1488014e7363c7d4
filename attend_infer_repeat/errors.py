"""Typed errors: one line each, saying what came, what was expected, and what to do next."""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("attend_infer_repeat")


class AirError(Exception):
    """A mistake in what the user gave; the command line prints its one line and exits with 2."""


class ConfigError(AirError, ValueError):
    """A setting that is out of range, unknown, or contradicts another one."""


class DataError(AirError, ValueError):
    """Data that is missing, damaged, or not what it should be."""


class NotFiniteError(DataError):
    """A model's answer that is not made of finite numbers."""


class ShapeError(AirError, ValueError):
    """An array whose shape, type or values do not fit the model."""


class CheckpointError(AirError, ValueError):
    """A run or checkpoint that is missing, damaged, or belongs to another configuration."""


class TrainingError(AirError):
    """Training cannot go on."""


class BusyError(AirError, RuntimeError):
    """A folder that another process is writing to."""


class MissingError(AirError, ModuleNotFoundError):
    """A package that is not installed, which only one feature needs."""

    def __init__(self, package: str, extra: str, feature: str) -> None:
        """Tell which extra of ``pyproject.toml`` has the package that a feature needs."""
        super().__init__(
            f"{feature} needs {package}, which is not installed; "
            f"pip install 'attend-infer-repeat[{extra}]'",
            name=package,
        )


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended the training of a run, which has said how to go on with it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name closest to ``name``, or ``""``."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ""


@contextmanager
def extra(name: str, feature: str) -> Iterator[None]:
    """Import what an extra brings, in a ``with`` block.

    Args:
        name: the extra.
        feature: what needs it, such as ``a figure``. The outermost of nested blocks says it.
    Raises: MissingError, one line that says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingError((error.name or "").partition(".")[0], name, feature) from error


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning the first time that it is given in this process."""
    logger.warning(message)
