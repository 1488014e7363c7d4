"""The exponential moving average of the weights: what is evaluated and saved during training.

At a learning rate that is high enough to be quick, the weights jump about their mean from step to
step, and the average over the last hundred steps counts better than any of them.
"""

from __future__ import annotations

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..air import AIR


class ExponentialMovingAverage:
    """An AIR whose weights are the exponential moving average of another one's.

    Not torch's ``AveragedModel``: that begins with a copy of the first update's weights and keeps
    its decay, where ours warms up; of torch's tools, the update itself serves.

    Args:
        source: the AIR in training.
        decay: in [0, 1); with 0 the average is the source itself.
    """

    def __init__(self, source: AIR, decay: float) -> None:
        self.source = source
        self.decay = decay
        self.air = copy.deepcopy(source).requires_grad_(False) if decay > 0 else source

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the source's weights after optimization step ``step`` (from 0)."""
        if self.air is self.source:
            return
        # Warm-up: at the full decay, the weights of initialization would stay in the average.
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, weights = list(self.air.parameters()), list(self.source.parameters())
        get_ema_multi_avg_fn(decay)(averages, weights, None)  # a <- decay a + (1 - decay) w
        for kept, current in zip(self.air.buffers(), self.source.buffers(), strict=True):
            kept.copy_(current)
