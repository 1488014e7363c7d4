"""Every law of the model and the guide, written once.

The Pyro programs sample from these, the exact objective and the tests evaluate them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def positive(unconstrained: Tensor) -> Tensor:
    """Map a network's output to a standard deviation, above ``MIN_SD``."""
    return F.softplus(unconstrained) + MIN_SD


def presence(continue_prob: Tensor, previous: Tensor) -> dist.Bernoulli:
    """Law of z_pres_t: a Bernoulli while the previous object is present, 0 after an absent one.

    Args:
        continue_prob: (batch,) or (), probability of one more object.
        previous: (batch,), z_pres_{t-1}, 0 or 1.
    """
    return dist.Bernoulli(probs=continue_prob * previous)


def count_log_prob(continue_logits: Tensor) -> Tensor:
    """Return the law of the count n = sum_t z_pres_t of a chain of presences.

    With p_t the probability that step t follows step t - 1,
    P(n) = (1 - p_{n+1}) prod_{t<=n} p_t, where p_{T+1} = 0.

    Args:
        continue_logits: (..., T), log-odds of p_1..p_T.
    Returns: (..., T + 1), log P(n) for n = 0..T.
    """
    reached = F.pad(F.logsigmoid(continue_logits).cumsum(-1), (1, 0))  # log prod_{t<=n} p_t
    stopped = F.pad(F.logsigmoid(-continue_logits), (0, 1))  # log (1 - p_{n+1})
    return reached + stopped


def mix_with_uniform(log_prob: Tensor, share: float) -> Tensor:
    """Return the law of a draw that is, with probability ``share``, uniform instead.

    Args:
        log_prob: (..., K), a normalised law on K outcomes.
        share: in [0, 1).
    Returns: (..., K), log((1 - share) P + share / K).
    """
    if share == 0:
        return log_prob
    uniform = torch.full_like(log_prob, math.log(share / log_prob.shape[-1]))
    return torch.logaddexp(log_prob + math.log1p(-share), uniform)


@dataclass(frozen=True)
class BernoulliCount:
    """Up to ``max_count`` objects, each following with probability ``success``.

    p(n) = (1 - success) success^n for n < max_count, and success^n for n = max_count.
    """

    success: Tensor  # (), in (0, 1)
    max_count: int

    def continue_prob(self) -> Tensor:
        """Return P(n > t | n >= t) for t = 0..max_count - 1, shape (max_count,)."""
        return self.success.expand(self.max_count)

    def log_prob(self) -> Tensor:
        """Return log p(n) for n = 0..max_count, shape (max_count + 1,)."""
        return count_log_prob(torch.logit(self.continue_prob()))


@dataclass(frozen=True)
class TruncatedGeometricCount:
    """p(n) proportional to success^n on n = 0..max_count: each object costs the same."""

    success: Tensor  # (), in (0, 1]
    max_count: int

    def log_prob(self) -> Tensor:
        """Return log p(n) for n = 0..max_count, shape (max_count + 1,)."""
        n = torch.arange(self.max_count + 1, device=self.success.device)
        return torch.log_softmax(n * self.success.log(), dim=0)

    def continue_prob(self) -> Tensor:
        """Return P(n > t | n >= t) for t = 0..max_count - 1, shape (max_count,)."""
        at_least = self.log_prob().exp().flip(0).cumsum(0).flip(0)  # P(n >= t)
        return at_least[1:] / at_least[:-1]


CountPrior = BernoulliCount | TruncatedGeometricCount
