"""Where a rollout's draws come from: reparametrized, a draw is mean + sd * noise.

Means     no noise: the draw is the mean
Given     noise that was drawn before, for every image and every step
Lazy      noise drawn as the rollout goes, for the images that are still on it
"""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from ..distributions import reparametrized
from ..guide import SceneGuide
from .stopping import Progress, make_stopping


class Means:
    """No noise; the base of the others."""

    def background(self, law: dist.Normal) -> Tensor:
        """Draw z_bg, (batch, latent_size)."""
        return law.mean

    def step(self, t: int, progress: Progress) -> Tensor | None:
        """Return the numbers of step t, (progress.size, numbers); None for means."""
        return None


class Given(Means):
    """Noise drawn before.

    Args:
        noise: (batch,) + ``noise_shape``.
        max_steps: the rows that are of steps; those after them are of z_bg.
    """

    def __init__(self, noise: Tensor, max_steps: int) -> None:
        self.noise, self.max_steps = noise, max_steps

    def background(self, law: dist.Normal) -> Tensor:
        """See ``Means.background``."""
        size = law.loc.shape[-1]
        draws = self.noise[:, self.max_steps :].flatten(1)[:, :size]
        return reparametrized(law, draws)

    def step(self, t: int, progress: Progress) -> Tensor:
        """See ``Means.step``."""
        return progress.select(self.noise[:, t])


class Lazy(Means):
    """Noise drawn as the rollout goes.

    Args:
        numbers: of a step.
        like: a tensor of the noise's type and device.
    """

    def __init__(self, numbers: int, like: Tensor) -> None:
        self.numbers, self.like = numbers, like

    def background(self, law: dist.Normal) -> Tensor:
        """See ``Means.background``."""
        return reparametrized(law, torch.randn_like(law.loc))

    def step(self, t: int, progress: Progress) -> Tensor:
        """See ``Means.step``."""
        shape = progress.size, self.numbers
        return torch.randn(shape, dtype=self.like.dtype, device=self.like.device)


def noise_shape(guide: SceneGuide) -> tuple[int, int]:
    """Return (rows, numbers) of one image's noise.

    One row for each step, with noise for z_where, z_what and the stopping rule; then the rows for
    z_bg.
    """
    stopping = make_stopping(guide.model.count_prior)
    numbers = 3 + guide.config.appearance.encoder_latent_size + stopping.draws_per_step
    return stopping.max_steps + math.ceil(guide.model.background.latent_size / numbers), numbers


def draw_noise(guide: SceneGuide, num_images: int) -> Tensor:
    """Draw all that a rollout needs, at once: (num_images,) + noise_shape, from N(0, 1)."""
    like = guide.model.z_where_loc
    shape = num_images, *noise_shape(guide)
    return torch.randn(shape, dtype=like.dtype, device=like.device)


def make_noise(guide: SceneGuide, num_images: int, sample: bool, given: Tensor | None) -> Means:
    """Return the noise of a rollout: none, what was given, or what is drawn now or on the way."""
    if not sample:
        return Means()
    count_prior = guide.model.count_prior
    if given is None and not make_stopping(count_prior).has_fixed_steps:
        return Lazy(noise_shape(guide)[1], guide.model.z_where_loc)
    noise = draw_noise(guide, num_images) if given is None else given
    return Given(noise, count_prior.max_count)
