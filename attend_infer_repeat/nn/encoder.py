"""Encoders: from features or windows to Gaussians."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from ..distributions import gaussian, positive
from .mlp import MLP


class GaussianNetwork(nn.Module):
    """Features (..., in_size) to independent Gaussians (..., out_size)."""

    def __init__(self, in_size: int, hidden: Sequence[int], out_size: int, non_linearity: str):
        super().__init__()
        self.layers = MLP([in_size, *hidden, 2 * out_size], non_linearity)

    def forward(self, features: Tensor) -> dist.Normal:
        """Return the law of the output given the features."""
        loc, scale = self.layers(features).chunk(2, dim=-1)
        return gaussian(loc, positive(scale))


class Encoder(GaussianNetwork):
    """Windows (..., channels, h, w) to q(z_what | window), (..., what_dim)."""

    def forward(self, windows: Tensor) -> dist.Normal:
        """Encode each window."""
        return super().forward(windows.flatten(-3))
