"""The law of the pixels of an image, given its noiseless canvas."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

from .gaussians import gaussian


def pixel_noise_log_prob(residual: Tensor, sd: float | Tensor) -> Tensor:
    """Return the log-density of an image by its residual, the image minus the mean.

        -|residual|^2 / (2 sd^2) - num_pixels log(sd sqrt(2 pi))

    Args:
        residual: (..., channels, height, width), image - mean.
        sd: standard deviation of every pixel, ().
    Returns: (...), nats.
    """
    pixels = residual.flatten(-3)
    # |residual|^2, by way of the loss whose gradient takes a single pass over the pixels.
    squares = F.mse_loss(pixels, pixels.new_zeros(()).expand_as(pixels), reduction="none")
    return pixel_noise_log_prob_of(squares.sum(dim=-1), pixels.shape[-1], sd)


def pixel_noise_log_prob_of(energy: Tensor, num_pixels: int, sd: float | Tensor) -> Tensor:
    """Return the log-density of an image by its residual's energy, ``|residual|^2``.

    Args:
        energy: (...).
        num_pixels: of the image, in all channels.
        sd: standard deviation of every pixel, ().
    Returns: (...), nats.
    """
    log_sd = sd.log() if isinstance(sd, Tensor) else math.log(sd)
    log_normalizer = num_pixels * (log_sd + 0.5 * math.log(2 * math.pi))
    return energy * (-0.5 / sd**2) - log_normalizer


class PixelNoise(dist.Independent):
    """Independent Gaussian pixels with one standard deviation.

    Equal to ``Normal(loc, sd).to_event(3)``, whose log-density reads the pixels five times.

    Args:
        loc: (..., channels, height, width).
        sd: standard deviation, ().
    """

    def __init__(self, loc: Tensor, sd: float | Tensor) -> None:
        self.sd = sd
        scale = sd if isinstance(sd, Tensor) else loc.new_full((), sd)
        super().__init__(gaussian(loc, scale), 3)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> PixelNoise:
        """Return the same law for a larger batch."""
        return PixelNoise(self.mean.expand(torch.Size(batch_shape) + self.event_shape), self.sd)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each image, (...)."""
        if self._validate_args:
            self._validate_sample(value)
        return pixel_noise_log_prob(value - self.mean, self.sd)
