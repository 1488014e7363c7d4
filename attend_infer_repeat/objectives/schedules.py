"""Values that change during training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..config import TrainConfig


@dataclass(frozen=True)
class Anneal:
    """A value that moves from ``start`` to ``to`` between steps ``begin`` and ``begin + duration``.

    Linearly (``lin``), geometrically (``exp``), or not at all (``none``); constant before
    and after. ``exp`` needs both ends above 0.
    """

    kind: Literal["none", "lin", "exp"]
    start: float
    to: float
    begin: int
    duration: int

    def __call__(self, step: int) -> float:
        """Return the value at an optimization step."""
        done = min(max((step - self.begin) / self.duration, 0.0), 1.0)
        if self.kind == "none" or done == 0.0:
            return self.start
        if done == 1.0:
            return self.to
        if self.kind == "lin":
            return self.start + (self.to - self.start) * done
        return self.start * (self.to / self.start) ** done


def cosine_decay(step: int, num_steps: int) -> float:
    """Return the factor that falls from 1 at step 0 to 0 at ``num_steps`` along a half cosine."""
    return 0.5 * (1.0 + math.cos(math.pi * min(step / num_steps, 1.0)))


def count_prior_schedule(config: TrainConfig) -> Anneal:
    """Return the success probability of the count prior as a function of the step."""
    final = config.model.count.z_pres_prior
    start, to = config.annealing.anneal_prior_from, config.annealing.anneal_prior_to
    if config.annealing.anneal_prior == "none":
        start = to = None
    return Anneal(
        config.annealing.anneal_prior,
        final if start is None else start,
        final if to is None else to,
        config.annealing.anneal_prior_begin,
        config.annealing.anneal_prior_duration,
    )


def learning_rate_factor(config: TrainConfig, step: int) -> float:
    """Return what the learning rates are multiplied by at an optimization step."""
    return (
        cosine_decay(step, config.optimizer.num_steps)
        if config.optimizer.lr_schedule == "cosine"
        else 1.0
    )
