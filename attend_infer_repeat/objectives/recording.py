"""A training step as one CUDA graph: a GPU is told once what to do, not operation by operation.

A step of a bounded model launches some 1,500 small operations. A GPU has done each before Python
has asked for the next. Recorded as a graph, all are launched at once, and no compiler is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from .compilation import reason_of

logger = logging.getLogger(__name__)

WARM_UP = 3  # runs before a recording: libraries set themselves up in the first ones
TOLERANCE = 1e-2  # of a gradient's norm, between a recording and the run as it is

Outputs = TypeVar("Outputs")
Record = Callable[[Callable[[], Outputs]], tuple[Outputs, Callable[[], None]]]
"""Runs a function, recording it; returns its outputs, and what computes them anew in place."""


def cuda_graph(run: Callable[[], Outputs]) -> tuple[Outputs, Callable[[], None]]:
    """Record what a function does on the GPU: a ``Record``.

    Source: "Whole-network capture" in PyTorch's notes on CUDA semantics.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()
    return outputs, graph.replay


class Recorded:
    """A function that computes gradients, replayed where that works, as it is where it does not.

    A recording is made for each kind of arguments: which are there, of what shapes. It has to give
    the gradients that the function gave; if it does not, or cannot be made, a line says so, and the
    function runs as it is from then on.

    Args:
        function: leaves gradients with the parameters; without other side effects.
        parameters: which have none before it is called.
        record: how to record.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        parameters: Sequence[Tensor],
        record: Record[Any] = cuda_graph,
    ) -> None:
        self.function, self.parameters, self.record = function, parameters, record
        self.recordings: dict[Hashable, _Recording] | None = {}

    def __call__(self, *args: Any) -> Any:
        """Call the function.

        Args:
            args: tensors, numbers, None, or tuples of tensors. Numbers reach the function as
                tensors, (), so that the next call may have others; but True and False do not.
        Returns: what the function returns, in memory that the next call overwrites.
        """
        if self.recordings is not None:
            try:
                key = tuple(map(_kind, args))
                if key not in self.recordings:
                    self.recordings[key] = self._recording(args)
                return self.recordings[key](args)
            except Exception as error:  # whatever cannot be recorded
                self.recordings = None
                self._clear()
                result = self.function(*args)  # which raises what is wrong with itself
                logger.warning("No CUDA graph, going on without: %s", reason_of(error))
                return result
        return self.function(*args)

    def _recording(self, args: Sequence[Any]) -> _Recording:
        self.function(*args)
        expected = self._take_gradients()
        recording = _Recording(self, args)
        for gradient in recording.gradients:
            if gradient is not None:
                gradient.zero_()  # so that what is found below is what was replayed
        recording(args)
        for found, known in zip(self._take_gradients(), expected, strict=True):
            if (found is None) != (known is None) or (
                found is not None
                and known is not None
                # Not a number differs from itself, and is nobody's fault here.
                and bool((found - known).norm() > TOLERANCE * known.norm() + torch.finfo().tiny)
            ):
                raise RuntimeError("it gives other gradients than the step itself.")
        return recording

    def _take_gradients(self) -> list[Tensor | None]:
        gradients = [p.grad for p in self.parameters]
        self._clear()
        return gradients

    def _clear(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


class _Recording:
    """The function, recorded for arguments of one kind."""

    def __init__(self, of: Recorded, args: Sequence[Any]) -> None:
        self.parameters = of.parameters
        self.args = [_held(arg, of.parameters[0]) for arg in args]

        def run() -> Any:
            of._clear()
            return of.function(*self.args)

        self.outputs, self.replay = of.record(run)
        self.gradients = of._take_gradients()

    def __call__(self, args: Sequence[Any]) -> Any:
        for held, arg in zip(self.args, args, strict=True):
            _fill(held, arg)
        self.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.outputs


def _kind(arg: Any) -> Hashable:
    """Return what a recording depends on."""
    if isinstance(arg, Tensor):
        return arg.shape, arg.dtype
    if isinstance(arg, tuple):
        return tuple(map(_kind, arg))
    return repr(arg) if arg is None or isinstance(arg, bool) else type(arg).__name__


def _held(arg: Any, like: Tensor) -> Any:
    """Return an argument in memory of its own."""
    if isinstance(arg, Tensor):
        return arg.clone()
    if isinstance(arg, tuple):
        parts = [_held(part, like) for part in arg]
        return type(arg)(*parts)
    return arg if arg is None or isinstance(arg, bool) else like.new_full((), arg)


def _fill(held: Any, arg: Any) -> None:
    if isinstance(arg, tuple):
        for part, value in zip(held, arg, strict=True):
            _fill(part, value)
    elif isinstance(arg, Tensor):
        held.copy_(arg)
    elif isinstance(held, Tensor):
        held.fill_(arg)
