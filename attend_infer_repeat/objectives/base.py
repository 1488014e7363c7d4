"""What every objective offers to the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from ..air import AIR
from ..checkpoints.state_dicts import part_of
from ..config import TrainConfig
from ..errors import ConfigError
from ..seeds import shortened
from .processes import Processes

Execution = Literal["plain", "compiled", "recorded"]
"""How steps run: operation by operation; compiled; or recorded as CUDA graphs.

What cannot be compiled raises ConfigError. What cannot be recorded runs operation by operation:
Pyro's estimator, rollouts without a bound, several processes. Where a compiler or a recording
fails, a line says so, and steps run operation by operation, too."""


class Objective(ABC):
    """A way to improve an AIR by one optimization step at a time.

    Args:
        air: the model and its guide, changed in place.
        images: (num_images, channels, height, width), uint8, all the training images.
        config: the run's settings; its batch is that of all processes together.
        processes: with which other processes; none if not given.
        execution: how its steps run.
    Raises: ConfigError if the objective does not offer what is asked.
    """

    def __init__(
        self,
        air: AIR,
        images: Tensor,
        config: TrainConfig,
        processes: Processes | None = None,
        execution: Execution = "plain",
    ) -> None:
        self.processes = processes or Processes(air.device)
        self.air = air
        self.images = images
        self.config = config
        self.batch_size = min(config.optimizer.batch_size, len(images))
        if self.batch_size % self.processes.size:
            raise ConfigError(
                f"batch_size: {self.batch_size} images cannot be shared equally among "
                f"{self.processes.size} processes; give a multiple with --batch-size."
            )

    @abstractmethod
    def step(self, step: int, lr_factor: float) -> Tensor:
        """Take optimization step ``step`` (from 0), with the learning rates times ``lr_factor``.

        Returns: the mean ELBO before the step of this process's images, (), nats per image.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return all that the next step needs beside the AIR's own parameters, by name."""

    @abstractmethod
    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state that ``state`` returned."""


def mini_batch(step: int, num_images: int, batch_size: int, seed: int) -> Tensor:
    """Return the indices of a step's mini-batch: shuffled epochs without replacement.

    A function of the step alone, so a resumed run sees the batches it would have seen. The rest
    of an epoch that fills no mini-batch is left out of it; the next epoch shuffles anew.
    """
    epoch, batch = divmod(step, num_images // batch_size)
    return _shuffled(num_images, seed, epoch)[batch * batch_size : (batch + 1) * batch_size]


@lru_cache(maxsize=1)
def _shuffled(num_images: int, seed: int, epoch: int) -> Tensor:
    number = (seed << 24) + epoch
    if number >= 2**64:  # more than torch takes: seeds of 2**40 and above
        number = shortened(seed, epoch, bits=64)
    generator = torch.Generator().manual_seed(number)
    return torch.randperm(num_images, generator=generator)


def adam_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return Adam's state as ``adam/<moment>/<parameter>``.

    By the parameters' names, where the optimizer's own ``state_dict`` numbers them, and as tensors
    alone. ``torch.distributed.checkpoint`` offers names, too, but takes 1.6 s to import.

    Args:
        optimizer: an Adam.
        parameters: all that it optimizes, by name.
    """
    return {
        f"adam/{moment}/{name}": torch.as_tensor(value)
        for name, parameter in parameters.items()
        for moment, value in optimizer.state[parameter].items()
    }


def restore_adam(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
) -> None:
    """Give an Adam the state that ``adam_state`` returned, on its parameters' devices.

    Args:
        optimizer: an Adam.
        parameters: all that it optimizes, by name, in its own order.
        state: may hold more than Adam's.
    """
    moments: dict[str, dict[str, Tensor]] = {}
    for path, value in part_of(state, "adam").items():
        moment, _, name = path.partition("/")
        moments.setdefault(name, {})[moment] = value
    # A parameter that has had no gradient so far has no moments.
    states = {number: moments.get(name, {}) for number, name in enumerate(parameters)}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
