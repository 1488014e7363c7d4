"""Importance weighting: a tighter bound on log p(x), and a better posterior over the count.

For one rollout, z ~ q(z | x) along 'every object is present', and every count n,

    w_n = p(n) p(x | z_{1..n}) prod_{t<=n} p(z_t) / q(z_t)

has the mean p(x, n): the steps after n integrate to 1. Summed over n, the mean of K rollouts is an
unbiased estimate of p(x), and the log of it a lower bound of log p(x) in expectation that rises
with K (Burda, Grosse and Salakhutdinov 2016). The guide's own q(n | x) is not used.

Without a bound the sum over n is truncated: an image leaves a rollout where q(n >= t | rollout) is
below ``stopping.NEGLIGIBLE_PROBABILITY``, and counts from there on have no weight. What is left out
is positive, so the mean is a little less than p(x), and its log still a lower bound.
"""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ShapeError
from ..guide import SceneGuide
from ..model import SceneModel
from ..scenes import concatenate
from .noise import noise_shape
from .rollout import Rollout, roll_out


def importance_log_weights(
    guide: SceneGuide, images: Tensor, num_samples: int, noise: Tensor | None = None
) -> Tensor:
    """Draw rollouts for every image and weigh them for every count.

    Args:
        guide: the guide, with its model.
        images: (batch, channels, height, width), intensity.
        num_samples: K, rollouts per image.
        noise: (K, batch) + noise_shape, what ``draw_noise`` drew for each rollout over these
            images; drawn now if None.
    Returns: (K, batch, T + 1), log w_n; -inf where an image has left a rollout without a bound, at
        counts that the guide gives less than 1e-4 together.
    Raises: ShapeError if the noise is not for K rollouts over these images.
    Source: the formula at the head of this file.
    """
    if noise is not None:
        expected = (num_samples, len(images), *noise_shape(guide))
        if tuple(noise.shape) != expected:
            raise ShapeError(
                f"noise: expected (num_samples, batch) + noise_shape = {expected}, "
                f"got {tuple(noise.shape)}; stack num_samples draws of air.noise(batch)."
            )
    given = [None] * num_samples if noise is None else noise
    log_weights = [
        rollout_log_weights(guide.model, roll_out(guide, images, noise=draws)) for draws in given
    ]
    return concatenate(log_weights, fill=-torch.inf).unflatten(0, (num_samples, len(images)))


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Return log (1/K sum_k sum_n w_n), (batch,), nats, from weights (K, batch, T + 1)."""
    return log_weights.logsumexp(dim=(0, 2)) - math.log(len(log_weights))


def importance_weighted_count_probs(log_weights: Tensor) -> Tensor:
    """Return the estimate of p(n | x), (batch, T + 1), from weights (K, batch, T + 1)."""
    return log_weights.logsumexp(dim=0).softmax(dim=-1)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Say how many equally weighted rollouts the K weighted ones of each image are worth.

    (sum_k W_k)^2 / sum_k W_k^2 with W_k = sum_n w_{k,n}: K if all rollouts weigh the same, 1 if one
    outweighs all others. Few effective rollouts make an estimate that another draw would change.

    Args:
        log_weights: (K, batch, T + 1), log w_n of ``importance_log_weights``; a constant added for
            an image changes nothing.
    Returns: (batch,), in [1, K].
    Source: Kish 1965, Survey Sampling; Kong, Liu and Wong 1994, section 4.
    """
    # Log weights are thousands of nats: float32 would lose the last digits of differences.
    log_totals = log_weights.double().logsumexp(dim=-1)  # (K, batch), log W_k
    return (2 * log_totals.logsumexp(dim=0) - (2 * log_totals).logsumexp(dim=0)).exp()


def rollout_log_weights(model: SceneModel, rollout: Rollout) -> Tensor:
    """Weigh a rollout, drawn from q(z | x), for every count: log w_n, (batch, T + 1)."""
    u = model.poses.coordinates(rollout.z_where)
    where = _log_ratio(model.z_where_dist(), rollout.z_where_dist, u)
    what = _log_ratio(model.z_what_dist(), rollout.z_what_dist, rollout.z_what)
    behind = _log_ratio(model.background.prior(), rollout.z_background_dist, rollout.z_background)
    log_ratio = F.pad((where + what).cumsum(dim=-1), (1, 0)) + behind[:, None]
    log_prior = model.count_prior.log_prob()[: rollout.num_steps + 1]
    log_weights = log_prior.to(log_ratio) + rollout.log_likelihood + log_ratio
    return log_weights.masked_fill(rollout.weights == 0, -torch.inf)


def _log_ratio(p: dist.Normal, q: dist.Normal, value: Tensor) -> Tensor:
    """Return log p(value) - log q(value), summed over the last axis."""
    return (p.log_prob(value) - q.log_prob(value)).sum(dim=-1)
