"""Where a guide looks before it decides: at the prior's mean, or where something is left.

A proposal p_t is data to all that follows: nothing in it is learned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..spatial import EnergySearch, image_to_object

GLIMPSE_WIDTH = 2  # in widths of the proposed window


class Look(nn.Module, ABC):
    """A way to propose a pose, and to take a glimpse there.

    Args:
        config: of the model.
        z_where_dist: the prior of poses, batch shape (3,).
    """

    sees_residual = True
    """Whether it looks at the residual; else nobody needs to render it for the guide."""

    prior_loc: Tensor
    prior_scale: Tensor

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal) -> None:
        super().__init__()
        self.window_size = config.appearance.window_size
        self.glimpse_size = 2 * config.channels * config.appearance.window_size**2
        self.register_buffer("prior_loc", z_where_dist.loc.clone())
        self.register_buffer("prior_scale", z_where_dist.scale.clone())

    @abstractmethod
    def propose(self, residual: Tensor) -> Tensor:
        """Return a pose for each residual r_t, (batch, channels, height, width): (batch, 3)."""

    def forward(self, residual: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return proposals, (batch, 3), and glimpses of r_t and of x there, (batch, glimpse_size).

        A glimpse reaches further than the window. What x shows and r_t does not is drawn already:
        so the two together tell an object that is left from what is left of an object.
        """
        proposal = self.propose(residual)
        # Divided as a whole, (s, x, y) keeps its center -(x, y) / s and the window becomes larger.
        pose, size = proposal / GLIMPSE_WIDTH, (self.window_size, self.window_size)
        both = torch.cat((residual, image), dim=1)
        return proposal, image_to_object(pose, both, size, GLIMPSE_WIDTH).flatten(1)


class PriorMean(Look):
    """No look: the proposal is the prior's mean, and there is no glimpse."""

    sees_residual = False

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal) -> None:
        super().__init__(config, z_where_dist)
        self.glimpse_size = 0

    def propose(self, residual: Tensor) -> Tensor:
        """See ``Look.propose``."""
        return self.prior_loc.expand(len(residual), -1)

    def forward(self, residual: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Look.forward``."""
        return self.propose(residual), image.new_zeros(len(image), 0)


class Sought(Look):
    """The proposal is where a window of the prior's mean size holds most of the residual's energy.

    Source: matching pursuit, Mallat and Zhang 1993.
    """

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal) -> None:
        super().__init__(config, z_where_dist)
        self.search = EnergySearch(
            config.canvas_size, config.pose.scale_prior_mean, config.inference.focus
        )

    def propose(self, residual: Tensor) -> Tensor:
        """See ``Look.propose``."""
        return self.search(residual)
