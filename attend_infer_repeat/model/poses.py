"""The law of poses: the coordinates u of z_where = (s, x, y) in which p and q are Gaussian.

    Poses      u = (s, x, y)                 as in the paper: objects of about one size
    AnySize    u = (log s, -x / s, -y / s)   logarithm of the scale, and center: of many sizes

In the paper's coordinates an object of another size is another shift, too: at the same place, x and
y grow with s, so that no Gaussian holds small and large objects anywhere on the canvas. The second
ones know size and place apart. KL(q || p) is the same in either.
"""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import Transform

from ..config import PoseConfig

BEYOND = 2.0
"""How far log s may lie beyond those of the largest and of the smallest objects, 7 times."""

SDS_OF_RANGE = 3.0
"""Standard deviations of log s from the smallest objects to the largest."""

PLACE_SD = 0.6
"""Standard deviation of centers, in half canvases: nearly as probable anywhere."""

FIRST_SDS = 0.1, 0.2
"""About those of an untrained guide: of log s, and of the center, in half windows."""


class Poses:
    """Poses themselves are Gaussian."""

    def __init__(self, config: PoseConfig) -> None:
        self.config = config

    def prior(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return means and standard deviations of p(u), three each."""
        own = self.config
        means = own.scale_prior_mean, own.pos_prior_mean, own.pos_prior_mean
        return means, (own.scale_prior_sd, own.pos_prior_sd, own.pos_prior_sd)

    def pose(self, u: Tensor) -> Tensor:
        """Return z_where, (..., 3), of coordinates (..., 3)."""
        return u

    def coordinates(self, z_where: Tensor) -> Tensor:
        """Return u, (..., 3), of poses (..., 3)."""
        return z_where

    def near(self, proposal: Tensor, prior_sd: Tensor) -> tuple[Tensor, Tensor | float, Tensor]:
        """Return what a guide's Gaussian is relative to: a mean, a unit, and first deviations.

        Args:
            proposal: (num, 3), a pose.
            prior_sd: (3,), of p(u).
        """
        return proposal, 1.0, prior_sd

    def law(self, of_u: dist.Normal) -> dist.Distribution:
        """Return the law of z_where, event shape (3,), of that of u, batch shape (..., 3)."""
        return of_u.to_event(1)


class AnySize(Poses):
    """Logarithms of scales, and centers, are Gaussian."""

    def __init__(self, config: PoseConfig) -> None:
        super().__init__(config)
        low, high = map(math.log, config.scale_range)
        self.logs = low - BEYOND, high + BEYOND

    def prior(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """See ``Poses.prior``."""
        own = self.config
        sd = math.log(own.size_range) / SDS_OF_RANGE
        return (math.log(own.scale_prior_mean), 0.0, 0.0), (sd, PLACE_SD, PLACE_SD)

    def pose(self, u: Tensor) -> Tensor:
        """See ``Poses.pose``."""
        s = u[..., :1].clamp(*self.logs).exp()
        return torch.cat((s, -s * u[..., 1:]), dim=-1)

    def coordinates(self, z_where: Tensor) -> Tensor:
        """See ``Poses.coordinates``."""
        s = z_where[..., :1].clamp(min=math.exp(self.logs[0]))  # 0 where a rollout is padded
        return torch.cat((s.log(), -z_where[..., 1:] / s), dim=-1)

    def near(self, proposal: Tensor, prior_sd: Tensor) -> tuple[Tensor, Tensor | float, Tensor]:
        """See ``Poses.near``: a half window is the unit of the center."""
        half = 1 / proposal[..., :1]
        one = torch.ones_like(half)
        unit = torch.cat((one, half, half), dim=-1)
        of_size, of_place = FIRST_SDS
        sd = torch.cat((of_size * one, of_place * half, of_place * half), dim=-1)
        return self.coordinates(proposal), unit, sd

    def law(self, of_u: dist.Normal) -> dist.Distribution:
        """See ``Poses.law``."""
        return dist.TransformedDistribution(of_u.to_event(1), [_ToPose(self)])


class _ToPose(Transform):
    """u to z_where, with the logarithm of its volume: ds dx dy = s^3 du."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, poses: AnySize) -> None:
        super().__init__()
        self.poses = poses

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ToPose)

    def __hash__(self) -> int:
        return hash(_ToPose)

    def _call(self, x: Tensor) -> Tensor:
        return self.poses.pose(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.poses.coordinates(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """See ``Transform``."""
        return 3 * x[..., 0]


def make_poses(config: PoseConfig) -> Poses:
    """Return the law of poses of a config."""
    return AnySize(config) if config.has_sizes else Poses(config)
