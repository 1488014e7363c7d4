"""The tutorial's objective: Pyro's SVI with TraceGraph_ELBO and data-dependent baselines."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer import SVI, TraceGraph_ELBO
from torch import Tensor, nn

from ..air import AIR
from ..baseline import Baseline
from ..checkpoints import part_of, prefixed
from ..config import TrainConfig
from .base import Objective, adam_states, adam_tensors, load_adam


class TraceGraph(Objective):
    """The score-function estimator for z_pres, the reparametrised one for z_where and z_what."""

    def __init__(self, air: AIR, images: Tensor, config: TrainConfig) -> None:
        super().__init__(air, images, config)
        self.baseline = Baseline(config).to(air.device) if config.baselines else None
        self.svi = SVI(
            air.model.model,
            partial(air.guide.guide, baseline=self.baseline),
            pyro.optim.Adam({}),
            loss=TraceGraph_ELBO(),
        )
        # One optimiser per parameter, as SVI would make them on its first step: the learning
        # rate goes by module, so that a new layer cannot end up with the wrong one, or none.
        self.parameters: dict[str, nn.Parameter] = {}
        self.learning_rates: dict[str, float] = {}
        for module, prefix, learning_rate in (
            (air.model, "model", config.learning_rate),
            (air.guide, "guide", config.learning_rate),
            (self.baseline, "baseline", config.baseline_learning_rate),
        ):
            for name, parameter in module.named_parameters() if module is not None else ():
                self.parameters[f"{prefix}.{name}"] = parameter
                self.learning_rates[f"{prefix}.{name}"] = learning_rate
                self.svi.optim.optim_objs[parameter] = torch.optim.Adam([parameter])
                self.svi.optim.grad_clip[parameter] = None
        self.store: dict[str, Any] = {"params": {}, "constraints": {}}

    def step(self, step: int, lr_factor: float) -> Tensor:
        """See ``Objective.step``. The plate draws the mini-batch from all the images."""
        for name, parameter in self.parameters.items():
            for group in self._optimizer(parameter).param_groups:
                group["lr"] = self.learning_rates[name] * lr_factor
        with pyro.get_param_store().scope(self.store), pyro.validation_enabled(False):
            loss = self.svi.step(self.images, self.batch_size)
        # The plate scales the mini-batch's loss up to the whole data set's.
        return torch.tensor(-loss / len(self.images))

    def state(self) -> dict[str, Tensor]:
        """See ``Objective.state``."""
        tensors = adam_tensors(
            {name: self._optimizer(p).state[p] for name, p in self.parameters.items()}
        )
        baseline = self.baseline.state_dict() if self.baseline is not None else {}
        return tensors | prefixed("baseline", baseline)

    def restore(self, state: dict[str, Tensor]) -> None:
        """See ``Objective.restore``."""
        for name, moments in adam_states(state).items():
            load_adam(self._optimizer(self.parameters[name]), [moments])
        if self.baseline is not None:
            self.baseline.load_state_dict(part_of(state, "baseline"))

    def _optimizer(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        return self.svi.optim.optim_objs[parameter]
