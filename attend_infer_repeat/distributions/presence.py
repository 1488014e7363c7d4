"""The law of z_pres_t, one step of the chain of presences."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F


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


def mix_with_coin(logits: Tensor, share: float | Tensor) -> Tensor:
    """Return the log-odds of a choice that is, with probability ``share``, left to a fair coin.

    Args:
        logits: (...), log-odds of the choice.
        share: in [0, 1); or a tensor, ().
    Returns: (...), logit((1 - share) sigmoid(logits) + share / 2).
    """
    if not isinstance(share, Tensor):
        if share == 0:
            return logits
        share = logits.new_full((), share)
    log_coin, log_kept = (share / 2).log(), torch.log1p(-share)
    yes, no = (
        torch.logaddexp(F.logsigmoid(signed) + log_kept, log_coin) for signed in (logits, -logits)
    )
    return yes - no
