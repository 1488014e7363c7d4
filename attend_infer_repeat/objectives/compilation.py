"""Compiled execution, where a compiler is present and can follow the program."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch

logger = logging.getLogger(__name__)

MAX_REASON_LENGTH = 200
"""Characters of an error's first line that are shown."""

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Compiled(Generic[Args, Result]):
    """A function that runs compiled where that works, and as it is, with a line, where it does not.

    Args:
        function: of tensors, without side effects; it may be called twice for one result.
        device: where the tensors are. On a GPU the compiled function is recorded as CUDA graphs,
            whose outputs the next call overwrites.
    """

    def __init__(self, function: Callable[Args, Result], device: torch.device) -> None:
        self.function = function
        self.mode = "reduce-overhead" if device.type == "cuda" else "default"
        self.compiled: Callable[Args, Result] | None = torch.compile(
            function, mode=self.mode, dynamic=False
        )

    def __call__(self, *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Call the function."""
        if self.compiled is not None:
            try:
                torch.compiler.cudagraph_mark_step_begin()
                return self.compiled(*args, **kwargs)
            except Exception as error:  # no compiler, or one that fails
                self.compiled = None
                result = self.function(*args, **kwargs)  # which raises what is wrong with itself
                logger.warning("--compile failed, going on without it: %s", reason_of(error))
                return result
        return self.function(*args, **kwargs)


def reason_of(error: BaseException) -> str:
    """Return why compiling failed, in one line: the first of the errors that led to each other."""
    while cause := getattr(error, "inner_exception", None) or error.__cause__:
        error = cause
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "out of memory."
    lines = [line.strip() for line in str(error).splitlines()]
    first = next(filter(None, lines), "no reason given")
    return f"{type(error).__name__}: {first[:MAX_REASON_LENGTH]}"
