"""The exponential moving average of the weights: what is evaluated and saved during training.

At a learning rate that is high enough to be quick, the weights jump about their mean from step to
step, and the mean of the last hundred steps counts better than any of them.
"""

from __future__ import annotations

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..air import AIR


class RunningMean:
    """An AIR whose weights are the exponential moving mean of another one's.

    Args:
        source: the AIR in training.
        decay: in [0, 1); 0 stands for the source itself.
    """

    def __init__(self, source: AIR, decay: float) -> None:
        self.source = source
        self.decay = decay
        self.air = copy.deepcopy(source).requires_grad_(False) if decay > 0 else source

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the source's weights after optimisation step ``step`` (from 0)."""
        if self.air is self.source:
            return
        # The mean of few steps is short: else the first weights, of no use, would stay in it.
        decay = min(self.decay, (1 + step) / (10 + step))
        means, weights = list(self.air.parameters()), list(self.source.parameters())
        get_ema_multi_avg_fn(decay)(means, weights, None)  # mean += (1 - decay) (weights - mean)
        for kept, current in zip(self.air.buffers(), self.source.buffers(), strict=True):
            kept.copy_(current)
