"""Importance weighting: a tighter bound on log p(x), and a better posterior over the count.

For one walk along 'every object is present', z ~ q(z | x), and every count n,

    w_n = p(n) p(x | z_{1..n}) prod_{t<=n} p(z_t) / q(z_t)

has the mean p(x, n): the steps after n integrate to 1. Summed over n, the mean of K walks is an
unbiased estimate of p(x), and the log of it a lower bound of log p(x) in expectation that rises
with K (Burda, Grosse and Salakhutdinov 2016). The guide's own q(n | x) is not used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .air import AIR


def importance_log_weights(air: AIR, images: Tensor, num_samples: int) -> Tensor:
    """Draw walks for every image and weigh them for every count.

    Args:
        air: the model and its guide.
        images: (batch, channels, height, width), intensity.
        num_samples: K, walks per image.
    Returns: (K, batch, T + 1), log w_n.
    Source: the formula at the head of this file.
    """
    return torch.stack([_log_weights_of_one_walk(air, images) for _ in range(num_samples)])


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Return log (1/K sum_k sum_n w_n), (batch,), nats, from weights (K, batch, T + 1)."""
    return log_weights.logsumexp(dim=(0, 2)) - math.log(len(log_weights))


def importance_weighted_count_probs(log_weights: Tensor) -> Tensor:
    """Return the estimate of p(n | x), (batch, T + 1), from weights (K, batch, T + 1)."""
    return log_weights.logsumexp(dim=0).softmax(dim=-1)


def _log_weights_of_one_walk(air: AIR, images: Tensor) -> Tensor:
    model, path = air.model, air.guide.path(images)
    where = model.z_where_dist().log_prob(path.z_where) - path.z_where_dist.log_prob(path.z_where)
    what = model.z_what_dist().log_prob(path.z_what) - path.z_what_dist.log_prob(path.z_what)
    log_ratio = (where.sum(dim=-1) + what.sum(dim=-1)).cumsum(dim=-1)
    log_prior = model.count_prior.log_prob().to(images.dtype)
    return log_prior + path.log_likelihood + F.pad(log_ratio, (1, 0))
