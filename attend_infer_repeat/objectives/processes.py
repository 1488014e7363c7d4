"""Several processes that train one model, on Lightning Fabric.

They train what one process with the same global batch would train: every process draws the same
random numbers for the whole batch and takes its own share of images and numbers; the gradients are
averaged (DDP). A process by itself needs neither Fabric nor any of this, and pays nothing for it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Value = TypeVar("Value")


class Processes:
    """The processes that train together; one alone without ``fabric``.

    Args:
        device: where this process computes.
        fabric: launched, with the strategy ``ddp``.
    """

    def __init__(self, device: torch.device, fabric: Fabric | None = None) -> None:
        self.device = device
        self.fabric = fabric
        self.rank = 0 if fabric is None else fabric.global_rank
        self.size = 1 if fabric is None else fabric.world_size

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> Callable[..., Any]:
        """Return what to call in the module's place, for ``backward`` to average its gradients."""
        return module if self.fabric is None else self.fabric.setup_module(module)

    def backward(self, loss: Tensor) -> None:
        """Take the gradient of the mean of all processes' losses."""
        loss.backward() if self.fabric is None else self.fabric.backward(loss)

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's rows of a tensor that all processes have."""
        return rows if self.size == 1 else rows.tensor_split(self.size)[self.rank]

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of ``share``; each has as many."""
        if self.fabric is None:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        if self.fabric is None:
            return value
        reduced: Any = self.fabric.all_reduce(value, reduce_op="mean")
        return reduced

    def any(self, holds: bool) -> bool:
        """Return whether something holds in some process."""
        if self.fabric is None:
            return holds
        return self.mean(torch.tensor(float(holds), device=self.device)).item() > 0

    def from_first(self, value: Value) -> Value:
        """Return the first process's value."""
        return value if self.fabric is None else self.fabric.broadcast(value)

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process run a block before the others, who find what it leaves on disk."""
        if self.fabric is not None and not self.is_first:
            self.fabric.barrier()
        yield
        if self.fabric is not None and self.is_first:
            self.fabric.barrier()

    def leave(self) -> None:
        """Wait until all processes have come this far, and close their connection.

        Nothing may hold what ``wrap`` returned any more: it would keep threads of the connection
        alive until the interpreter ends, which then aborts.
        """
        if self.fabric is not None:
            self.fabric.barrier()
            gc.collect()
            torch.distributed.destroy_process_group()
