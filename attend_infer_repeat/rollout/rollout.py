"""A walk of the guide over images, and who is still on it.

An unbounded walk goes on for as long as some image may have one more object, and an image leaves it
before step t where m_t = q(n >= t | path) is hardly anything. A sum over n then lacks the image's
further terms. By ``roulette`` it has the right mean all the same: with the weight w (at first 1),
an image goes on with the probability min(1, w m_t / SMALL), and if it does, with its weight divided
by that. Its terms are multiplied by the weight that it has then, whose mean is 1:

    E[w_n] = prod_{t<=n} min(1, w m_t / SMALL) / min(1, w m_t / SMALL) = 1

Whoever goes on by chance has w m_t = SMALL, so that no improbable step weighs more. Without
roulette, an image leaves for certain where m_t < NEGLIGIBLE. The first step is always taken.

Source of the roulette: Kahn 1956; Lyne et al. 2015, "On Russian roulette estimates".
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

from ..distributions import count_log_prob, mix_with_coin, mix_with_uniform

logger = logging.getLogger(__name__)

SMALL = 1e-2
NEGLIGIBLE = 1e-4

_warned: set[int] = set()  # limits that were told of


class Path(NamedTuple):
    """The guide's walk along 'every object is present', all that q(z | x) needs for any count.

    A bounded walk takes T steps with every image. An unbounded one takes as many as its images
    need, and an image leaves it once hardly any probability is left for one more object. What there
    are no values for then is 0, with weight 0.
    """

    z_pres_logits: Tensor  # (batch, steps), log-odds of q(z_pres_t = 1 | z_pres_{t-1} = 1, path);
    # (batch, steps + 1) of an unbounded walk, where the last choice is not to go on
    z_where_dist: dist.Normal  # (batch, steps, 3)
    z_what_dist: dist.Normal  # (batch, steps, what_dim)
    z_where: Tensor  # (batch, steps, 3)
    z_what: Tensor  # (batch, steps, what_dim)
    places: Tensor  # (batch, steps, 3), the proposed poses p_t
    residuals: tuple[Remainder, ...]  # steps + 1 of them, after n objects
    log_likelihood: Tensor  # (batch, steps + 1), log p(x | the first n objects)
    weights: Tensor | None = None  # (batch, steps + 1), of the terms of a sum over n; None: all 1
    z_background_dist: dist.Normal | None = None  # (batch, latent_size), if there are backgrounds
    z_background: Tensor | None = None  # (batch, latent_size)

    @property
    def num_steps(self) -> int:
        """Steps that were taken with some image: T of a bounded walk."""
        return self.z_where.shape[1]

    def log_q(self, explore: float = 0.0) -> Tensor:
        """Return log q(n | path), (batch, steps + 1).

        Args:
            explore: probability with which the count is explored instead: uniform on 0..T; or,
                without a bound, with which each choice to go on is left to a fair coin.
        """
        if self.weights is None:
            return mix_with_uniform(count_log_prob(self.z_pres_logits), explore)
        return count_log_prob(mix_with_coin(self.z_pres_logits, explore))[:, : self.num_steps + 1]

    def count_probs(self) -> Tensor:
        """Return q(n | path), (batch, steps + 1), given that the image did not go on after it.

        Along the rollout of the means it is a plug-in for q(n | x), the average over paths.
        """
        probs = self.log_q().exp()
        if self.weights is None:
            return probs
        probs = probs * (self.weights > 0)
        return probs / probs.sum(dim=-1, keepdim=True)

    def left(self, counts: Tensor) -> Tensor:
        """Return what each image's first ``counts``, (batch,), objects leave of it: images."""
        left = self.residuals[0].images
        for n, (rows, images) in enumerate(self.residuals):
            chosen = (counts if rows is None else counts[rows]) == n
            if rows is None:
                left = torch.where(chosen[:, None, None, None], images, left)
            else:
                left = left.index_copy(0, rows[chosen], images[chosen])
        return left

    def steps_of(self, row: int) -> int:
        """Return how many steps were taken with one image."""
        return self.num_steps if self.weights is None else int((self.weights[row] > 0).sum()) - 1

    def left_of(self, row: int, counts: int) -> Tensor:
        """Return what the first ``counts`` objects of one image leave of it."""
        rows, images = self.residuals[counts]
        return images[row if rows is None else int((rows == row).nonzero())]


class Remainder(NamedTuple):
    """What some number of objects leaves of the images that a walk has not yet parted with."""

    rows: Tensor | None  # the images' places in the batch; None: all of them
    images: Tensor  # (len(rows), channels, height, width), r_t


class Walk:
    """Who is still on a walk, and what a term of theirs weighs in a sum over n.

    Args:
        num_images: that set out.
        counts, explore, roulette: see ``SceneGuide.path``.
    """

    rows: Tensor | None = None  # of the images that are still on it; None: all
    weight: Tensor | None = None  # (size,), of the term that comes next; None: 1

    def __init__(
        self, num_images: int, counts: Tensor | None, explore: float, roulette: bool
    ) -> None:
        self.num_images = self.size = num_images
        self.counts, self.explore, self.roulette = counts, explore, roulette
        self.log_reached: Tensor | float = 0.0  # (size,), log q(n >= t | path)
        self._weights: list[Tensor] = []

    def of_rows(self, values: Tensor) -> Tensor:
        """Return the rows of those still on it, of values for all images."""
        return values if self.rows is None else values[self.rows]

    def spread(self, values: Tensor, fill: float = 0.0) -> Tensor:
        """Return values for all images, of those for the ones still on it."""
        if self.rows is None:
            return values
        whole = values.new_full((self.num_images, *values.shape[1:]), fill)
        return whole.index_copy(0, self.rows, values)

    def choose(self, t: int, logits: Tensor, draws: Tensor | None) -> Tensor | None:
        """Let those leave who have hardly any probability of one more object.

        Args:
            t: the step, from 0, which is always taken if it is the first.
            logits: (size,), log-odds of its object.
            draws: (size, numbers), the step's noise.
        Returns: the places, among those still on it, of those who stay; None if all do.
        """
        logits = logits.detach()
        weight = torch.ones_like(logits) if self.weight is None else self.weight
        if t == 0:
            self._weights.append(weight)
        log_reached = self.log_reached + F.logsigmoid(mix_with_coin(logits, self.explore))
        probable = weight * log_reached.exp()
        if self.roulette and draws is not None:
            chance = (probable / SMALL).clamp(max=1)
            stays = torch.special.ndtr(draws[:, -1]) < chance
            weight = weight / chance
        else:
            stays = probable >= NEGLIGIBLE
        if self.counts is not None:
            counts = self.of_rows(self.counts)
            stays = torch.where(counts < 0, stays, counts > t)
            weight = torch.where(counts < 0, weight, 1.0)
        if t == 0:
            stays, weight = torch.ones_like(stays), torch.ones_like(weight)
        going = None if stays.all() else stays.nonzero()[:, 0]
        if going is not None:
            weight, log_reached = weight[going], log_reached[going]
            self.rows = going if self.rows is None else self.rows[going]
            self.size = len(going)
        self.log_reached, self.weight = log_reached, weight
        if self.size:
            self._weights.append(self.spread(weight))
        return going

    def cut_off(self, limit: int) -> None:
        """Warn, once for each limit, if the walk ended for an image that would have gone on."""
        reached = torch.as_tensor(self.log_reached).exp()
        if self.counts is not None:
            reached = reached[self.of_rows(self.counts) < 0]
        if limit not in _warned and (reached >= NEGLIGIBLE).any():
            _warned.add(limit)
            logger.warning(
                "Ended a walk after %d steps, with a probability of %.0f%% of as many objects; "
                "raise --step-limit if the images show more.",
                limit,
                100 * float(reached.max()),
            )

    def weights(self) -> Tensor:
        """Return the weight of each image's term for n = 0..steps, 0 where there is none."""
        return torch.stack(self._weights, dim=1)
