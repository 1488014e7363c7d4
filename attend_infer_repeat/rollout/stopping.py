"""When a rollout ends, and for which images it goes on.

A bounded rollout takes T steps with every image. One without a bound goes on for as long as some
image may have one more object, and an image leaves it before step t where m_t = q(n >= t | rollout)
is negligible. A sum over n then lacks the image's further terms. With Russian roulette it has
the right mean all the same: with the weight w (at first 1), an image goes on with the probability
min(1, w m_t / ROULETTE_LEVEL), and if it does, its weight is divided by that. Its terms are
multiplied by the weight that it has then, whose mean is 1:

    E[w_n] = prod_{t<=n} min(1, w m_t / ROULETTE_LEVEL) / min(1, w m_t / ROULETTE_LEVEL) = 1

Whoever goes on by chance has w m_t = ROULETTE_LEVEL, so that no improbable step weighs more.
Without roulette, an image leaves for certain where m_t < NEGLIGIBLE_PROBABILITY. The first step is
always taken.

The host has to know which images go on, and would wait for a GPU to tell it. So in training on a
GPU, images that have left are carried along with the weight 0, and sorted out every few steps.

Source of the roulette: Kahn 1956; Lyne et al. 2015, "On Russian roulette estimates".
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from ..distributions import count_log_prob, mix_with_coin, mix_with_uniform
from ..model import CountPrior

logger = logging.getLogger(__name__)

ROULETTE_LEVEL = 1e-2
NEGLIGIBLE_PROBABILITY = 1e-4
GPU_STEPS = 4  # of training on a GPU, from one time that images are sorted out to the next

_warned: set[int] = set()  # step limits that the log has warned of


def sorts_out(t: int, like: Tensor) -> bool:
    """Whether training sorts out those that have left before step t, on the device of a tensor."""
    return t > 0 and t % (GPU_STEPS if like.is_cuda else 1) == 0


class Stopping(ABC):
    """A rule for the end of rollouts.

    Args:
        max_steps: the most steps of a rollout.
    """

    draws_per_step: int
    """Random numbers that a step needs for the rule itself."""
    has_fixed_steps: bool
    """Whether every rollout takes ``max_steps`` steps with every image."""

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps

    @abstractmethod
    def begin(
        self, num_images: int, counts: Tensor | None, explore: float | Tensor, roulette: bool
    ) -> Progress:
        """Return the progress of a new rollout.

        Args:
            num_images: number of images.
            counts: (num_images,), steps to take with an image whose count is known, -1 elsewhere;
                without a bound only.
            explore: see ``log_q``; without a bound it also decides which images go on.
            roulette: leave by chance, so that sums over n keep their means; else for certain.
        """

    @abstractmethod
    def log_q(self, z_pres_logits: Tensor, num_steps: int, explore: float | Tensor) -> Tensor:
        """Return log q(n | rollout), (batch, num_steps + 1).

        Args:
            z_pres_logits: (batch, num_steps), or one more where the last choice is to stop.
            num_steps: of the rollout.
            explore: probability with which the count is explored instead: uniform on 0..T; or,
                without a bound, with which each choice to go on is left to a fair coin.
        """

    def normalize(self, probs: Tensor, weights: Tensor) -> Tensor:
        """Return q(n | the image did not go on), (batch, steps + 1), of all q(n | rollout)."""
        return probs

    def most_found(self, count_probs: Tensor) -> int:
        """Return the largest count of a mini-batch's composites.

        Args:
            count_probs: (batch, max_steps + 1), q(n | x).
        """
        return self.max_steps


class Progress:
    """Which images are still on a rollout: all of them, in a bounded one.

    Args:
        stopping: the rule.
        num_images: of the rollout.
    """

    rows: Tensor | None = None  # of the images that are still on it; None: all

    def __init__(self, stopping: Stopping, num_images: int) -> None:
        self.stopping = stopping
        self.num_images = self.size = num_images

    def advance(self, t: int, logits: Tensor, draws: Tensor | None) -> Tensor | None:
        """Let images leave before step t.

        Args:
            t: the step, from 0.
            logits: (size,), log-odds of its object.
            draws: (size, numbers), the step's noise; None of a rollout of means.
        Returns: the indices, among the images still on it, of those that stay; None if all do, or
            if those that have left are carried along.
        """
        return None

    def select(self, values: Tensor) -> Tensor:
        """Return the rows of images still on it, of values for all images."""
        return values if self.rows is None else values[self.rows]

    def spread(self, values: Tensor, fill: float = 0.0) -> Tensor:
        """Return values for all images, of values for those still on it."""
        if self.rows is None:
            return values
        whole = values.new_full((self.num_images, *values.shape[1:]), fill)
        return whole.index_copy(0, self.rows, values)

    def finish(self, log_likelihood: Tensor) -> Tensor:
        """Return the weight of each image's term for n = 0..steps, (batch, steps + 1).

        Args:
            log_likelihood: (batch, steps + 1), the terms.
        """
        return log_likelihood.new_ones(()).expand(log_likelihood.shape)


class Bounded(Stopping):
    """Every rollout takes T steps."""

    draws_per_step = 0
    has_fixed_steps = True

    def begin(
        self, num_images: int, counts: Tensor | None, explore: float | Tensor, roulette: bool
    ) -> Progress:
        """See ``Stopping.begin``."""
        return Progress(self, num_images)

    def log_q(self, z_pres_logits: Tensor, num_steps: int, explore: float | Tensor) -> Tensor:
        """See ``Stopping.log_q``."""
        return mix_with_uniform(count_log_prob(z_pres_logits), explore)


class Unbounded(Stopping):
    """A rollout takes as many steps as its images need, ``max_steps`` at most."""

    draws_per_step = 1
    has_fixed_steps = False

    def begin(
        self, num_images: int, counts: Tensor | None, explore: float | Tensor, roulette: bool
    ) -> Progress:
        """See ``Stopping.begin``."""
        return UnboundedProgress(self, num_images, counts, explore, roulette)

    def log_q(self, z_pres_logits: Tensor, num_steps: int, explore: float | Tensor) -> Tensor:
        """See ``Stopping.log_q``."""
        return count_log_prob(mix_with_coin(z_pres_logits, explore))[:, : num_steps + 1]

    def normalize(self, probs: Tensor, weights: Tensor) -> Tensor:
        """See ``Stopping.normalize``."""
        probs = probs * (weights > 0)
        return probs / probs.sum(dim=-1, keepdim=True)

    def most_found(self, count_probs: Tensor) -> int:
        """See ``Stopping.most_found``: one more than any image seems to have, at least 2."""
        return max(int(count_probs.argmax(dim=-1).max()) + 1, 2)


class UnboundedProgress(Progress):
    """Which images are still on a rollout without a bound, and what their next terms weigh."""

    def __init__(
        self,
        stopping: Stopping,
        num_images: int,
        counts: Tensor | None,
        explore: float | Tensor,
        roulette: bool,
    ) -> None:
        super().__init__(stopping, num_images)
        self.steps = 0
        self.counts, self.explore, self.roulette = counts, explore, roulette
        self.weight: Tensor | None = None  # (size,), of the term that comes next; None: 1
        self.log_reached: Tensor | float = 0.0  # (size,), log q(n >= t | rollout)
        self._weights: list[Tensor] = []

    def advance(self, t: int, logits: Tensor, draws: Tensor | None) -> Tensor | None:
        """See ``Progress.advance``."""
        logits = logits.detach()
        weight = torch.ones_like(logits) if self.weight is None else self.weight
        log_reached = self.log_reached + F.logsigmoid(mix_with_coin(logits, self.explore))
        if t == 0:
            self._weights.append(weight)
            stays = torch.ones_like(logits, dtype=torch.bool)
        else:
            stays, weight = self._stays(t, weight, log_reached, draws)
            weight = torch.where(stays, weight, 0.0)
        going = None
        if not self.roulette or sorts_out(t, logits):
            going = stays.nonzero()[:, 0]
            going = None if len(going) == self.size else going
        if going is not None:
            weight, log_reached = weight[going], log_reached[going]
            self.rows = going if self.rows is None else self.rows[going]
            self.size = len(going)
        self.log_reached, self.weight = log_reached, weight
        if self.size:
            self.steps = t + 1
            self._weights.append(self.spread(weight))
        return going

    def _stays(
        self, t: int, weight: Tensor, log_reached: Tensor, draws: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return which images take step t, and what they weigh then: two of (size,)."""
        probable = weight * log_reached.exp()
        if self.roulette and draws is not None:
            chance = (probable / ROULETTE_LEVEL).clamp(max=1)
            stays = torch.special.ndtr(draws[:, -1]) < chance
            weight = weight / chance
        else:
            stays = probable >= NEGLIGIBLE_PROBABILITY
        if self.counts is not None:
            counts = self.select(self.counts)
            stays = torch.where(counts < 0, stays, counts > t)
            weight = torch.where(counts < 0, weight, 1.0)
        return stays, weight

    def finish(self, log_likelihood: Tensor) -> Tensor:
        """See ``Progress.finish``; warns if the step limit cut an image off."""
        if self.size and self.steps == self.stopping.max_steps:
            self._warn_of_limit()
        return torch.stack(self._weights, dim=1)

    def _warn_of_limit(self) -> None:
        """Warn, once for each limit, if an image would have gone on."""
        reached, limit = torch.as_tensor(self.log_reached).exp(), self.stopping.max_steps
        reached = reached if self.weight is None else torch.where(self.weight > 0, reached, 0.0)
        if self.counts is not None:
            reached = reached[self.select(self.counts) < 0]
        if limit not in _warned and (reached >= NEGLIGIBLE_PROBABILITY).any():
            _warned.add(limit)
            logger.warning(
                "Ended a rollout after %d steps, with a probability of %.0f%% of as many objects; "
                "raise --step-limit if the images show more.",
                limit,
                100 * float(reached.max()),
            )


def make_stopping(count_prior: CountPrior) -> Stopping:
    """Return the rule that fits a count prior."""
    return (Bounded if count_prior.is_bounded else Unbounded)(count_prior.max_count)
