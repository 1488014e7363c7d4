"""The likelihood of an image, given its canvas: Gaussian pixel noise."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..distributions import PixelNoise, pixel_noise_log_prob, pixel_noise_log_prob_of

MIN_LEARNED_SD = 0.01  # images that can be drawn exactly would take a learned one to 0


class PixelLikelihood(nn.Module):
    """p(x | canvas), Gaussian with a known standard deviation.

    Subclass it for another law that depends on x - canvas alone: override ``forward`` and
    ``log_prob`` together.

    Args:
        sd: of every pixel's noise.
    """

    def __init__(self, sd: float) -> None:
        super().__init__()
        self.known_sd = sd

    @property
    def sd(self) -> float | Tensor:
        """Standard deviation of the noise, ()."""
        return self.known_sd

    def forward(self, canvas: Tensor) -> dist.Distribution:
        """Return p(x | canvas), batch shape (...), of a canvas (..., channels, height, width)."""
        return PixelNoise(canvas, self.sd)

    def log_prob(self, residual: Tensor) -> Tensor:
        """Return log p(x | canvas), (...), of x - canvas, (..., channels, height, width)."""
        return pixel_noise_log_prob(residual, self.sd)

    def of_energy(self, energy: Tensor, num_pixels: int) -> Tensor:
        """Return log p(x | canvas), (...), of ``|x - canvas|^2``, (...), on so many numbers."""
        return pixel_noise_log_prob_of(energy, num_pixels, self.sd)

    @property
    def is_of_energy(self) -> bool:
        """Whether ``of_energy`` is the law: not in a subclass with a ``log_prob`` of its own."""
        return type(self).log_prob is PixelLikelihood.log_prob


class LearnedNoise(PixelLikelihood):
    """Pixel noise whose standard deviation is learned, from ``sd`` on."""

    def __init__(self, sd: float) -> None:
        super().__init__(sd)
        self.log_sd = nn.Parameter(torch.tensor(math.log(sd)))

    @property
    def sd(self) -> Tensor:
        """Standard deviation of the noise, ()."""
        return self.log_sd.exp().clamp(min=MIN_LEARNED_SD)


def make_likelihood(config: ModelConfig) -> PixelLikelihood:
    """Return the pixel noise of a config."""
    return (LearnedNoise if config.likelihood.learn_likelihood_sd else PixelLikelihood)(
        config.likelihood.likelihood_sd
    )
