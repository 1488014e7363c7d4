"""The tutorial's first prior: scenes one by one, without a bound on the number of objects."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .scene import SceneModel


def prior_step_sketch(model: SceneModel, t: int) -> Tensor:
    """Sample one object and draw it: y, (1, channels, height, width)."""
    return model.draw(*model.sample_object(t, 1))


def geom_prior(model: SceneModel, x: Tensor, stop_prob: float = 0.5, t: int = 0) -> Tensor:
    """Add a geometric number of objects to the canvas x, by recursion."""
    stop = pyro.sample(f"i_{t}", dist.Bernoulli(torch.tensor(stop_prob)))
    if stop:
        return x
    return geom_prior(model, x + prior_step_sketch(model, t), stop_prob, t + 1)


def geom(stop_prob: float = 0.5, num_trials: int = 0) -> int:
    """Sample the number of failures before the first success of Bernoulli trials."""
    if pyro.sample(f"x_{num_trials}", dist.Bernoulli(torch.tensor(stop_prob))):
        return num_trials
    return geom(stop_prob, num_trials + 1)
