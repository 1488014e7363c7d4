"""Where a guide looks before it decides: at the prior's mean, a learned or a sought proposal.

A proposal p_t is data to all that follows. A learned one is trained apart from the ELBO, toward
where the object was then found, the mean of z_where_t. Were it moved by the ELBO, or the LSTM
through it, windows would drift off their objects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..nn import MLP
from ..spatial import EnergySearch, Thumbnail, image_to_object

GLIMPSE_WIDTH = 2  # in widths of the proposed window

# Adam's steps have one size, and proposal and decision are relative to each other: at the same rate
# the proposal would chase the decision's errors without end.
PROPOSAL_RATE = 0.2


def glimpse(proposal: Tensor, images: Tensor, window_size: int) -> Tensor:
    """Look at images around a proposed pose, further than its window: (batch, numbers)."""
    # Divided as a whole, (s, x, y) keeps its center -(x, y) / s and the window becomes larger.
    pose, size = proposal.detach() / GLIMPSE_WIDTH, (window_size, window_size)
    return image_to_object(pose, images, size, GLIMPSE_WIDTH).flatten(1)


class Look(nn.Module, ABC):
    """A way to propose a pose in the residual, and to take a glimpse there.

    Args:
        config: of the model.
        z_where_dist: the prior of poses, batch shape (3,).
        state_size: of the memory.
    """

    sees_residual = True
    """Whether it looks at the residual; else nobody needs to render it for the guide."""
    is_learned = False
    """Whether proposals are learned, by their error."""

    prior_loc: Tensor
    prior_scale: Tensor

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal, state_size: int = 0) -> None:
        super().__init__()
        self.window_size = config.appearance.window_size
        self.glimpse_size = config.channels * config.appearance.window_size**2
        self.register_buffer("prior_loc", z_where_dist.loc.clone())
        self.register_buffer("prior_scale", z_where_dist.scale.clone())

    @abstractmethod
    def propose(self, residual: Tensor, hidden: Tensor) -> Tensor:
        """Return a pose for each residual, (batch, 3).

        Args:
            residual: (batch, channels, height, width), r_t, intensity; data.
            hidden: (batch, state_size), h_t, the state of the memory.
        """

    def forward(self, residual: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return proposals, (batch, 3), and glimpses there, (batch, glimpse_size)."""
        proposal = self.propose(residual, hidden)
        return proposal, glimpse(proposal, residual, self.window_size)

    def error(self, proposal: Tensor, z_where_dist: dist.Normal) -> Tensor:
        """Return the squared distance of a proposal to where the object was found.

        Args:
            proposal: (..., 3), p_t.
            z_where_dist: (..., 3), q(z_where_t); its mean is the target, not moved by this.
        Returns: (...), in squared standard deviations of the prior.
        """
        return ((proposal - z_where_dist.mean.detach()) / self.prior_scale).square().sum(dim=-1)

    def learn(self, t: int, proposal: Tensor, z_where_dist: dist.Normal) -> None:
        """Learn to propose, in a Pyro program, if there is something to learn."""
        if self.is_learned:
            # Zero, so that it is no part of the ELBO, with the gradient that moves the proposal.
            error = self.error(proposal, z_where_dist)
            pyro.factor(f"proposal_{t}", error - error.detach(), has_rsample=True)


class PriorMean(Look):
    """No look: the proposal is the prior's mean, and there is no glimpse."""

    sees_residual = False

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal, state_size: int = 0) -> None:
        super().__init__(config, z_where_dist, state_size)
        self.glimpse_size = 0

    def propose(self, residual: Tensor, hidden: Tensor) -> Tensor:
        """See ``Look.propose``."""
        return self.prior_loc.expand(len(hidden), -1)

    def forward(self, residual: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Look.forward``."""
        return self.propose(residual, hidden), hidden.new_zeros(len(hidden), 0)


class Proposed(Look):
    """A network proposes the pose, from a thumbnail of the residual and the memory."""

    is_learned = True

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal, state_size: int = 0) -> None:
        super().__init__(config, z_where_dist, state_size)
        self.thumbnail = Thumbnail(
            config.canvas_size, (config.appearance.window_size, config.appearance.window_size)
        )
        sizes = [
            self.glimpse_size + state_size,
            *config.inference.propose_net,
            3,
        ]
        self.network = MLP(sizes, config.non_linearity)

    def propose(self, residual: Tensor, hidden: Tensor) -> Tensor:
        """See ``Look.propose``."""
        seen = torch.cat((self.thumbnail(residual).flatten(1), hidden.detach()), dim=-1)
        return self.prior_loc + PROPOSAL_RATE * self.prior_scale * self.network(seen)


class Sought(Look):
    """The proposal is where a window of the prior's mean size holds most of the residual's energy.

    Source: matching pursuit, Mallat and Zhang 1993.
    """

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal, state_size: int = 0) -> None:
        super().__init__(config, z_where_dist, state_size)
        self.search = EnergySearch(
            config.canvas_size, config.pose.scale_prior_mean, config.inference.focus
        )

    def propose(self, residual: Tensor, hidden: Tensor) -> Tensor:
        """See ``Look.propose``."""
        return self.search(residual)
