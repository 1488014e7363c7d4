"""A training step as a CUDA graph: a GPU is told once what to do, not operation by operation.

A step of a bounded model launches well over a thousand small operations, each of which a GPU has
done before Python asks for the next. Replayed as a graph, all are launched at once. No compiler is
needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from .compilation import reason_of

logger = logging.getLogger(__name__)

WARM_UP = 3  # runs before a recording: libraries set themselves up in the first ones
TOLERANCE = 1e-2  # of the gradients' norm, between a replay and the run itself

Record = Callable[[Callable[[], Any]], tuple[Any, Callable[[], object]]]
"""Runs a function and records it; returns its outputs, and what computes them anew in place."""


class CUDAGraphs:
    """Records what functions do on a GPU.

    All recordings share their memory: of one, only outputs and gradients outlast the next replay.

    Args:
        device: the GPU.
    Source: "Whole-network capture" in PyTorch's notes on CUDA semantics.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool: Any = None

    def __call__(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
        """Record a function: a ``Record``."""
        with torch.cuda.device(self.device):
            self.pool = self.pool or torch.cuda.graph_pool_handle()
            own, stream = torch.cuda.current_stream(), torch.cuda.Stream()
            stream.wait_stream(own)
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    run()
            own.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # The outer context brings the own stream back where a recording fails.
            with torch.cuda.stream(own), torch.cuda.graph(graph, pool=self.pool, stream=stream):
                outputs = run()
        return outputs, graph.replay


class Recorded:
    """A function that computes gradients; what it does is recorded once, and then replayed.

    There is one recording for each kind of arguments: which are there, and of what shapes. Before
    it is used, it has to give the gradients of the function itself. If it does not, or cannot be
    made, a line says so, and from then on the function is called.

    Args:
        function: leaves gradients with the parameters, and has no other side effect.
        parameters: without gradients whenever this is called.
        record: how to record.
    """

    def __init__(
        self, function: Callable[..., Any], parameters: Sequence[Tensor], record: Record
    ) -> None:
        self.function, self.parameters, self.record = function, parameters, record
        self.recordings: dict[Hashable, _Recording] | None = {}

    def __call__(self, *args: Any) -> Any:
        """Call the function, or replay it.

        Args:
            args: tensors, numbers, None, or named tuples of tensors. The function gets numbers as
                tensors, (), so that the next call may have others; but not True and False.
        Returns: what the function returns, in memory that the next call overwrites.
        """
        if self.recordings is None:
            return self.function(*args)
        try:
            return self._replay(self.recordings, args)
        except Exception as error:  # whatever cannot be recorded
            # Where a recording fails, its end fails, too, on account of it.
            reason = reason_of(error.__context__ or error)
        # Here, and not above: the error would keep the memory of the recording.
        self.recordings = None
        self._clear()
        result = self.function(*args)  # which raises what is wrong with itself
        logger.warning("No CUDA graph, going on without: %s", reason)
        return result

    def _replay(self, recordings: dict[Hashable, _Recording], args: Sequence[Any]) -> Any:
        kind = tuple(map(_kind, args))
        if kind not in recordings:
            recordings[kind] = self._recording(args)
        return recordings[kind](args)

    def _recording(self, args: Sequence[Any]) -> _Recording:
        """Record the function for one kind of arguments; raises RuntimeError if it is not it."""
        self.function(*args)
        expected = self._take_gradients()
        recording = _Recording(self, args)
        for gradient in recording.gradients:
            if gradient is not None:
                gradient.zero_()  # so that what is found below is what was replayed
        recording(args)
        if not _agree(self._take_gradients(), expected):
            raise RuntimeError("it gives other gradients than the step itself.")
        return recording

    def _take_gradients(self) -> list[Tensor | None]:
        gradients = [parameter.grad for parameter in self.parameters]
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


def _agree(found: Sequence[Tensor | None], known: Sequence[Tensor | None]) -> bool:
    """Whether gradients are the known ones, but for rounding; or the known ones are no numbers."""
    if [one is None for one in found] != [one is None for one in known]:
        return False
    pairs = [(f, k) for f, k in zip(found, known, strict=True) if f is not None and k is not None]
    difference = torch.stack([(f - k).norm() for f, k in pairs]).norm()
    size = torch.stack([k.norm() for _, k in pairs]).norm()
    return bool(difference <= TOLERANCE * size) or not bool(size.isfinite())


def _kind(arg: Any) -> Hashable:
    """Return what a recording depends on."""
    if isinstance(arg, Tensor):
        return arg.shape, arg.dtype
    if isinstance(arg, tuple):
        return tuple(map(_kind, arg))
    return repr(arg) if arg is None or isinstance(arg, bool) else type(arg).__name__


def _held(arg: Any, like: Tensor) -> Any:
    """Return an argument in memory of its own, on the device of a tensor."""
    if isinstance(arg, Tensor):
        return arg.clone()
    if isinstance(arg, tuple):
        return type(arg)(*(_held(part, like) for part in arg))
    return arg if arg is None or isinstance(arg, bool) else like.new_full((), arg)


def _fill(held: Any, arg: Any) -> None:
    """Copy an argument to where it is held."""
    if isinstance(arg, tuple):
        for part, value in zip(held, arg, strict=True):
            _fill(part, value)
    elif isinstance(arg, Tensor):
        held.copy_(arg)
    elif isinstance(held, Tensor):
        held.fill_(arg)
