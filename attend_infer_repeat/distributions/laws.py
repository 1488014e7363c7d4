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


def gaussian_kl(q: dist.Normal, p: dist.Normal) -> Tensor:
    """Return KL(q || p) of Gaussians, elementwise, in nats.

    Equal to ``kl_divergence(q, p)``, without its dispatch, which costs more than the sum and which
    ``torch.compile`` cannot follow.
    """
    ratio, shift = q.scale / p.scale, (q.loc - p.loc) / p.scale
    return 0.5 * (ratio.square() + shift.square() - 1) - ratio.log()


def pixel_noise_log_prob(residual: Tensor, sd: float | Tensor) -> Tensor:
    """Return the log-density of what is left of an image once what it shows is taken away.

        -|residual|^2 / (2 sd^2) - num_pixels log(sd sqrt(2 pi))

    Args:
        residual: (..., channels, height, width), image - mean.
        sd: standard deviation of every pixel, ().
    Returns: (...), nats.
    """
    pixels = residual.flatten(-3)
    log_sd = sd.log() if isinstance(sd, Tensor) else math.log(sd)
    log_normaliser = pixels.shape[-1] * (log_sd + 0.5 * math.log(2 * math.pi))
    # |residual|^2, by way of the loss whose gradient takes a single pass over the pixels.
    squares = F.mse_loss(pixels, pixels.new_zeros(()).expand_as(pixels), reduction="none")
    return squares.sum(dim=-1) * (-0.5 / sd**2) - log_normaliser


class PixelNoise(dist.Independent):
    """Independent Gaussian pixels with one standard deviation.

    Equal to ``Normal(loc, sd).to_event(3)``, whose log-density reads the pixels five times.

    Args:
        loc: (..., channels, height, width).
        sd: standard deviation, ().
    """

    def __init__(self, loc: Tensor, sd: float | Tensor) -> None:
        self.sd = sd
        scale = sd if isinstance(sd, Tensor) else loc.new_full((), sd)
        super().__init__(gaussian(loc, scale), 3)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> PixelNoise:
        """Return the same law for a larger batch."""
        return PixelNoise(self.mean.expand(torch.Size(batch_shape) + self.event_shape), self.sd)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each image, (...)."""
        if self._validate_args:
            self._validate_sample(value)
        return pixel_noise_log_prob(value - self.mean, self.sd)


def positive(unconstrained: Tensor) -> Tensor:
    """Map a network's output to a standard deviation, above ``MIN_SD``."""
    return F.softplus(unconstrained) + MIN_SD


def presence(continue_logits: Tensor, previous: Tensor) -> dist.Bernoulli:
    """Law of z_pres_t: a Bernoulli while the previous object is present, 0 after an absent one.

    Log-odds, since a Bernoulli clamps its probabilities to the float's epsilon: an object that is
    less probable than 1e-7 would be charged too little.

    Args:
        continue_logits: (batch,) or (), log-odds of one more object.
        previous: (batch,), z_pres_{t-1}, 0 or 1.
    """
    never = torch.finfo(previous.dtype).min  # finite: -inf would make 0 * inf = NaN of log_prob(0)
    return dist.Bernoulli(logits=torch.where(previous > 0, continue_logits, never))


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


def mix_with_coin(logits: Tensor, share: float) -> Tensor:
    """Return the log-odds of a choice that is, with probability ``share``, left to a fair coin.

    Args:
        logits: (...), log-odds of the choice.
        share: in [0, 1).
    Returns: (...), logit((1 - share) sigmoid(logits) + share / 2).
    """
    if share == 0:
        return logits
    log_coin, log_rest = math.log(share / 2), math.log1p(-share)
    yes, no = (
        torch.logaddexp(F.logsigmoid(signed) + log_rest, signed.new_tensor(log_coin))
        for signed in (logits, -logits)
    )
    return yes - no


@dataclass(frozen=True)
class BernoulliCount:
    """Up to ``max_count`` objects, each following with probability ``success``.

    p(n) = (1 - success) success^n for n < max_count, and success^n for n = max_count.
    """

    success: Tensor  # (), in (0, 1)
    max_count: int

    def continue_logits(self) -> Tensor:
        """Return the log-odds of n > t given n >= t, for t = 0..max_count - 1: (max_count,)."""
        return torch.logit(self.success).expand(self.max_count)

    def log_prob(self) -> Tensor:
        """Return log p(n) for n = 0..max_count, shape (max_count + 1,)."""
        return count_log_prob(self.continue_logits())


@dataclass(frozen=True)
class TruncatedGeometricCount:
    """p(n) proportional to success^n on n = 0..max_count: each object costs the same."""

    success: Tensor  # (), in (0, 1]
    max_count: int

    def log_prob(self) -> Tensor:
        """Return log p(n) for n = 0..max_count, shape (max_count + 1,)."""
        n = torch.arange(self.max_count + 1, device=self.success.device)
        return torch.log_softmax(n * self.success.log(), dim=0)

    def continue_logits(self) -> Tensor:
        """Return the log-odds of n > t given n >= t, for t = 0..max_count - 1: (max_count,)."""
        log_prob = self.log_prob()
        at_least = log_prob.flip(0).logcumsumexp(0).flip(0)  # log P(n >= t)
        return at_least[1:] - log_prob[:-1]  # log P(n > t) - log P(n = t)


@dataclass(frozen=True)
class GeometricCount:
    """p(n) = (1 - success) success^n on all n, without a most."""

    success: Tensor  # (), in (0, 1)
    max_count: int  # of the terms that are written down; there are more

    def log_prob(self) -> Tensor:
        """Return log p(n) for n = 0..max_count, shape (max_count + 1,)."""
        n = torch.arange(self.max_count + 1, device=self.success.device)
        return n * self.success.log() + torch.log1p(-self.success)

    def continue_logits(self) -> Tensor:
        """Return the log-odds of n > t given n >= t, for t = 0..max_count - 1: (max_count,)."""
        return torch.logit(self.success).expand(self.max_count)


CountPrior = BernoulliCount | TruncatedGeometricCount | GeometricCount
