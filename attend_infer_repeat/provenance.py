"""Where TraceGraph_ELBO looks for what depends on what, and what that costs.

Pyro finds the costs that a discrete choice can change by tracking provenance: each tensor that is
computed from the choice carries the choice's name, through every single operation, at ten times the
cost of a small one. A network's outputs depend on all of its inputs, so what is true of its
operations one by one is true of it as one operation: that is how the networks and the spatial
transformer are tracked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from pyro.ops.provenance import ProvenanceTensor, extract_provenance, track_provenance

Function = TypeVar("Function", bound=Callable[..., Any])


def one_operation(function: Function) -> Function:
    """Track a function's provenance as one operation: its outputs depend on all its arguments.

    Nothing changes for arguments without provenance, nor in any value or gradient.

    Args:
        function: all of whose outputs, a tensor or a tuple of them, depend on all its arguments.
    """

    @wraps(function)
    def operation(*args: Any, **kwargs: Any) -> Any:
        if not _is_tracked((*args, *kwargs.values())):
            return function(*args, **kwargs)
        (plain, named), provenance = extract_provenance((args, kwargs))
        return track_provenance(function(*plain, **named), provenance)

    return operation  # type: ignore[return-value]


def _is_tracked(args: tuple[Any, ...]) -> bool:
    return any(
        _is_tracked(arg) if type(arg) is tuple else isinstance(arg, ProvenanceTensor)
        for arg in args
    )
