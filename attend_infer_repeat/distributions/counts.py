"""The laws of the count n, the number of objects in a scene."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F


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


def mix_with_uniform(log_prob: Tensor, share: float | Tensor) -> Tensor:
    """Return the law of a draw that is, with probability ``share``, uniform instead.

    Args:
        log_prob: (..., K), a normalized law on K outcomes.
        share: in [0, 1); or a tensor, ().
    Returns: (..., K), log((1 - share) P + share / K).
    """
    if not isinstance(share, Tensor):
        if share == 0:
            return log_prob
        share = log_prob.new_full((), share)
    uniform = (share / log_prob.shape[-1]).log()
    return torch.logaddexp(log_prob + torch.log1p(-share), uniform)


@dataclass(frozen=True)
class CountLaw(ABC):
    """p(n), by the probability or the ratio ``success`` with which one more object follows."""

    is_bounded: ClassVar[bool] = True
    """Whether there are at most ``max_count`` objects."""

    success: Tensor  # ()
    max_count: int  # log_prob and probs cover n = 0..max_count

    @abstractmethod
    def log_prob(self) -> Tensor:
        """Return log p(n) for n = 0..max_count, shape (max_count + 1,)."""

    @abstractmethod
    def continue_logits(self) -> Tensor:
        """Return the log-odds of n > t given n >= t, for t = 0..max_count - 1: (max_count,)."""

    def log_ratio(self) -> Tensor:
        """Return log p(n + 1) / p(n), (), the same for every n.

        For ``BernoulliCount``, at n + 1 = max_count it is larger, by -log(1 - success).
        """
        return self.success.log()

    def probs(self) -> Tensor:
        """Return the law of min(n, max_count), (max_count + 1,): it sums to 1."""
        return self.log_prob().exp()


class BernoulliCount(CountLaw):
    """Up to ``max_count`` objects, each following with probability ``success`` in (0, 1).

    p(n) = (1 - success) success^n for n < max_count, and success^n for n = max_count.
    """

    def log_prob(self) -> Tensor:
        """See ``CountLaw.log_prob``."""
        return count_log_prob(self.continue_logits())

    def continue_logits(self) -> Tensor:
        """See ``CountLaw.continue_logits``."""
        return torch.logit(self.success).expand(self.max_count)


class TruncatedGeometricCount(CountLaw):
    """p(n) proportional to success^n on n = 0..max_count, success in (0, 1].

    Each object costs the same.
    """

    def log_prob(self) -> Tensor:
        """See ``CountLaw.log_prob``."""
        n = torch.arange(self.max_count + 1, device=self.success.device)
        return torch.log_softmax(n * self.success.log(), dim=0)

    def continue_logits(self) -> Tensor:
        """See ``CountLaw.continue_logits``."""
        log_prob = self.log_prob()
        at_least = log_prob.flip(0).logcumsumexp(0).flip(0)  # log P(n >= t)
        return at_least[1:] - log_prob[:-1]  # log P(n > t) - log P(n = t)


class GeometricCount(CountLaw):
    """p(n) = (1 - success) success^n on all n, success in (0, 1).

    ``log_prob`` covers n up to max_count, so that it does not sum to 1.
    """

    is_bounded = False

    def log_prob(self) -> Tensor:
        """See ``CountLaw.log_prob``."""
        n = torch.arange(self.max_count + 1, device=self.success.device)
        return n * self.success.log() + torch.log1p(-self.success)

    def continue_logits(self) -> Tensor:
        """See ``CountLaw.continue_logits``."""
        return torch.logit(self.success).expand(self.max_count)

    def probs(self) -> Tensor:
        """Return the law of min(n, max_count): the last entry is P(n >= max_count)."""
        return BernoulliCount(self.success, self.max_count).probs()
