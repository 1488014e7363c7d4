"""What the ELBO is made of, for every count, along one rollout.

With p_t = q(z_pres_t = 1 | rollout) and q(n | rollout) = (1 - p_{n+1}) prod_{t<=n} p_t,

    ELBO = E_rollout [ sum_n q(n | rollout) ( log p(x | first n) + log p(n) - log q(n | rollout)
                                              - sum_{t<=n} KL_t ) ]

KL_t, of Gaussians, is in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..distributions import gaussian_kl
from ..model import SceneModel
from .rollout import Rollout


@dataclass(frozen=True)
class CountTerms:
    """The terms of the ELBO for every count n = 0..T; nats per image."""

    log_likelihood: Tensor  # (batch, T + 1), log p(x | first n)
    log_p: Tensor  # (T + 1,), log p(n)
    log_q: Tensor  # (batch, T + 1), log q(n | rollout)
    kl_where: Tensor  # (batch, T + 1), sum_{t<=n} KL(q(z_where_t) || p(z_where))
    kl_what: Tensor  # (batch, T + 1), sum_{t<=n} KL(q(z_what_t) || p(z_what))
    kl_background: Tensor | None  # (batch,), KL(q(z_bg) || p(z_bg)); None: z_bg is empty
    weights: Tensor  # (batch, T + 1), ``Rollout.weights``

    def mean(self, values: Tensor) -> Tensor:
        """Return sum_n q(n | rollout) values_n, shape (batch,)."""
        return (self.log_q.exp() * self.weights * values).sum(dim=-1)

    @property
    def of_counts(self) -> Tensor:
        """What the ELBO would be if the guide were sure of a count, (batch, T + 1).

        It is -inf where an image has left the rollout.
        """
        values = self.log_likelihood + self.log_p - self.kl_where - self.kl_what
        if self.kl_background is not None:
            values = values - self.kl_background[:, None]
        return values.masked_fill(self.weights == 0, -torch.inf)

    @property
    def elbo(self) -> Tensor:
        """One unbiased sample of the evidence lower bound, (batch,)."""
        elbo = self.mean(
            self.log_likelihood + self.log_p - self.log_q - self.kl_where - self.kl_what
        )
        return elbo if self.kl_background is None else elbo - self.kl_background

    @property
    def parts(self) -> dict[str, Tensor]:
        """The ELBO's summands by name, each (batch,): which latent pays what."""
        behind = {} if self.kl_background is None else {"kl_background": self.kl_background}
        return behind | {
            "log_likelihood": self.mean(self.log_likelihood),
            "kl_pres": self.mean(self.log_q - self.log_p),
            "kl_where": self.mean(self.kl_where),
            "kl_what": self.mean(self.kl_what),
        }


def count_terms(model: SceneModel, rollout: Rollout, explore: float | Tensor = 0.0) -> CountTerms:
    """Return the terms of the ELBO for every count.

    Args:
        model: p(x, z).
        rollout: the guide's, over the images.
        explore: probability with which the count is explored, in [0, 1): ``Stopping.log_q``.
    Source: the formula at the head of this file.
    """
    kl_where = gaussian_kl(rollout.z_where_dist, model.z_where_dist()).sum(dim=-1)
    kl_what = gaussian_kl(rollout.z_what_dist, model.z_what_dist()).sum(dim=-1)
    kl_background = None
    if model.background.latent_size:
        kl_background = gaussian_kl(rollout.z_background_dist, model.background.prior()).sum(-1)
    log_p = model.count_prior.log_prob()[: rollout.num_steps + 1]
    return CountTerms(
        log_likelihood=rollout.log_likelihood,
        log_p=log_p.to(rollout.log_likelihood.dtype),
        log_q=rollout.log_q(explore),
        kl_where=F.pad(kl_where.cumsum(dim=-1), (1, 0)),
        kl_what=F.pad(kl_what.cumsum(dim=-1), (1, 0)),
        kl_background=kl_background,
        weights=rollout.weights,
    )
