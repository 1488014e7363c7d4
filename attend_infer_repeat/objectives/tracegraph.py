"""The tutorial's objective: Pyro's TraceGraph_ELBO and data-dependent baselines."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer import TraceGraph_ELBO
from torch import Tensor, nn

from ..air import AIR
from ..checkpoints.state_dicts import part_of, prefixed
from ..config import TrainConfig
from ..errors import ConfigError
from ..guide.baseline import Baseline
from .base import Execution, Objective, adam_state, restore_adam
from .processes import Processes


class TraceGraph(Objective):
    """The score-function estimator for z_pres, the reparametrized one for z_where and z_what.

    What ``pyro.infer.SVI`` does in a step, with one fused Adam where SVI has one per parameter.
    """

    def __init__(
        self,
        air: AIR,
        images: Tensor,
        config: TrainConfig,
        processes: Processes | None = None,
        execution: Execution = "plain",
    ) -> None:
        super().__init__(air, images, config, processes, execution)
        if self.processes.size > 1:
            raise ConfigError(
                "objective: tracegraph trains in one process; leave torchrun out, or give "
                "--objective exact."
            )
        if execution == "compiled":
            raise ConfigError("compile: Pyro's estimator is not compiled; leave --compile out.")
        self.baseline = Baseline(config).to(air.device) if config.estimator.baselines else None
        self.elbo = TraceGraph_ELBO()
        # The learning rate goes by module, so that no new layer can end up with the wrong one.
        modules: dict[str, tuple[nn.Module, float]] = {
            "model": (air.model, config.optimizer.learning_rate),
            "guide": (air.guide, config.optimizer.learning_rate),
        }
        if self.baseline is not None:
            modules["baseline"] = (self.baseline, config.estimator.baseline_learning_rate)
        self.learning_rates = [learning_rate for _, learning_rate in modules.values()]
        self.parameters = {
            f"{prefix}.{name}": parameter
            for prefix, (module, _) in modules.items()
            for name, parameter in module.named_parameters()
        }
        groups = [{"params": list(module.parameters())} for module, _ in modules.values()]
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.store: dict[str, Any] = {"params": {}, "constraints": {}}

    def step(self, step: int, lr_factor: float) -> Tensor:
        """See ``Objective.step``. The plate draws the mini-batch from all the images."""
        for group, learning_rate in zip(
            self.optimizer.param_groups, self.learning_rates, strict=True
        ):
            group["lr"] = learning_rate * lr_factor
        guide = partial(self.air.guide, baseline=self.baseline)
        self.optimizer.zero_grad()
        with pyro.get_param_store().scope(self.store), pyro.validation_enabled(False):
            loss = self.elbo.loss_and_grads(self.air.model, guide, self.images, self.batch_size)
        self.optimizer.step()
        # The plate scales the mini-batch's loss up to the whole data set's.
        return torch.tensor(-loss / len(self.images))

    def state(self) -> dict[str, Tensor]:
        """See ``Objective.state``."""
        tensors = adam_state(self.optimizer, self.parameters)
        baseline = self.baseline.state_dict() if self.baseline is not None else {}
        return tensors | prefixed("baseline", baseline)

    def restore(self, state: dict[str, Tensor]) -> None:
        """See ``Objective.restore``."""
        restore_adam(self.optimizer, self.parameters, state)
        if self.baseline is not None:
            self.baseline.load_state_dict(part_of(state, "baseline"))
