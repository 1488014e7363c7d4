"""Compiled execution, where a compiler is present and can follow the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Compiled(Generic[Args, Result]):
    """A function that runs compiled where that works, and as it is, silently, where it does not.

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
            except Exception:  # no compiler, or one that fails: the function itself says what is up
                self.compiled = None
        return self.function(*args, **kwargs)
