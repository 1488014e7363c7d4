"""How a guide decides on z_pres_t: by a network, or by foresight.

A network decides before it has seen the object, and takes two digits that touch for one, where the
second would gain a hundred nats. With foresight the decision rests on that gain:

    z_pres_t ~ Bernoulli(sigmoid((gain_t + log p(n + 1) / p(n)) / temperature))
    gain_t   = log p(x | y_1, .., y_{t-1}, y') - log p(x | y_1, .., y_{t-1})
               - KL(q(z_where_t) || p(z_where)) - KL(q(z_what_t) || p(z_what)),

y' being the object at the means of z_where_t and z_what_t. For the last object, the ELBO is largest
at E[gain_t] + log p(n + 1) / p(n). gain_t is a function of x and of earlier latents, so that
q(z | x) is a guide as before.

Gradients take gain_t for data, as they do r_t: a stop-gradient. So the gradient of the ELBO is
biased: it lacks what flows through gain_t to the decoder, to the encoder and to the pose, and poses
and codes serve the image alone, not the decision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..config import InferenceConfig
from ..distributions import gaussian_kl
from ..model import SceneModel
from .read import Reading
from .state import GuideState, MemoryState

FORESIGHT_TEMPERATURE = 5.0  # nats: the accuracy of a gain of one object at its means


class Presence(nn.Module, ABC):
    """A rule for the log-odds of one more object."""

    num_logits: int
    """Outputs of the guide's network that it needs."""
    is_learned: bool
    """Whether it learns to count."""
    sees_residual: bool
    """Whether it looks at the residual."""

    @abstractmethod
    def forward(self, logits: Tensor, gain: Callable[[], Tensor]) -> Tensor:
        """Return the log-odds of z_pres_t = 1 if z_pres_{t-1} is, (batch,).

        Args:
            logits: (batch, num_logits), of the guide's network.
            gain: computes gain_t + log p(n + 1) / p(n), (batch,), nats.
        """


class LearnedPresence(Presence):
    """The guide's network decides.

    With a bound B its log-odds l become B tanh(l / B). Before the decoder renders anything well no
    object pays, and l falls within a few steps; d q / d l = q (1 - q) is 0 then, so that it stays
    where it is once objects do pay. The gradient at -B is large enough to come back.

    Args:
        bound: of the log-odds; none if None.
    """

    num_logits, is_learned, sees_residual = 1, True, False

    def __init__(self, bound: float | None = None) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, logits: Tensor, gain: Callable[[], Tensor]) -> Tensor:
        """See ``Presence.forward``."""
        if self.bound is None:
            return logits[:, 0]
        return self.bound * torch.tanh(logits[:, 0] / self.bound)


class Foresight(Presence):
    """The gain of one more object decides, and nothing is learned."""

    num_logits, is_learned, sees_residual = 0, False, True

    def forward(self, logits: Tensor, gain: Callable[[], Tensor]) -> Tensor:
        """See ``Presence.forward``."""
        return gain() / FORESIGHT_TEMPERATURE


def presence_of(config: InferenceConfig) -> Presence:
    """Return the rule that a config names."""
    return Foresight() if config.foresight else LearnedPresence(config.presence_bound)


@torch.no_grad()
def elbo_gain(
    model: SceneModel,
    reading: Reading,
    previous: GuideState,
    z_where_dist: dist.Normal,
    memory: MemoryState,
) -> Tensor:
    """Return what one more object would add to the ELBO: gain_t + log p(n + 1) / p(n).

    Args:
        model: which renders the object at the mean of its pose and code.
        reading: which reads its code.
        previous: what is found so far.
        z_where_dist: (batch, 3), q(z_where_t), of its coordinates.
        memory: the guide's.
    Returns: (batch,), nats; no gradient passes through it.
    """
    z_where = model.poses.pose(z_where_dist.loc)
    z_what_dist = reading(previous.image, z_where, memory)
    gain = model.gain(previous.residual, z_where, z_what_dist.loc)
    kl_where = gaussian_kl(z_where_dist, model.z_where_dist()).sum(dim=-1)
    kl_what = gaussian_kl(z_what_dist, model.z_what_dist()).sum(dim=-1)
    return gain - kl_where - kl_what + model.count_prior.law.log_ratio().to(gain)
