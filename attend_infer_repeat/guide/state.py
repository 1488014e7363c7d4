"""What a step of the guide knows, and what it decides."""

from __future__ import annotations

from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from ..distributions import gaussian
from ..model import Canvas

MemoryState = tuple[Tensor, Tensor]
"""The LSTM's (h, c), each (batch, rnn_hidden_size); (batch, 0) of a guide without a memory."""


class GuideState(NamedTuple):
    """What the guide has found so far; at the start one row may stand for all images."""

    features: Tensor  # (batch, ...), of the image: its share of the LSTM's gates
    memory: MemoryState
    image: Canvas  # (batch, channels, height, width), x minus its background; data
    z_pres: Tensor  # (batch,), 0 or 1
    z_where: Tensor  # (batch, 3)
    z_what: Tensor  # (batch, what_dim)
    residual: Canvas  # (batch, channels, height, width), r_t: the image minus its objects so far
    scores: Tensor  # (batch, ...), what the look knows of places in r_t
    seen: Tensor  # (batch, ...), what the look knows of where it has looked

    def select(self, rows: Tensor, residual: Canvas, scores: Tensor) -> GuideState:
        """Return the state of some of the images, with their residuals and scores.

        Where the residuals are copied, the images are: they are read as whole canvases.
        """
        h, c = self.memory
        image = self.image.select(rows)
        return GuideState(
            self.features[rows],
            (h[rows], c[rows]),
            image.of_rows() if residual.rows is None else image,
            self.z_pres[rows],
            self.z_where[rows],
            self.z_what[rows],
            residual,
            scores,
            self.seen[rows],
        )

    def step_input(self) -> Tensor:
        """Return what a step tells the next one: (batch, 3 + what_dim + 1)."""
        return torch.cat((self.z_where, self.z_what, self.z_pres[:, None]), dim=-1)


class Attention(NamedTuple):
    """What a step decides before it reads the window."""

    memory: MemoryState
    z_pres_logits: Tensor  # (batch,)
    z_where_dist: dist.Normal  # (batch, 3), of the pose's coordinates: ``model/poses.py``
    proposal: Tensor  # (batch, 3), the proposed pose p_t
    seen: Tensor  # (batch, ...), what the look knows of where it has looked, p_t included

    def select(self, rows: Tensor) -> Attention:
        """Return what was decided for some of the images."""
        h, c = self.memory
        loc, scale = self.z_where_dist.loc, self.z_where_dist.scale
        return Attention(
            (h[rows], c[rows]),
            self.z_pres_logits[rows],
            gaussian(loc[rows], scale[rows]),
            self.proposal[rows],
            self.seen[rows],
        )
