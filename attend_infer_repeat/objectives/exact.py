"""The exact objective: the count is marginalized, so no choice is left to sample.

The latents of step t matter only if steps 1..t are all present. One walk along 'every object
is present' therefore holds, for every n in 0..T, the canvas after n objects and the KL paid
for them. With p_t = q(z_pres_t = 1 | path) and q(n | path) = (1 - p_{n+1}) prod_{t<=n} p_t,

    ELBO = E_path [ sum_n q(n | path) ( log p(x | path_{1..n}) + log p(n) - log q(n | path)
                                        - sum_{t<=n} KL_t ) ]

Its mean and its mean gradient are those of the tutorial's estimator; the score-function term,
and with it the baselines, are gone. KL_t, of Gaussians, is in closed form. Where the guide stops
gradients, at what is drawn and with foresight at the worth of an object, both estimators are of
what is left of the gradient: see ``guide/base.py``.

Early in training q(n | path) may explore: with a small probability it is uniform on 0..T. That is
another guide, with an ELBO of its own, in which every prefix of the path has to explain the image
as well as it can, so that step 1 learns to draw whole objects and no count is given up early.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pyro
import torch
from torch import Tensor
from torch.nn import functional as F

from ..air import AIR
from ..config import TrainConfig
from ..distributions import gaussian_kl
from ..errors import ConfigError
from ..model import intensity
from ..rollout import Path
from ..state_dicts import part_of, prefixed
from .augmentation import Composites, compose, cut_out, single_objects
from .base import Objective, adam_state, mini_batch, restore_adam
from .compilation import Compiled
from .processes import Processes
from .schedules import Anneal


@dataclass(frozen=True)
class CountTerms:
    """What the ELBO is made of, for every count n = 0..T, along one path; nats per image."""

    log_likelihood: Tensor  # (batch, T + 1), log p(x | path_{1..n})
    log_p: Tensor  # (T + 1,), log p(n)
    log_q: Tensor  # (batch, T + 1), log q(n | path)
    kl_where: Tensor  # (batch, T + 1), sum_{t<=n} KL(q(z_where_t) || p(z_where))
    kl_what: Tensor  # (batch, T + 1), sum_{t<=n} KL(q(z_what_t) || p(z_what))
    kl_background: Tensor | None = None  # (batch,), KL(q(z_bg) || p(z_bg)); None: no background
    weights: Tensor | None = None  # (batch, T + 1), ``Path.weights``

    def mean(self, values: Tensor) -> Tensor:
        """Return sum_n q(n | path) values_n, shape (batch,)."""
        q = self.log_q.exp() if self.weights is None else self.log_q.exp() * self.weights
        return (q * values).sum(dim=-1)

    @property
    def of_counts(self) -> Tensor:
        """What the ELBO would be if the guide were sure of a count, (batch, T + 1).

        It is -inf where an unbounded walk has left the image.
        """
        values = self.log_likelihood + self.log_p - self.kl_where - self.kl_what
        if self.kl_background is not None:
            values = values - self.kl_background[:, None]
        return values if self.weights is None else values.masked_fill(self.weights == 0, -torch.inf)

    @property
    def elbo(self) -> Tensor:
        """One unbiased sample of the evidence lower bound, (batch,)."""
        elbo = self.mean(
            self.log_likelihood + self.log_p - self.log_q - self.kl_where - self.kl_what
        )
        return elbo if self.kl_background is None else elbo - self.kl_background

    @property
    def parts(self) -> dict[str, Tensor]:
        """The ELBO's summands by name, each (batch,): which latent pays what."""
        behind = {} if self.kl_background is None else {"kl_background": self.kl_background}
        return behind | {
            "log_likelihood": self.mean(self.log_likelihood),
            "kl_pres": self.mean(self.log_q - self.log_p),
            "kl_where": self.mean(self.kl_where),
            "kl_what": self.mean(self.kl_what),
        }


def count_terms(
    air: AIR, images: Tensor, *, path: Path | None = None, explore: float = 0.0
) -> CountTerms:
    """Return the terms of the ELBO for every count, along one path.

    Args:
        air: the model and its guide.
        images: (batch, channels, height, width), intensity.
        path: the guide's walk over these images; walked now if None.
        explore: probability with which the guide's count is uniform instead, in [0, 1).
    Source: the formula at the head of this file.
    """
    path = air.guide.path(images, explore=explore, roulette=True) if path is None else path
    kl_where = gaussian_kl(path.z_where_dist, air.model.z_where_dist()).sum(dim=-1)
    kl_what = gaussian_kl(path.z_what_dist, air.model.z_what_dist()).sum(dim=-1)
    kl_background = None
    if path.z_background_dist is not None:
        kl_background = gaussian_kl(path.z_background_dist, air.model.z_background_dist()).sum(-1)
    return CountTerms(
        log_likelihood=path.log_likelihood,
        log_p=air.model.count_prior.log_prob()[: path.num_steps + 1].to(images.dtype),
        log_q=path.log_q(explore),
        kl_where=F.pad(kl_where.cumsum(dim=-1), (1, 0)),
        kl_what=F.pad(kl_what.cumsum(dim=-1), (1, 0)),
        kl_background=kl_background,
        weights=path.weights,
    )


def place_loss(air: AIR, path: Path) -> Tensor:
    """Return the mean of sum_{t<=n} ``SceneGuide.place_error`` under q(n | path), (batch,).

    It moves the places alone: q(n | path) only says which of them matter.
    """
    logits = path.z_pres_logits[:, : path.num_steps].detach()
    present = torch.sigmoid(logits).cumprod(dim=-1)  # q(n >= t)
    if path.weights is not None:
        present = present * path.weights[:, 1:]
    error = air.guide.place_error(path.places, path.z_where_dist)
    return (present * error).sum(dim=-1)


class Found(NamedTuple):
    """What a walk found in a mini-batch, for scenes to be made of."""

    count_probs: Tensor  # (batch, T + 1), q(n | x)
    z_where: Tensor  # (batch, T, 3)
    left: Tensor | None  # like the images: what the most probable number of objects leaves of them


class Exact(Objective):
    """Adam on the exact objective, over shuffled epochs, and on copy-paste composites.

    The scenes that a step makes from its mini-batch are counted in the next steps, a portion in
    each beside that step's mini-batch: one walk for both costs less than two.
    """

    def __init__(
        self,
        air: AIR,
        images: Tensor,
        config: TrainConfig,
        processes: Processes | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__(air, images, config, processes, compiled)
        if compiled and config.model.unbounded:
            raise ConfigError("compile: a walk without a bound is not compiled; leave one out.")
        if compiled and self.processes.size > 1:
            raise ConfigError("compile: for one process; leave --compile or torchrun out.")
        self.walk = self.processes.wrap(air)
        self.compiled = Compiled(self._losses, air.device) if compiled else None
        self.explore = Anneal("lin", config.explore, 0.0, 0, config.explore_steps)
        # Composites teach the guide to count; a guide with foresight has nothing to learn there.
        counts_by_network = config.model.max_steps > 1 and not config.model.foresight
        self.composes = counts_by_network and config.composite_weight > 0
        self.made: Composites | None = None
        self.optimizer = torch.optim.Adam(air.parameters(), lr=config.learning_rate, fused=True)

    def step(self, step: int, lr_factor: float) -> Tensor:
        """See ``Objective.step``."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * lr_factor
        explore = self.explore(step)
        share, made = self.processes.share, self.made
        indices = mini_batch(step, len(self.images), self.batch_size, self.config.seed)
        images = self.images[share(indices).to(self.images.device, non_blocking=True)]
        batch = intensity(images)
        if made is not None:
            made = made.portion(step % self.config.composite_every, self.config.composite_every)
        noise = self._noise(len(indices), 0 if made is None else len(made.images))
        if made is not None:
            made = Composites(*map(share, made))
        self.optimizer.zero_grad()
        with pyro.validation_enabled(False):  # the laws' checks would cost more than the laws
            # Each form of the losses would be compiled for itself: only the last one is.
            settled = explore == 0 and (made is not None or not self.composes)
            losses = self.compiled if self.compiled and settled else self._losses
            composes = self._composes_after(step)
            cuts = composes and self.config.composite_of == "objects"
            elbo, loss, found = losses(batch, noise, explore, made, cuts)
            if composes:
                self.made = self._compose(batch, found)
        self.processes.backward(loss)
        self.optimizer.step()
        return elbo.detach().clone()  # what a CUDA graph returned, its next run overwrites

    def _noise(self, num: int, num_made: int) -> Tensor | None:
        """Draw what this process's walks need; None if they draw for themselves, as they go.

        Without a bound that is less, but other numbers than those of several processes.
        """
        if self.config.model.unbounded and self.processes.size == 1:
            return None
        draws = [self.processes.share(self.air.guide.noise(n)) for n in (num, num_made) if n]
        return draws[0] if len(draws) == 1 else torch.cat(draws)

    @torch.no_grad()
    def _compose(self, batch: Tensor, found: Found) -> Composites:
        """Make scenes of the objects of a mini-batch.

        They have up to T objects, or without a bound one more than any image of the batch seems
        to, so that the guide also learns counts that the images may not have; but no more than
        ``TrainConfig.composite_most``.
        """
        gather, probs = self.processes.gather, found.count_probs
        if found.left is None:
            objects, usable = single_objects(batch, probs)
        else:
            uniform = torch.rand(self.batch_size, dtype=batch.dtype, device=batch.device)
            uniform = self.processes.share(uniform)
            objects, usable = cut_out(batch, found.left, probs, found.z_where, uniform)
        if self.config.model.unbounded:  # as many columns in every process
            probs = F.pad(probs, (0, self.config.model.step_limit + 1 - probs.shape[1]))
        probs = gather(probs)
        if self.config.model.unbounded:
            most = int(probs.argmax(dim=-1).max()) + 1
            probs = probs[:, : max(most, 2) + 1]
        if self.config.composite_most is not None:
            probs = probs[:, : self.config.composite_most + 1]
        return compose(
            gather(objects),
            gather(usable),
            probs,
            self.config.composite_every,
            self.config.composite_scattered,
            self.config.composite_rare,
            self.config.composite_share,
        )

    def _composes_after(self, step: int) -> bool:
        begun = self.composes and step >= self.config.composite_begin
        return begun and (step + 1) % self.config.composite_every == 0

    def _losses(
        self,
        batch: Tensor,
        noise: Tensor | None,
        explore: float,
        made: Composites | None,
        cuts: bool,
    ) -> tuple[Tensor, Tensor, Found]:
        """Return the mean ELBO, the loss, and what was found in the batch."""
        images = batch if made is None else torch.cat((batch, made.images))
        counts = None
        if made is not None and self.config.model.unbounded:
            counts = torch.cat((made.counts.new_full((len(batch),), -1), made.counts))
        path, own = self.walk(images, noise, counts, explore), slice(len(batch))
        # The composites' ELBO is left out last: a slice of every canvas would cost more.
        elbo = count_terms(self.air, images, path=path, explore=explore).elbo[own].mean()
        loss = place_loss(self.air, path)[own].mean() - elbo
        if made is not None:
            # The weights of all composites sum to 1, and the processes' losses are averaged.
            weight = self.config.composite_weight * self.processes.size
            loss = loss + weight * made.loss(path.log_q()[len(batch) :])
        probs, left = path.count_probs(), None
        if cuts:
            with torch.no_grad():
                left = path.left(probs.argmax(dim=1))[own]
        return elbo, loss, Found(probs[own].detach(), path.z_where[own].detach(), left)

    def state(self) -> dict[str, Tensor]:
        """See ``Objective.state``."""
        adam = adam_state(self.optimizer, dict(self.air.named_parameters()))
        return adam | prefixed("made", {} if self.made is None else self.made._asdict())

    def restore(self, state: dict[str, Tensor]) -> None:
        """See ``Objective.restore``."""
        restore_adam(self.optimizer, dict(self.air.named_parameters()), state)
        made = part_of(state, "made")
        self.made = (
            Composites(**{k: v.to(self.air.device) for k, v in made.items()}) if made else None
        )
