"""All that changes while training, and how it is saved and restored, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..air import AIR
from ..arrays import as_images
from ..checkpoints.checkpoint import Checkpoint, save_checkpoint
from ..checkpoints.state_dicts import first_not_finite, part_of, prefixed
from ..config import TrainConfig, replace
from ..data import Dataset
from ..errors import TrainingError
from ..objectives import OBJECTIVES, Execution, Objective
from ..objectives.processes import Processes
from ..objectives.schedules import count_prior_schedule, learning_rate_factor
from .averaging import ExponentialMovingAverage
from .run import write_settings, writing

LOWER_RATE = "start again with a lower --learning-rate."


@dataclass(frozen=True)
class SavedState:
    """What a checkpoint holds of a run, read before the memory of training is taken."""

    step: int
    seconds: float
    weights: dict[str, Tensor]  # as they are evaluated
    training: dict[str, Tensor]

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> SavedState:
        """Read a run's checkpoint.

        Raises: CheckpointError if it is damaged, or its sizes are not those of its config.
        """
        weights, training = checkpoint.weights(AIR), checkpoint.tensors("training")
        return cls(checkpoint.step, checkpoint.seconds, weights, training)


@dataclass
class TrainingState:
    """All that changes while training."""

    run: Path
    config: TrainConfig
    objective: Objective
    average: ExponentialMovingAverage
    step: int = 0
    seconds: float = 0.0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    """Records of the evaluations so far, of the split ``TrainConfig.output.eval_split``."""
    collapsed: str | None = None
    """Why the run has collapsed; None if it has not."""

    def __post_init__(self) -> None:
        self._count_prior: Callable[[int], float] = count_prior_schedule(self.config)

    @classmethod
    def new(
        cls,
        run: Path,
        config: TrainConfig,
        data: Dataset,
        processes: Processes,
        execution: Execution,
    ) -> TrainingState:
        """Make a model and its objective; torch's generator draws the first weights."""
        images = as_images(data.images, config.model).to(processes.device)
        air = AIR(config.model).to(processes.device)
        average = ExponentialMovingAverage(air, config.optimizer.ema_decay)
        kind = OBJECTIVES[config.estimator.objective]
        objective = kind(air, images, config, processes, execution)
        return cls(run, config, objective, average)

    @property
    def air(self) -> AIR:
        """The model as it is evaluated and saved."""
        return self.average.air

    @property
    def processes(self) -> Processes:
        """Those that train together."""
        return self.objective.processes

    def take_step(self) -> Tensor:
        """Take an optimization step; return the ELBO of ``Objective.step``."""
        self.objective.air.model.count_prior.success.fill_(self._count_prior(self.step))
        elbo = self.objective.step(self.step, learning_rate_factor(self.config, self.step))
        self.average.update(self.step)
        self.step += 1
        return elbo

    def save(self) -> None:
        """Write the run's checkpoint.

        Raises: TrainingError if a weight is not finite or the disk refuses to be written to.
        """
        if first_not_finite(self.air.state_dict()) is not None:
            raise self.diverged(f"some weights are not finite; {LOWER_RATE}")
        with writing(self.run):
            save_checkpoint(
                self.run / "checkpoint",
                self.air,
                train_config=self.config,
                step=self.step,
                seconds=self.seconds,
                training=prefixed("weights", self.objective.air.state_dict())
                | prefixed("objective", self.objective.state())
                | prefixed("generator", _generators(self.air.device)),
            )

    def note(self, **measured: Any) -> None:
        """Keep what was measured after training, ``resume.MEASURED``, with the model and the run.

        Raises: as ``save``.
        """
        config = replace(self.config, **measured)
        if config == self.config:
            return
        self.config = config
        for part in (self.air, self.air.model, self.air.guide):
            part.config = self.config.model
        write_settings(self.run, self.config)
        self.save()

    def restore(self, saved: SavedState) -> None:
        """Go on from what was saved; torch's generators, too, are as they were."""
        self.step, self.seconds = saved.step, saved.seconds
        self.air.load_state_dict(saved.weights)
        self.objective.air.load_state_dict(part_of(saved.training, "weights"))
        self.objective.restore(part_of(saved.training, "objective"))
        _restore_generators(part_of(saved.training, "generator"), self.air.device)

    def diverged(self, what: str) -> TrainingError:
        """Return the error that ends a run whose numbers are no longer finite."""
        return TrainingError(
            f"step {self.step}: {what} {self.run} still holds the last sound checkpoint, if any."
        )


def _generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the random generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_generators(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
