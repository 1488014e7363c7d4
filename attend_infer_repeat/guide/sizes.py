"""Where a guide looks for objects of many sizes: at places, and with windows of many sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..model import Canvas
from ..spatial import EnergySearch
from ..spatial.places import Place
from ..spatial.search import first_best
from .look import Seeking

SIZES_PER_OCTAVE = 2
"""Sizes of windows that are tried, for each doubling."""

WITHIN, AROUND = 0.8, 0.4
"""Window width / kernel width, of what a window shows, and of what is around it."""

SIZE_POWER = 0.5
"""The power of the window's side by which a contrast counts. Its contrast alone is nearly the same
for any window within an object, and counting what it explains, by its area, for any around one."""


class SoughtSizes(Seeking):
    """The proposal is where, and how large, a window shows more energy than there is around it.

        side^SIZE_POWER (energy density within - energy density around),

    of squared residuals, both densities by triangular kernels. Of windows around one place it is
    largest for one that is a little larger than what is there, and more so for what is larger.

    Source: the scale at which a normalized operator responds most; Lindeberg 1998, Feature
    detection with automatic scale selection.
    """

    poses: Tensor

    def __init__(self, config: ModelConfig, z_where_dist: dist.Normal) -> None:
        super().__init__(config, z_where_dist)
        largest, smallest = config.pose.scale_range
        num = math.ceil(SIZES_PER_OCTAVE * math.log2(smallest / largest)) + 1
        scales = [largest * (smallest / largest) ** (k / (num - 1)) for k in range(num)]
        size = config.canvas_size
        # In whole pixels, kernels of small windows would be alike. What lies beyond the canvas is
        # empty to a window, which shall not hang over, and unknown around it: else even noise would
        # have a contrast at the borders.
        within = [EnergySearch(size, s, WITHIN, whole=False) for s in scales]
        self.within = nn.ModuleList(within)
        self.around = nn.ModuleList(
            EnergySearch(size, s, AROUND, own.num, whole=False).averaging()
            for s, own in zip(scales, within, strict=True)
        )
        self.weights = [s**-SIZE_POWER for s in scales]
        self.octaves = [math.log2(s) for s in scales]
        self.register_buffer("poses", torch.cat([own.poses for own in within]), persistent=False)

    def forward(self, residual: Canvas, image: Canvas, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Look.forward``."""
        proposal = self.poses[first_best(scores)]
        return proposal, self.glimpse(proposal, residual, image)

    def scores(self, residual: Tensor) -> Tensor:
        """See ``Look.scores``: of each point of each size's grid, (batch, num)."""
        return self._contrasts(lambda search: search.scores(residual))

    def inhibited(self, scores: Tensor, seen: Tensor) -> Tensor:
        """See ``Look.inhibited``: where less is within than around, nothing is to be sought."""
        return super().inhibited(scores.clamp(min=0), seen)

    def rescored(self, scores: Tensor, change: Tensor, place: Place) -> Tensor:
        """See ``Look.rescored``."""
        return scores + self._contrasts(lambda search: search.changes(change, place))

    def nearness(self, proposal: Tensor) -> Tensor:
        """See ``Seeking.nearness``: the less so the more sizes differ, up to an octave."""
        octave = proposal[:, :1].log2()
        near = [
            search.nearness(proposal).flatten(1) * (1 - (octave - own).square()).clamp(min=0)
            for (search, _), own in zip(self._pairs, self.octaves, strict=True)
        ]
        return torch.cat(near, dim=1)

    def _contrasts(self, density: Callable[[EnergySearch], Tensor]) -> Tensor:
        """Return the contrasts of all windows, (batch, num), by densities (batch, n, n)."""
        found = [
            weight * (density(within) - density(around)).flatten(1)
            for weight, (within, around) in zip(self.weights, self._pairs, strict=True)
        ]
        return torch.cat(found, dim=1)

    @property
    def _pairs(self) -> list[tuple[EnergySearch, EnergySearch]]:
        return cast(Any, list(zip(self.within, self.around, strict=True)))
