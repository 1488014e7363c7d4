"""How a guide reads the background of an image."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..config import ModelConfig
from ..distributions import gaussian
from ..nn import GaussianNetwork


class BackgroundReader(nn.Module):
    """q(z_bg | x), empty where the model has no background."""

    def forward(self, images: Tensor) -> dist.Normal:
        """Return q(z_bg | x), (batch, latent_size), of images (batch, channels, height, width)."""
        nothing = images.new_zeros(len(images), 0)
        return gaussian(nothing, nothing)

    def sample(self, images: Tensor) -> Tensor:
        """Sample z_bg, (batch, latent_size), in a Pyro program; without a site if it is empty."""
        law = self(images)
        return pyro.sample("z_background", law.to_event(1)) if law.loc.shape[-1] else law.loc


class NetworkReader(BackgroundReader):
    """A network reads z_bg from all pixels."""

    def __init__(self, config: ModelConfig, latent_size: int) -> None:
        super().__init__()
        pixels = config.channels * math.prod(config.canvas_size)
        self.network = GaussianNetwork(
            pixels, config.background.background_net, latent_size, config.non_linearity
        )

    def forward(self, images: Tensor) -> dist.Normal:
        """See ``BackgroundReader.forward``."""
        return self.network(images.flatten(1))


def make_background_reader(config: ModelConfig, latent_size: int) -> BackgroundReader:
    """Return what reads backgrounds of ``latent_size`` numbers."""
    return NetworkReader(config, latent_size) if latent_size else BackgroundReader()
