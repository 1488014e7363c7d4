"""What an image shows behind its objects: a canvas of its own, b = background(z_bg).

    z_bg ~ Normal(0, I)

    none        b = 0, and z_bg is empty
    constant    b = c + A z_bg for every pixel, one z_bg for each channel
    smooth      b = sum_jk (c_jk + a_jk z_jk) cos(pi j y) cos(pi k x), j, k < 4, y and x in (0, 1):
                the lowest frequencies of a discrete cosine transform, in each channel
    learned     b is what a small decoder draws from z_bg

The guide reads q(z_bg | x) from the whole image: see ``guide/background.py``.
"""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..distributions import standard_gaussian
from ..nn import MLP

SMOOTH_FREQUENCIES = 4  # along each axis
INITIAL_CONTRAST = 0.2  # change of b by one sd of z_bg: of its intensity, or lowest frequency


class Background(nn.Module):
    """The background of every image; this one is black.

    Args:
        config: of the model.
        latent_size: dimension of z_bg.
    """

    empty: Tensor

    def __init__(self, config: ModelConfig, latent_size: int = 0) -> None:
        super().__init__()
        self.shape = (config.channels, *config.canvas_size)
        self.latent_size = latent_size
        self.register_buffer("empty", torch.zeros(0), persistent=False)  # has device and type

    def prior(self) -> dist.Normal:
        """p(z_bg), batch shape (latent_size,)."""
        return standard_gaussian(self.latent_size, self.empty)

    def sample(self, num_scenes: int) -> Tensor:
        """Sample z_bg, (num_scenes, latent_size), in a Pyro program; no site if it is empty."""
        if not self.latent_size:
            return self.empty.expand(num_scenes, 0)
        law = self.prior().expand(torch.Size([num_scenes, self.latent_size]))
        return pyro.sample("z_background", law.to_event(1))

    def forward(self, z_background: Tensor) -> Tensor:
        """Return b, (..., channels, height, width), of latents (..., latent_size)."""
        return z_background.new_zeros(()).expand(*z_background.shape[:-1], *self.shape)


class CosineBackground(Background):
    """A background of few frequencies: one makes it constant."""

    basis: Tensor

    def __init__(self, config: ModelConfig, num_frequencies: int) -> None:
        super().__init__(config, config.channels * num_frequencies**2)
        num = num_frequencies
        rows, columns = (_cosines(num, side) for side in config.canvas_size)
        basis = (rows[:, None, :, None] * columns[None, :, None, :]).flatten(0, 1)
        self.register_buffer("basis", basis.flatten(1), persistent=False)  # (num^2, pixels)
        order = torch.arange(num)[:, None] + torch.arange(num)
        contrast = INITIAL_CONTRAST / (1 + order.flatten().to(torch.get_default_dtype()))
        self.mean = nn.Parameter(torch.zeros(config.channels, num**2))
        self.contrast = nn.Parameter(contrast.repeat(config.channels, 1))

    def forward(self, z_background: Tensor) -> Tensor:
        """See ``Background.forward``."""
        z = z_background.unflatten(-1, self.mean.shape)
        return ((self.mean + self.contrast * z) @ self.basis).unflatten(-1, self.shape[1:])


class LearnedBackground(Background):
    """A background that a small decoder draws."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, config.background.background_latent_size)
        sizes = [self.latent_size, *config.background.background_net, math.prod(self.shape)]
        self.decode = MLP(sizes, config.non_linearity)

    def forward(self, z_background: Tensor) -> Tensor:
        """See ``Background.forward``."""
        return self.decode(z_background).unflatten(-1, self.shape)


def make_background(config: ModelConfig) -> Background:
    """Return the background that ``background_model`` names."""
    if config.background.background_model == "learned":
        return LearnedBackground(config)
    if config.background.background_model == "smooth":
        return CosineBackground(config, SMOOTH_FREQUENCIES)
    if config.background.background_model == "constant":
        return CosineBackground(config, 1)
    return Background(config)


def _cosines(num: int, side: int) -> Tensor:
    """Return cos(pi j u) at the centers u of the pixels of a line, j < num: (num, side)."""
    centers = (torch.arange(side, dtype=torch.get_default_dtype()) + 0.5) / side
    return torch.cos(math.pi * torch.arange(num)[:, None] * centers)
