"""The exact objective: the count is marginalized, so no choice is left to sample.

One rollout along 'every object is present' holds the terms of the ELBO for every count: see
``rollout/terms.py``. Its mean and its mean gradient are those of the tutorial's estimator; the
score-function term, and with it the baselines, are gone. Where the guide stops gradients, at the
rendered canvas and with foresight at the gain of an object, both estimators lack that part of the
gradient: see ``guide/presence.py``.

Early in training q(n | rollout) may explore: with a small probability it is uniform on 0..T. That
is another guide, with an ELBO of its own, in which every prefix of the rollout has to explain the
image as well as it can, so that step 1 learns to draw whole objects and no count is given up early.
Without a bound, each choice to go on is left to a fair coin instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..air import AIR
from ..checkpoints.state_dicts import part_of, prefixed
from ..config import TrainConfig
from ..errors import ConfigError
from ..model import intensity
from ..rollout import Rollout
from ..rollout.stopping import make_stopping
from ..rollout.terms import count_terms
from .augmentation import Composites, compose, cut_out, single_objects
from .base import Execution, Objective, adam_state, mini_batch, restore_adam
from .compilation import Compiled
from .processes import Processes
from .recording import CUDAGraphs, Recorded
from .schedules import Anneal


class TrainingRollout(nn.Module):
    """All that training differentiates, as one module: processes that share the work wrap it."""

    def __init__(self, air: AIR) -> None:
        super().__init__()
        self.air = air

    def forward(
        self, images: Tensor, noise: Tensor | None, counts: Tensor | None, explore: float | Tensor
    ) -> Rollout:
        """Roll out over images (batch, channels, height, width), with roulette."""
        return self.air.rollout(images, noise=noise, counts=counts, explore=explore, roulette=True)


class Found(NamedTuple):
    """What a rollout found in a mini-batch, for composites to be made of."""

    count_probs: Tensor  # (batch, T + 1), q(n | x)
    z_where: Tensor  # (batch, T, 3)
    residual: Tensor | None  # like the images: after the most probable number of objects


class Exact(Objective):
    """Adam on the exact objective, over shuffled epochs, and on copy-paste composites.

    The composites that a step makes of its mini-batch are counted in the next steps, a portion in
    each beside that step's mini-batch: one rollout for both costs less than two.
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
        self.stopping = make_stopping(air.model.count_prior)
        compiles = execution == "compiled"
        if compiles and not self.stopping.has_fixed_steps:
            raise ConfigError(
                "compile: unbounded rollouts cannot be compiled; leave --compile or --unbounded "
                "out."
            )
        if compiles and self.processes.size > 1:
            raise ConfigError("compile: for one process; leave --compile or torchrun out.")
        self.rollout = self.processes.wrap(TrainingRollout(air))
        self.compiled = Compiled(self._losses, air.device) if compiles else None
        # The shapes of a recording never change, and no process waits for another within it.
        records = execution == "recorded" and self.stopping.has_fixed_steps
        self.recorded: Recorded | None = None
        if records and self.processes.size == 1:
            record = CUDAGraphs(air.device)
            descend = partial(self._descend, self._losses)
            self.recorded = Recorded(descend, list(air.parameters()), record)
        self.explore = Anneal(
            "lin", config.exploration.explore, 0.0, 0, config.exploration.explore_steps
        )
        # Composites teach the presence to count; foresight has nothing to learn there.
        can_learn = self.stopping.max_steps > 1 and air.guide.presence.is_learned
        self.makes_composites = can_learn and config.composites.composite_weight > 0
        self.composites: Composites | None = None
        self.optimizer = torch.optim.Adam(
            air.parameters(), lr=config.optimizer.learning_rate, fused=True
        )

    def step(self, step: int, lr_factor: float) -> Tensor:
        """See ``Objective.step``."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.optimizer.learning_rate * lr_factor
        explore = self.explore(step)
        share, composites = self.processes.share, self.composites
        indices = mini_batch(step, len(self.images), self.batch_size, self.config.seed)
        images = self.images[share(indices).to(self.images.device, non_blocking=True)]
        batch = intensity(images)
        if composites is not None:
            every = self.config.composites.composite_every
            composites = composites.portion(step % every, every)
        noise = self._noise(len(indices), 0 if composites is None else len(composites.images))
        if composites is not None:
            composites = Composites(*map(share, composites))
        makes = self._makes_composites_after(step)
        cuts = makes and self.config.composites.composite_of == "objects"
        self.optimizer.zero_grad()
        with pyro.validation_enabled(False):  # the laws' checks would cost more than the laws
            # Compile only the steady state: each combination of arguments would trigger a
            # compilation of its own.
            settled = explore == 0 and (composites is not None or not self.makes_composites)
            losses = self.compiled if self.compiled and settled else self._losses
            descend = self.recorded or partial(self._descend, losses)
            elbo, found = descend(batch, noise, explore, composites, cuts)
            if makes:
                self.composites = self._compose(batch, found)
        self.optimizer.step()
        return elbo.clone()  # a CUDA graph overwrites its outputs in its next run

    def _noise(self, num: int, num_composites: int) -> Tensor | None:
        """Draw the noise for this process's rollouts.

        None for an unbounded model on one process, whose rollouts draw lazily: fewer numbers, but
        others than those of several processes.
        """
        if not self.stopping.has_fixed_steps and self.processes.size == 1:
            return None
        sizes = [n for n in (num, num_composites) if n]
        draws = [self.processes.share(self.air.noise(n)) for n in sizes]
        return draws[0] if len(draws) == 1 else torch.cat(draws)

    @torch.no_grad()
    def _compose(self, batch: Tensor, found: Found) -> Composites:
        """Make composites of the objects of a mini-batch.

        They have up to T objects, or without a bound one more than any image of the batch seems
        to, so that the guide also learns counts that the images may not have; but no more than
        ``TrainConfig.composites.composite_most``.
        """
        gather, probs, config = self.processes.gather, found.count_probs, self.config.composites
        if found.residual is None:
            objects, usable = single_objects(batch, probs)
        else:
            uniform = torch.rand(self.batch_size, dtype=batch.dtype, device=batch.device)
            uniform = self.processes.share(uniform)
            objects, usable = cut_out(batch, found.residual, probs, found.z_where, uniform)
        # As many columns in every process.
        probs = gather(F.pad(probs, (0, self.stopping.max_steps + 1 - probs.shape[1])))
        most = self.stopping.most_found(probs)
        if config.composite_most is not None:
            most = min(most, config.composite_most)
        probs = probs[:, : most + 1]
        return compose(
            gather(objects),
            gather(usable),
            probs,
            config.composite_every,
            config.composite_scattered,
            config.composite_rare,
            largest_zoom=config.composite_zoom,
        )

    def _makes_composites_after(self, step: int) -> bool:
        begun = self.makes_composites and step >= self.config.composites.composite_begin
        return begun and (step + 1) % self.config.composites.composite_every == 0

    def _descend(
        self, losses: Callable[..., tuple[Tensor, Tensor, Found]], *args: Any
    ) -> tuple[Tensor, Found]:
        """Compute the gradients; return the mean ELBO and what was found in the batch."""
        elbo, loss, found = losses(*args)
        self.processes.backward(loss)
        return elbo.detach(), found

    def _losses(
        self,
        batch: Tensor,
        noise: Tensor | None,
        explore: float | Tensor,
        composites: Composites | None,
        cuts: bool,
    ) -> tuple[Tensor, Tensor, Found]:
        """Return the mean ELBO, the loss, and what was found in the batch."""
        images, counts, own = batch, None, slice(len(batch))
        if composites is not None:
            images = torch.cat((batch, composites.images))
            unknown = composites.counts.new_full((len(batch),), -1)
            counts = torch.cat((unknown, composites.counts))
        rollout = self.rollout(images, noise, counts, explore)
        elbo = count_terms(self.air.model, rollout, explore).elbo[own].mean()
        loss = -elbo
        if composites is not None:
            # The weights of all composites sum to 1, and the processes' losses are averaged.
            weight = self.config.composites.composite_weight * self.processes.size
            loss = loss + weight * composites.loss(rollout.log_q()[len(batch) :])
        probs, residual = rollout.count_probs(), None
        if cuts:
            with torch.no_grad():
                residual = rollout.residual(probs.argmax(dim=1))[own]
        return elbo, loss, Found(probs[own].detach(), rollout.z_where[own].detach(), residual)

    def state(self) -> dict[str, Tensor]:
        """See ``Objective.state``."""
        adam = adam_state(self.optimizer, dict(self.air.named_parameters()))
        composites = {} if self.composites is None else self.composites._asdict()
        return adam | prefixed("composites", composites)

    def restore(self, state: dict[str, Tensor]) -> None:
        """See ``Objective.restore``."""
        restore_adam(self.optimizer, dict(self.air.named_parameters()), state)
        parts = part_of(state, "composites")
        composites = {name: part.to(self.air.device) for name, part in parts.items()}
        self.composites = Composites(**composites) if composites else None
