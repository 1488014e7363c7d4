"""Gaussians: the laws of poses, codes and background codes."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

# The smallest standard deviation that a network can predict: softplus underflows to 0 far below
# zero, where log densities would be infinite.
MIN_SD = 1e-5


def gaussian(loc: Tensor, scale: Tensor) -> dist.Normal:
    """Return independent Gaussians; ``loc`` and ``scale`` broadcast against each other."""
    loc, scale = torch.broadcast_tensors(loc, scale)
    return dist.Normal(loc, scale)


def gaussian_kl(q: dist.Normal, p: dist.Normal) -> Tensor:
    """Return KL(q || p) of Gaussians, elementwise, in nats.

    Equal to ``kl_divergence(q, p)``, without its dispatch, which costs more than the sum and which
    ``torch.compile`` cannot follow.
    """
    ratio, shift = q.scale / p.scale, (q.loc - p.loc) / p.scale
    return 0.5 * (ratio.square() + shift.square() - 1) - ratio.log()


def standard_gaussian(size: int, like: Tensor) -> dist.Normal:
    """Return N(0, I), batch shape (size,), of the device and type of ``like``."""
    zeros = like.new_zeros(size)
    return gaussian(zeros, torch.ones_like(zeros))


def reparametrized(law: dist.Normal, noise: Tensor | None) -> Tensor:
    """Return mean + sd * noise, noise of N(0, 1) and of the law's shape; the mean if None."""
    return law.mean if noise is None else torch.addcmul(law.loc, law.scale, noise)


def positive(unconstrained: Tensor) -> Tensor:
    """Map a network's output to a standard deviation, above ``MIN_SD``."""
    return F.softplus(unconstrained) + MIN_SD
