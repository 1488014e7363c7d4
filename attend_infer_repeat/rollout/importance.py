"""Importance weighting: a tighter bound on log p(x), and a better posterior over the count.

For one walk along 'every object is present', z ~ q(z | x), and every count n,

    w_n = p(n) p(x | z_{1..n}) prod_{t<=n} p(z_t) / q(z_t)

has the mean p(x, n): the steps after n integrate to 1. Summed over n, the mean of K walks is an
unbiased estimate of p(x), and the log of it a lower bound of log p(x) in expectation that rises
with K (Burda, Grosse and Salakhutdinov 2016). The guide's own q(n | x) is not used.

Without a bound the sum over n is truncated: a walk leaves an image where q(n >= t | walk) < 1e-4
(``rollout.NEGLIGIBLE``), and counts from there on have no weight. What is left out is positive, so the
mean is no longer p(x) but a little less, and its log still a lower bound of log p(x).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..air import AIR
from ..errors import ShapeError
from ..scenes import concatenate
from .rollout import Path


def importance_log_weights(
    air: AIR, images: Tensor, num_samples: int, noise: Tensor | None = None
) -> Tensor:
    """Draw walks for every image and weigh them for every count.

    Args:
        air: the model and its guide.
        images: (batch, channels, height, width), intensity.
        num_samples: K, walks per image.
        noise: (K, batch) + noise_shape, what ``SceneGuide.noise`` drew for each walk over
            these images; drawn now if None.
    Returns: (K, batch, T + 1), log w_n; -inf where an unbounded walk has left an image, at counts
        that the guide gives less than 1e-4 together.
    Raises: ShapeError if the noise is not for K walks over these images.
    Source: the formula at the head of this file.
    """
    if noise is not None:
        guide = air.guide
        expected = (num_samples, len(images), *guide.noise_shape)
        if tuple(noise.shape) != expected:
            raise ShapeError(
                f"noise: expected (num_samples, batch) + noise_shape = {expected}, "
                f"got {tuple(noise.shape)}; stack num_samples draws of air.guide.noise(batch)."
            )
    walks = [None] * num_samples if noise is None else noise
    log_weights = [_log_weights_of_one_walk(air, images, walk) for walk in walks]
    return concatenate(log_weights, fill=-torch.inf).unflatten(0, (num_samples, len(images)))


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Return log (1/K sum_k sum_n w_n), (batch,), nats, from weights (K, batch, T + 1)."""
    return log_weights.logsumexp(dim=(0, 2)) - math.log(len(log_weights))


def importance_weighted_count_probs(log_weights: Tensor) -> Tensor:
    """Return the estimate of p(n | x), (batch, T + 1), from weights (K, batch, T + 1)."""
    return log_weights.logsumexp(dim=0).softmax(dim=-1)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Say how many equally weighted walks the K weighted ones of each image are worth.

    (sum_k W_k)^2 / sum_k W_k^2 with W_k = sum_n w_{k,n}: K if all walks weigh the same, 1 if one
    outweighs all others. Few effective walks make an estimate that another draw would change.

    Args:
        log_weights: (K, batch, T + 1), log w_n of ``importance_log_weights``; a constant added for
            an image changes nothing.
    Returns: (batch,), in [1, K].
    Source: Kish 1965, Survey Sampling; Kong, Liu and Wong 1994, section 4.
    """
    # Weights are thousands of nats: in float32, differences would lose their last digits.
    log_totals = log_weights.double().logsumexp(dim=-1)  # (K, batch), log W_k
    return (2 * log_totals.logsumexp(dim=0) - (2 * log_totals).logsumexp(dim=0)).exp()


def _log_weights_of_one_walk(air: AIR, images: Tensor, noise: Tensor | None) -> Tensor:
    return walk_log_weights(air, air.guide.path(images, noise=noise))


def walk_log_weights(air: AIR, path: Path) -> Tensor:
    """Weigh a walk over images, drawn from q(z | x), for every count: log w_n, (batch, T + 1)."""
    model = air.model
    where = model.z_where_dist().log_prob(path.z_where) - path.z_where_dist.log_prob(path.z_where)
    what = model.z_what_dist().log_prob(path.z_what) - path.z_what_dist.log_prob(path.z_what)
    log_ratio = F.pad((where.sum(dim=-1) + what.sum(dim=-1)).cumsum(dim=-1), (1, 0))
    if path.z_background_dist is not None:
        behind = model.z_background_dist().log_prob(path.z_background)
        behind = (behind - path.z_background_dist.log_prob(path.z_background)).sum(dim=-1)
        log_ratio = log_ratio + behind[:, None]
    log_prior = model.count_prior.log_prob()[: path.num_steps + 1].to(path.log_likelihood)
    log_weights = log_prior + path.log_likelihood + log_ratio
    if path.weights is None:
        return log_weights
    return log_weights.masked_fill(path.weights == 0, -torch.inf)
