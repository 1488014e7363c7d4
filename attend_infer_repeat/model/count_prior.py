"""The prior of the number of objects, whose parameter training anneals or learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..distributions import BernoulliCount, CountLaw, GeometricCount, TruncatedGeometricCount


class CountPrior(nn.Module):
    """p(n), on n = 0..max_count, or on all n, of which that many terms are written down.

    Training anneals ``success``.

    Args:
        law: the family.
        success: its parameter: see there.
        max_count: the most objects; of a law without a bound, the most that a rollout finds.
    """

    success: Tensor

    def __init__(self, law: type[CountLaw], success: float, max_count: int) -> None:
        super().__init__()
        self.kind, self.max_count = law, max_count
        # A buffer, since annealing changes it. In float64: 1 - 1e-10 must not become 1.
        self.register_buffer("success", torch.tensor(success, dtype=torch.float64))

    @property
    def law(self) -> CountLaw:
        """The law as it is now."""
        return self.kind(self.success, self.max_count)

    @property
    def is_bounded(self) -> bool:
        """Whether there are at most ``max_count`` objects."""
        return self.kind.is_bounded

    def is_complete(self, z_pres: Tensor) -> bool:
        """Tell whether a Pyro program may end, all scenes being complete, before ``max_count``.

        A bounded program never does: its sites are always the same.
        """
        return not self.is_bounded and not z_pres.any()

    def log_prob(self) -> Tensor:
        """Return log p(n) for n = 0..max_count, (max_count + 1,)."""
        return self.law.log_prob()


class LearnedCountPrior(CountPrior):
    """p(n) whose success probability is learned, by a shift of its annealed log-odds."""

    def __init__(self, law: type[CountLaw], success: float, max_count: int) -> None:
        super().__init__(law, success, max_count)
        self.shift = nn.Parameter(torch.zeros(()))

    @property
    def law(self) -> CountLaw:
        """The law as it is now."""
        success = torch.sigmoid(torch.logit(self.success) + self.shift)
        return self.kind(success, self.max_count)


def make_count_prior(config: ModelConfig) -> CountPrior:
    """Return the count prior of a config."""
    law: type[CountLaw] = TruncatedGeometricCount
    if config.count.unbounded:
        law = GeometricCount
    elif config.count.z_pres_prior_raw:
        law = BernoulliCount
    kind = LearnedCountPrior if config.count.learn_z_pres_prior else CountPrior
    return kind(law, config.count.z_pres_prior, config.count.max_steps)
