"""Where a guide looks before it decides: at the prior's mean, or where something is left.

A proposal p_t is data to all that follows: nothing in it is learned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..model import Canvas
from ..spatial import EnergySearch
from ..spatial.patches import GridCut, cut
from ..spatial.places import Place
from ..spatial.search import first_best

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
        self.usual_scale = config.pose.scale_prior_mean
        self.register_buffer("prior_loc", z_where_dist.loc.clone())
        self.register_buffer("prior_scale", z_where_dist.scale.clone())

    @abstractmethod
    def forward(self, residual: Canvas, image: Canvas, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return proposals p_t, (num, 3), and glimpses there, (num, glimpse_size).

        Args:
            residual: (batch, channels, height, width), r_t, intensity; data. Those are meant that
                ``residual.rows`` lists, ``residual.of_rows()``.
            image: likewise, x minus its background.
            scores: of ``scores``, for r_t.
        """

    def scores(self, residual: Tensor) -> Tensor:
        """Return what a look knows of places in residuals, (batch, ...): nothing, (batch, 0)."""
        return residual.new_zeros(len(residual), 0)

    def rescored(self, scores: Tensor, change: Tensor, place: Place) -> Tensor:
        """Return the scores of residuals that have changed on patches.

        Args:
            scores: of ``scores``, before.
            change: (batch, h, w), of the squared residual, summed over the channels.
            place: of the patches.
        Raises: NotImplementedError if a look has scores and does not say how they change.
        """
        if scores[:1].numel():
            raise NotImplementedError("a look with scores also says how they change")
        return scores

    def unseen(self, scores: Tensor) -> Tensor:
        """Return what a look knows of where it has looked, at the start: nothing, (batch, 0).

        Args:
            scores: of ``scores``, of the images.
        """
        return scores.new_zeros(len(scores), 0)

    def inhibited(self, scores: Tensor, seen: Tensor) -> Tensor:
        """Return scores that are lower where it has looked before.

        Args:
            scores: of ``scores``, for r_t.
            seen: of ``unseen`` or ``seen_at``.
        """
        return scores

    def seen_at(self, seen: Tensor, proposal: Tensor) -> Tensor:
        """Return what it knows of where it has looked, once it has looked at p_t, (batch, 3)."""
        return seen

    def glimpse(self, proposal: Tensor, residual: Canvas, image: Canvas) -> Tensor:
        """Look at r_t and x around proposals, (num, 3), further than a window: (num, numbers).

        What x shows and r_t does not is drawn already: so the two together tell an object that is
        left from what is left of an object.
        """
        # Divided as a whole, (s, x, y) keeps its center -(x, y) / s and the window becomes larger.
        pose, size = proposal.detach() / GLIMPSE_WIDTH, (self.window_size, self.window_size)
        seen = (residual.x.detach(), residual.rows), (image.x, image.rows)
        scale = self.usual_scale / GLIMPSE_WIDTH
        return cut(pose, seen, size, scale, GLIMPSE_WIDTH).flatten(1)


class PriorMean(Look):
    """No look: the proposal is the prior's mean, and there is no glimpse."""

    sees_residual = False

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal) -> None:
        super().__init__(config, z_where_dist)
        self.glimpse_size = 0

    def forward(self, residual: Canvas, image: Canvas, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Look.forward``."""
        return self.prior_loc.expand(len(scores), -1), scores.new_zeros(len(scores), 0)


class Seeking(Look):
    """A look that knows a score of each place, and where it has looked.

    With inhibition of return, a place counts for less each time it was looked at: else a step that
    draws nothing leaves the residual as it is, and the next one looks at the same place, for ever.

    Source: inhibition of return in visual search, Itti, Koch and Niebur 1998.
    """

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal) -> None:
        super().__init__(config, z_where_dist)
        self.inhibition = config.inference.inhibition

    @abstractmethod
    def nearness(self, proposal: Tensor) -> Tensor:
        """Return how near each place is to p_t, (batch, 3): of the scores' shape, in [0, 1]."""

    def unseen(self, scores: Tensor) -> Tensor:
        """See ``Look.unseen``: the share of its score for which each place counts."""
        return torch.ones_like(scores) if self.inhibition else super().unseen(scores)

    def inhibited(self, scores: Tensor, seen: Tensor) -> Tensor:
        """See ``Look.inhibited``."""
        return scores * seen if self.inhibition else scores

    def seen_at(self, seen: Tensor, proposal: Tensor) -> Tensor:
        """See ``Look.seen_at``."""
        if not self.inhibition:
            return seen
        return seen * (1 - self.inhibition * self.nearness(proposal))


class Sought(Seeking):
    """The proposal is where a window of the prior's mean size holds most of the residual's energy.

    Source: matching pursuit, Mallat and Zhang 1993.
    """

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal) -> None:
        super().__init__(config, z_where_dist)
        canvas_size, scale = config.canvas_size, config.pose.scale_prior_mean
        self.search = EnergySearch(canvas_size, scale, config.inference.focus)
        # Proposals lie on a grid: the weights of all glimpses are computed once.
        self.grid_cut = GridCut(
            self.search.poses / GLIMPSE_WIDTH,
            scale / GLIMPSE_WIDTH,
            canvas_size,
            (self.window_size, self.window_size),
            GLIMPSE_WIDTH,
        )

    def forward(self, residual: Canvas, image: Canvas, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Look.forward``."""
        best = first_best(scores.flatten(1))
        seen = (residual.x.detach(), residual.rows), (image.x, image.rows)
        return self.search.poses[best], self.grid_cut(best, seen).flatten(1)

    def scores(self, residual: Tensor) -> Tensor:
        """See ``Look.scores``: the energy at each point of the search's grid."""
        return self.search.scores(residual)

    def rescored(self, scores: Tensor, change: Tensor, place: Place) -> Tensor:
        """See ``Look.rescored``."""
        return scores + self.search.changes(change, place)

    def nearness(self, proposal: Tensor) -> Tensor:
        """See ``Seeking.nearness``."""
        return self.search.nearness(proposal)
