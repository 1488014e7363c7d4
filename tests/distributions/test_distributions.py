"""Every law of the model and the guide."""

from __future__ import annotations

import math
from itertools import product

import pyro.distributions as dist
import pytest
import torch
from exact import presence_strings
from torch import Tensor

from attend_infer_repeat.distributions import (
    MIN_SD,
    BernoulliCount,
    CountLaw,
    TruncatedGeometricCount,
    count_log_prob,
    gaussian,
    mix_with_uniform,
    positive,
    presence,
)

PRIORS = [
    *(
        BernoulliCount(torch.tensor(p, dtype=torch.float64), n)
        for p, n in product((1e-300, 1e-7, 0.01, 0.5, 1 - 1e-15), range(1, 13))
    ),
    *(
        TruncatedGeometricCount(torch.tensor(k, dtype=torch.float64), n)
        for k, n in product((1e-300, 1e-7, 0.01, 0.5, 1 - 1e-15, 1.0), range(1, 13))
    ),
]


def chain(continue_logits: Tensor, num_chains: int) -> Tensor:
    """Sample z_pres_1..z_pres_T, (num_chains, T), from the law of each step."""
    previous, steps = torch.ones(num_chains), []
    for logit in continue_logits:
        previous = presence(logit, previous).sample()
        steps.append(previous)
    return torch.stack(steps, dim=1)


def test_count_prior_sums_to_one() -> None:
    for prior in PRIORS:
        log_prob = prior.log_prob()
        assert log_prob.shape == (prior.max_count + 1,), prior
        assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-14), prior


def test_product_of_continue_probs_equals_count_prior() -> None:
    for prior in PRIORS:
        probs = prior.continue_logits().sigmoid()
        assert probs.shape == (prior.max_count,), prior
        assert ((probs >= 0) & (probs <= 1)).all(), prior
        at_least = torch.cat((torch.ones(1), probs.cumprod(0)))  # P(n >= t)
        stops = torch.cat((1 - probs, torch.ones(1)))
        error = (at_least * stops - prior.log_prob().exp()).abs()
        assert (error <= 1e-14 + 1e-12 * prior.log_prob().exp()).all(), prior


def test_every_object_costs_the_same_under_the_truncated_geometric_law() -> None:
    for prior in PRIORS:
        if isinstance(prior, TruncatedGeometricCount):
            cost = prior.success.log()
            error = (prior.log_prob().diff() - cost).abs()
            assert (error <= 1e-12 * (1 + cost.abs())).all(), prior


@pytest.mark.parametrize("success", [1e-7, 0.01, 0.5, 0.99])
def test_bernoulli_law_is_the_geometric_law_below_its_bound(success: float) -> None:
    log_prob = BernoulliCount(torch.tensor(success), 6).log_prob()
    geometric = dist.Geometric(torch.tensor(1 - success))  # failures before a stop
    n = torch.arange(6.0)
    torch.testing.assert_close(log_prob[:-1], geometric.log_prob(n), rtol=1e-9, atol=1e-9)
    # The bound takes all that the unbounded law leaves to 6, 7, ... objects.
    rest = geometric.log_prob(n + 6).exp().sum() + success**12
    assert log_prob[-1].exp().item() == pytest.approx(rest.item(), rel=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_count_log_prob_equals_the_sum_over_all_presence_strings(steps: int) -> None:
    logits = torch.randn(7, steps) * 2
    probs = [torch.zeros(7) for _ in range(steps + 1)]
    for string in presence_strings(steps):
        previous, prob = torch.ones(7), torch.ones(7)
        for t, present in enumerate(string):
            law = presence(logits[:, t], previous)
            prob = prob * (law.mean if present else 1 - law.mean)
            previous = present.expand(7)
        n = int(string.sum())
        probs[n] = probs[n] + prob
    torch.testing.assert_close(count_log_prob(logits).exp(), torch.stack(probs, dim=-1))


@pytest.mark.parametrize("size", [1.0, 30.0, 800.0])
def test_count_log_prob_is_normalized_and_finite_for_extreme_logits(size: float) -> None:
    logits = (size * torch.randn(50, 4)).requires_grad_()
    log_prob = count_log_prob(logits)
    assert torch.isfinite(log_prob).all()
    torch.testing.assert_close(log_prob.logsumexp(-1), torch.zeros(50), rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(log_prob.sum(), logits)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("share", [0.0, 1e-9, 0.3, 0.999])
@pytest.mark.parametrize("size", [1.0, 800.0])
def test_mixing_with_uniform_moves_every_probability_towards_one_over_k(
    size: float, share: float
) -> None:
    log_prob = (size * torch.randn(20, 4)).log_softmax(-1).requires_grad_()
    mixed = mix_with_uniform(log_prob, share)
    torch.testing.assert_close(mixed.exp().sum(-1), torch.ones(20))
    before, after = log_prob.exp() - 0.25, mixed.exp() - 0.25
    torch.testing.assert_close(after, before - share * before)
    (gradient,) = torch.autograd.grad(mixed.sum(), log_prob)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("logit", [0.0, 50.0])
def test_no_object_follows_an_absent_one(logit: float) -> None:
    strings = chain(torch.full((6,), logit), 2_000)
    assert (strings.diff(dim=1) <= 0).all()
    law = presence(torch.tensor(logit), torch.zeros(100))
    assert (law.sample() == 0).all()
    assert (law.log_prob(torch.zeros(100)) == 0).all()


@pytest.mark.parametrize("prob", [1e-30, 1e-10, 1e-5, 0.3, 1 - 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_presence_has_the_log_probability_that_it_is_given(prob: float, dtype: torch.dtype) -> None:
    given = torch.tensor(prob, dtype=dtype)
    log_prob = presence(torch.logit(given), torch.ones((), dtype=dtype)).log_prob(
        torch.ones((), dtype=dtype)
    )
    assert log_prob.item() == pytest.approx(math.log(given.item()), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("law", [BernoulliCount, TruncatedGeometricCount])
@pytest.mark.parametrize("success", [0.05, 0.6])
def test_counts_of_sampled_chains_follow_the_count_prior(
    law: type[CountLaw], success: float
) -> None:
    num = 20_000
    prior = law(torch.tensor(success), 4)
    counts = chain(prior.continue_logits(), num).sum(1).long()
    shares = torch.bincount(counts, minlength=5) / num
    probs = prior.log_prob().exp()
    # Five standard errors of a share; the 1 / num lets one rare scene more or less pass.
    assert ((shares - probs).abs() <= 5 * (probs * (1 - probs) / num).sqrt() + 1 / num).all()


@pytest.mark.parametrize("output", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_a_predicted_standard_deviation_is_never_zero(output: float) -> None:
    unconstrained = torch.tensor(output, dtype=torch.float32, requires_grad=True)
    sd = positive(unconstrained)
    assert sd.item() >= MIN_SD * (1 - 1e-6)  # float32 rounds 1e-5
    assert torch.isfinite(sd)
    (gradient,) = torch.autograd.grad(sd.log(), unconstrained)
    assert torch.isfinite(gradient)


def test_gaussian_broadcasts_its_parameters() -> None:
    law = gaussian(torch.zeros(4, 3), torch.tensor(2.0))
    assert law.batch_shape == law.loc.shape == law.scale.shape == (4, 3)
