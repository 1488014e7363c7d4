"""The guide's rollout over images, along 'every object is present'.

The latents of step t matter only if steps 1..t are all present, so one rollout holds all that
q(z | x) and p(x, z) need for any count: after n steps, the residual of the image, log p(x | the
first n objects), and the laws and values of n poses and codes.
"""

from __future__ import annotations

from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from ..distributions import gaussian, reparametrized
from ..guide import Attention, GuideState, SceneGuide
from .noise import Means, make_noise
from .residuals import Residuals, make_residuals
from .stopping import Progress, Stopping, make_stopping


class Rollout(NamedTuple):
    """Steps of the guide, of weight 0 where an image had left the rollout, or padded with zeros."""

    stopping: Stopping
    z_pres_logits: Tensor  # (batch, steps), log-odds of q(z_pres_t = 1 | z_pres_{t-1} = 1);
    # (batch, steps + 1) without a bound, where the last choice is to stop
    z_where_dist: dist.Normal  # (batch, steps, 3), of the poses' coordinates
    z_what_dist: dist.Normal  # (batch, steps, what_dim)
    z_where: Tensor  # (batch, steps, 3)
    z_what: Tensor  # (batch, steps, what_dim)
    proposals: Tensor  # (batch, steps, 3), the proposed poses p_t
    residuals: Residuals  # what n objects leave of the images
    log_likelihood: Tensor  # (batch, steps + 1), log p(x | the first n objects)
    weights: Tensor  # (batch, steps + 1), of the terms of a sum over n
    z_background_dist: dist.Normal  # (batch, latent_size)
    z_background: Tensor  # (batch, latent_size)

    @property
    def num_steps(self) -> int:
        """Steps that were taken with some image: T of a bounded rollout."""
        return self.z_where.shape[1]

    def log_q(self, explore: float | Tensor = 0.0) -> Tensor:
        """Return log q(n | rollout), (batch, steps + 1); for ``explore`` see ``Stopping.log_q``."""
        return self.stopping.log_q(self.z_pres_logits, self.num_steps, explore)

    def count_probs(self) -> Tensor:
        """Return q(n | rollout), (batch, steps + 1), given that the image did not go on after it.

        Along the rollout of the means it is a plug-in for q(n | x), the average over rollouts.
        """
        return self.stopping.normalize(self.log_q().exp(), self.weights)

    def residual(self, counts: Tensor) -> Tensor:
        """Return the residual of each image after its first ``counts``, (batch,), objects."""
        return self.residuals.after(counts)

    def steps_of(self, row: int) -> int:
        """Return the number of steps that were taken with one image."""
        return int((self.weights[row] > 0).sum()) - 1


def roll_out(
    guide: SceneGuide,
    images: Tensor,
    *,
    sample: bool = True,
    noise: Tensor | None = None,
    counts: Tensor | None = None,
    explore: float | Tensor = 0.0,
    roulette: bool = False,
) -> Rollout:
    """Let the guide find object after object, as if every one were present.

    Args:
        guide: q(z | x).
        images: (batch, channels, height, width), intensity.
        sample: draw the latents, or take their means.
        noise: what ``draw_noise`` drew for these images; drawn now if None. The draws are
            reparametrized: mean + sd * noise. Not used without ``sample``.
        counts: (batch,), steps to take with an image whose count is known, -1 elsewhere; without a
            bound only.
        explore: see ``Stopping.log_q``; without a bound it also decides which images go on.
        roulette: leave by chance, so that sums over n keep their means; else for certain. It
            needs ``sample``.
    """
    progress = make_stopping(guide.model.count_prior).begin(len(images), counts, explore, roulette)
    return _roll_out(guide, images, make_noise(guide, len(images), sample, noise), progress)


def _roll_out(guide: SceneGuide, images: Tensor, noise: Means, progress: Progress) -> Rollout:
    """Do what ``roll_out`` does, step by step."""
    z_background_dist = guide.background(images)
    z_background = noise.background(z_background_dist)
    state = guide.begin(images, z_background)
    record = _Record(guide, progress, state)
    for t in range(progress.stopping.max_steps):
        residuals = record.residuals
        state = state._replace(residual=residuals.now, scores=residuals.scores)
        attention = guide.attend(state)
        record.logits.append(progress.spread(attention.z_pres_logits))
        draws = noise.step(t, progress)
        going = progress.advance(t, attention.z_pres_logits, draws)
        if not progress.size:
            break
        if going is not None:
            residuals.select(going)
            state = state.select(going, residuals.now, residuals.scores)
            attention = attention.select(going)
            draws = None if draws is None else draws[going]
        u = reparametrized(attention.z_where_dist, None if draws is None else draws[:, :3])
        z_where = guide.model.poses.pose(u)
        z_what_dist = guide.reading(state.image, z_where, attention.memory)
        what = slice(3, 3 + guide.config.appearance.encoder_latent_size)
        z_what = reparametrized(z_what_dist, None if draws is None else draws[:, what])
        record.add(attention, z_what_dist, z_where, z_what)
        state = state._replace(
            memory=attention.memory,
            seen=attention.seen,
            z_pres=z_where.new_ones(len(z_where)),
            z_where=z_where,
            z_what=z_what,
        )
    return record.rollout(z_background_dist, z_background)


class _Record:
    """What has happened on a rollout, step by step."""

    def __init__(self, guide: SceneGuide, progress: Progress, state: GuideState) -> None:
        self.progress = progress
        self.residuals = make_residuals(guide, state, progress)
        # If no step looks at the residual, all objects are rendered at once, at the end.
        self.renders_last = progress.stopping.has_fixed_steps and not guide.sees_residual
        self.logits: list[Tensor] = []
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(
        self, attention: Attention, z_what_dist: dist.Normal, z_where: Tensor, z_what: Tensor
    ) -> None:
        """Add a step: its laws, and its object's pose and code."""
        if not self.renders_last:
            self.residuals.take_away(z_where, z_what)
        laws = attention.z_where_dist, z_what_dist
        means = torch.cat([law.loc for law in laws], dim=-1)
        sds = torch.cat([law.scale for law in laws], dim=-1)
        values = torch.cat((z_where, z_what, attention.proposal), dim=-1)
        spread = self.progress.spread
        self.steps.append((spread(means), spread(sds, fill=1.0), spread(values)))

    def rollout(self, z_background_dist: dist.Normal, z_background: Tensor) -> Rollout:
        """Return all of it, one axis for the steps."""
        means, sds, values = (torch.stack(s, dim=1) for s in zip(*self.steps, strict=True))
        z_where, z_what, proposals = values.split((3, values.shape[-1] - 6, 3), dim=-1)
        if self.renders_last:
            self.residuals.take_away_all(z_where, z_what)
        log_likelihood = self.residuals.log_likelihood()
        return Rollout(
            stopping=self.progress.stopping,
            z_pres_logits=torch.stack(self.logits, dim=1),
            z_where_dist=gaussian(means[..., :3], sds[..., :3]),
            z_what_dist=gaussian(means[..., 3:], sds[..., 3:]),
            z_where=z_where,
            z_what=z_what,
            proposals=proposals,
            residuals=self.residuals,
            log_likelihood=log_likelihood,
            weights=self.progress.finish(log_likelihood),
            z_background_dist=z_background_dist,
            z_background=z_background,
        )
