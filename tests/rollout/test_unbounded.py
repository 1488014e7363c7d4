"""Any number of objects: rollouts without a bound, and the geometric prior on all counts."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pyro
import pyro.poutine as poutine
import pytest
import torch
from exact import TINY, drawn_terms, latent_sites, make_air, random_images
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.nn import functional as F

from attend_infer_repeat.air import AIR
from attend_infer_repeat.config import ModelConfig, TrainConfig
from attend_infer_repeat.distributions import (
    BernoulliCount,
    GeometricCount,
    count_log_prob,
    mix_with_coin,
)
from attend_infer_repeat.errors import ConfigError
from attend_infer_repeat.evaluation import elbo_per_image
from attend_infer_repeat.objectives import OBJECTIVES
from attend_infer_repeat.rollout import Rollout, stopping
from attend_infer_repeat.rollout.importance import importance_log_weights, importance_weighted_bound
from attend_infer_repeat.rollout.residuals import Windows
from attend_infer_repeat.rollout.terms import count_terms
from attend_infer_repeat.spatial import places
from attend_infer_repeat.viz.illustrate import generation_figure
from attend_infer_repeat.viz.plots import samples_figure

LIMIT = 12
UNBOUNDED = replace(TINY, unbounded=True, step_limit=LIMIT, z_pres_prior=0.4)
GUIDES = [{"guide": guide} for guide in ("pursuit", "memoryless", "improved", "basic")]
GUIDES += [{"guide": "memoryless", "foresight": True}]


def with_chances(air: AIR, *log_odds: float) -> AIR:
    """Let the guide's log-odds of one more object be these, step by step, and then the last."""
    last = air.guide.predict[-1]
    with torch.no_grad():
        if not air.config.inference.foresight:
            last.weight[0], last.bias[0] = 0.0, 0.0
    attend = air.guide.attend
    steps = []

    def begin(images: Tensor, z_background: Tensor) -> object:
        steps.clear()
        return type(air.guide).begin(air.guide, images, z_background)

    def attend_with_chance(previous: object) -> object:
        steps.append(None)
        attention = attend(previous)
        log_odd = log_odds[min(len(steps), len(log_odds)) - 1]
        own = (
            0 * attention.z_pres_logits
            if air.config.inference.foresight
            else attention.z_pres_logits
        )
        return attention._replace(z_pres_logits=own + log_odd)

    air.guide.begin, air.guide.attend = begin, attend_with_chance  # type: ignore[method-assign]
    return air


def bounded(air: AIR, steps: int) -> AIR:
    """Return the same AIR with a bound; p(n) differs where n is the bound only."""
    config = replace(air.config, unbounded=False, model_steps=steps, z_pres_prior_raw=True)
    other = AIR(config)
    other.load_state_dict(air.state_dict())
    return other


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_scenes_to_look_at_are_drawn_whatever_the_limit(limit: int) -> None:
    air = make_air(replace(UNBOUNDED, step_limit=limit))
    most = min(limit, 3)  # T of the bounded model
    assert f"1 to {most} objects" in samples_figure(air, 8).get_suptitle()
    assert len(generation_figure(air).axes) == 4 * (most + 1)


# The law.


@pytest.mark.parametrize("success", [1e-15, 0.3, 0.99])
def test_geometric_prior_is_that_of_the_papers_coin_without_a_last_toss(success: float) -> None:
    law = GeometricCount(torch.tensor(success, dtype=torch.float64), 40)
    n = torch.arange(41, dtype=torch.float64)
    expected = n * np.log(success) + np.log1p(-success)
    torch.testing.assert_close(law.log_prob(), expected)
    rest = success**41
    assert law.log_prob().exp().sum().item() == pytest.approx(1 - rest)
    torch.testing.assert_close(
        law.log_prob()[:-1], count_log_prob(law.continue_logits())[:-1], rtol=1e-9, atol=1e-9
    )
    bounded = BernoulliCount(law.success, 40).log_prob()
    torch.testing.assert_close(law.log_prob()[:-1], bounded[:-1])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
def test_a_coin_mixes_with_a_choice(share: float) -> None:
    p = torch.tensor([1e-9, 0.2, 0.5, 1 - 1e-6], dtype=torch.float64)
    mixed = mix_with_coin(torch.logit(p), share).sigmoid()
    torch.testing.assert_close(mixed, (1 - share) * p + share / 2)


def test_the_prior_draws_as_many_objects_as_the_geometric_law_says() -> None:
    air = make_air(replace(UNBOUNDED, z_pres_prior=0.5, step_limit=40))
    torch.manual_seed(0)
    states = air.model.prior(4_000)
    counts = sum(state.z_pres for state in states[1:])
    for n in range(5):
        assert (counts == n).double().mean().item() == pytest.approx(0.5 ** (n + 1), abs=0.025)
    assert len(states) - 1 == counts.max() + 1  # the last step finds every scene complete


def test_scenes_of_any_count_can_be_asked_for() -> None:
    scenes = make_air(UNBOUNDED).sample(3, counts=[0, 7, 2])
    assert scenes.counts.tolist() == [0, 7, 2]
    assert scenes.z_pres.sum(axis=1).tolist() == [0, 7, 2]


# The walk.


@pytest.mark.parametrize("guide", GUIDES)
def test_a_rollout_without_a_bound_takes_the_steps_of_a_bounded_one(
    guide: dict[str, object],
) -> None:
    air = make_air(replace(UNBOUNDED, **guide), gain=3.0)
    images = random_images(6)
    noise = air.noise(6)
    rollout = air.rollout(images, noise=noise)
    steps = rollout.num_steps
    assert steps > 1
    fixed = bounded(air, steps)
    other = fixed.rollout(images, noise=noise[:, :steps, :-1])
    taken = rollout.weights > 0
    assert taken.all(dim=1).any()  # some image takes every step
    for name in ("z_where", "z_what", "proposals"):
        mine, others = getattr(rollout, name), getattr(other, name)
        torch.testing.assert_close(mine[taken[:, 1:]], others[taken[:, 1:]])
    torch.testing.assert_close(rollout.log_likelihood[taken], other.log_likelihood[taken])
    for n in range(steps + 1):
        rows = taken[:, n].nonzero()[:, 0]
        counts = torch.full((6,), n)
        torch.testing.assert_close(rollout.residual(counts)[rows], other.residual(counts)[rows])
    log_q = other.log_q()
    torch.testing.assert_close(
        rollout.log_q()[:, :steps][taken[:, :-1]], log_q[:, :-1][taken[:, :-1]]
    )


@pytest.mark.parametrize("chances", [(6.0, 5.0, -30.0), (-30.0,), (0.0, -9.0)])
def test_a_rollout_ends_where_hardly_any_probability_is_left(chances: tuple[float, ...]) -> None:
    air = with_chances(make_air(UNBOUNDED), *chances)
    rollout = air.rollout(random_images(5), sample=False)
    reached, steps = 1.0, 0
    for log_odds in chances:
        reached *= 1 / (1 + np.exp(-log_odds))
        if reached < stopping.NEGLIGIBLE_PROBABILITY:
            break
        steps += 1
    assert rollout.num_steps == max(steps, 1)  # the first is always taken


def test_an_image_leaves_the_walk_when_it_is_done_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "LARGEST_SHARE", 1.0)
    air = make_air(UNBOUNDED, gain=3.0)
    rollout = air.rollout(random_images(40), sample=False)
    steps = torch.tensor([rollout.steps_of(row) for row in range(40)])
    assert steps.max() == rollout.num_steps
    assert len(steps.unique()) > 1
    assert isinstance(rollout.residuals, Windows)
    for n in range(1, rollout.num_steps + 1):
        parts = [step.rows for step in rollout.residuals.steps if step.n == n]
        rows = torch.cat([torch.arange(40) if part is None else part for part in parts])
        assert sorted(rows.tolist()) == (steps >= n).nonzero()[:, 0].tolist()


def test_an_answer_does_not_depend_on_the_images_beside_it() -> None:
    air, images = make_air(UNBOUNDED, gain=3.0), random_images(40)
    together = air.infer(images)
    apart = air.infer(images, batch_size=1)
    torch.testing.assert_close(together.count_probs, apart.count_probs)
    torch.testing.assert_close(together.boxes, apart.boxes, equal_nan=True)
    assert torch.equal(together.z_pres, apart.z_pres)
    torch.testing.assert_close(together.reconstruction, apart.reconstruction)
    torch.testing.assert_close(
        together.count_probs.sum(dim=1), torch.ones(40, dtype=together.count_probs.dtype)
    )


def test_inference_differs_from_far_more_steps_by_less_than_what_is_negligible() -> None:
    air, images = make_air(UNBOUNDED, gain=3.0), random_images(40)
    probs = air.infer(images).count_probs
    all_probs = bounded(air, LIMIT).infer(images).count_probs
    difference = (F.pad(probs, (0, LIMIT + 1 - probs.shape[1])) - all_probs).abs()
    assert difference.sum(dim=1).max() <= 2 * stopping.NEGLIGIBLE_PROBABILITY + 1e-5


def test_a_limit_ends_the_walk_with_a_message(caplog: pytest.LogCaptureFixture) -> None:
    air = with_chances(make_air(replace(UNBOUNDED, step_limit=4)), 20.0)
    stopping._warned.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            scenes = air.infer(random_images(2))
    (record,) = caplog.records
    assert "after 4 steps" in record.message
    assert "--step-limit" in record.message
    assert scenes.counts.tolist() == [4, 4]


def test_known_counts_decide_how_many_steps_are_taken() -> None:
    air, images = make_air(UNBOUNDED), random_images(5)
    counts = torch.tensor([1, 5, -1, 2, 5])
    rollout = air.rollout(images, counts=counts, roulette=True)
    for row, count in enumerate(counts.tolist()):
        assert count < 0 or rollout.steps_of(row) == count
    long = bounded(air, 8).rollout(images, sample=False).log_q()
    rollout = air.rollout(images, sample=False, counts=counts)
    for row, count in enumerate(counts.tolist()):
        if count >= 0:  # and the choice not to go on is in it
            torch.testing.assert_close(rollout.log_q()[row, count], long[row, count])


# The objective: the roulette has the value and the gradient of a walk that never ends early.


def value_and_gradient(air: AIR, images: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
    air.zero_grad()
    elbo = count_terms(air.model, rollout).elbo
    elbo.mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in air.parameters() if p.grad is not None])
    return elbo.detach(), gradient


@pytest.mark.parametrize("small", [0.01, 0.6])
@pytest.mark.parametrize("guide", GUIDES)
def test_roulette_has_the_mean_and_gradient_of_far_more_steps(
    guide: dict[str, object], small: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Along one rollout: the sum over all that chance can decide, each by its probability."""
    config = replace(UNBOUNDED, **guide, background_model="constant", learn_z_pres_prior=True)
    air = with_chances(make_air(config, gain=2.0), 1.0, 0.0, -0.5, -1.0)
    images, noise = random_images(1), air.noise(1)
    monkeypatch.setattr(stopping, "NEGLIGIBLE_PROBABILITY", 0.0)
    whole = air.rollout(images, noise=noise)
    assert whole.num_steps == LIMIT
    value, gradient = value_and_gradient(air, images, whole)

    monkeypatch.setattr(stopping, "ROULETTE_LEVEL", small)
    mean, mean_gradient, left, outcomes = torch.zeros(1), torch.zeros_like(gradient), 1.0, 0
    for steps in range(1, LIMIT + 1):
        noise[:, :steps, -1] = -8.0  # goes on, however improbable that is
        noise[:, steps:, -1] = 8.0  # goes on if that is certain, only
        rollout = air.rollout(images, noise=noise, roulette=True)
        if rollout.num_steps > steps:
            continue  # here it is certain
        one, its_gradient = value_and_gradient(air, images, rollout)
        # With this outcome the walk has come so far with the probability 1 / weight.
        goes_on = 0.0
        if steps < LIMIT:
            noise[:, : steps + 1, -1] = -8.0
            further = air.rollout(images, noise=noise, roulette=True)
            goes_on = 1 / float(further.weights[0, steps + 1])
        probability, left, outcomes = left - goes_on, goes_on, outcomes + 1
        mean, mean_gradient = mean + probability * one, mean_gradient + probability * its_gradient
    assert outcomes > 4
    assert left == 0.0
    torch.testing.assert_close(mean, value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mean_gradient, gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("known", [False, True])
def test_images_that_are_sorted_out_later_change_nothing(
    guide: dict[str, object], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where they are carried along for some steps."""
    air = with_chances(make_air(replace(UNBOUNDED, **guide), gain=2.0), 1.0, 0.0, -2.0, -3.0)
    images, noise = random_images(40), air.noise(40)
    counts = torch.arange(40) % 6 - 1 if known else None
    found = []
    for every in (1, 3):
        monkeypatch.setattr(stopping, "sorts_out", lambda t, _, every=every: t % every == 0)
        rollout = air.rollout(images, noise=noise, counts=counts, explore=0.1, roulette=True)
        count_probs = rollout.count_probs()
        residual = rollout.residual(count_probs.argmax(dim=1))
        found.append((rollout, count_probs, residual, value_and_gradient(air, images, rollout)))
    (now, probs, residual, values), (later, later_probs, later_residual, later_values) = found
    steps = now.num_steps + 1
    assert later.num_steps > now.num_steps
    assert (later.weights[:, steps:] == 0).all()
    assert (now.weights == 0).any()
    torch.testing.assert_close(later.weights[:, :steps], now.weights)
    torch.testing.assert_close(later_probs[:, :steps], probs)
    torch.testing.assert_close(later_residual, residual)
    torch.testing.assert_close(later_values, values)


def test_no_improbable_step_weighs_more_than_what_counts_as_small() -> None:
    air = with_chances(make_air(UNBOUNDED), 1.0, 0.0, -0.5, -1.0)
    rollout = air.rollout(random_images(20_000), roulette=True)
    reached = torch.sigmoid(rollout.z_pres_logits[:, : rollout.num_steps]).cumprod(dim=1)
    weights = rollout.weights[:, 1:]
    improbable = (weights > 1) & (rollout.weights[:, :-1] * reached < stopping.ROULETTE_LEVEL)
    assert improbable.any()
    torch.testing.assert_close(
        (weights * reached)[improbable],
        torch.full_like(reached[improbable], stopping.ROULETTE_LEVEL),
    )
    means = rollout.weights.mean(dim=0)
    assert (means[:6] - 1).abs().max() < 0.05


def test_without_the_roulette_a_sum_over_counts_loses_what_is_negligible_only() -> None:
    air = make_air(UNBOUNDED, gain=3.0)
    images, noise = random_images(20), air.noise(20)
    short = count_terms(air.model, air.rollout(images, noise=noise))
    fixed = bounded(air, LIMIT)
    long = count_terms(fixed.model, fixed.rollout(images, noise=noise[:, :, :-1]))
    left = 1 - short.mean(torch.ones_like(short.log_q))
    assert (left < stopping.NEGLIGIBLE_PROBABILITY + 1e-6).all()
    largest = (long.elbo - short.elbo).abs()
    terms = (long.log_likelihood - long.kl_where - long.kl_what).abs().amax(dim=1)
    assert (largest <= stopping.NEGLIGIBLE_PROBABILITY * (terms + 100)).all()


def test_the_programs_find_any_number_of_objects_and_agree_on_their_sites() -> None:
    air = make_air(UNBOUNDED, gain=3.0)
    images = random_images(30)
    lengths = set()
    for seed in range(5):
        torch.manual_seed(seed)
        guide_trace = poutine.trace(air.guide).get_trace(images)
        model_trace = poutine.trace(poutine.replay(air.model, guide_trace)).get_trace(images)
        assert latent_sites(model_trace) == latent_sites(guide_trace)
        lengths.add(len(latent_sites(guide_trace)))
    assert len(lengths) > 1
    torch.manual_seed(0)
    losses = [Trace_ELBO().loss(air.model, air.guide, images) for _ in range(40)]
    exact = [drawn_terms(air, images).elbo.sum().item() for _ in range(40)]
    errors = (np.var(losses) + np.var(exact)) / 60
    assert abs(np.mean(exact) + np.mean(losses)) < 4 * errors**0.5
    pyro.clear_param_store()


@pytest.mark.parametrize(
    ("name", "guide"),
    [("exact", "memoryless"), ("exact", "pursuit"), ("tracegraph", "pursuit")],
)
def test_training_without_a_bound_raises_the_elbo(name: str, guide: str) -> None:
    model = replace(UNBOUNDED, guide=guide, learn_z_pres_prior=True)
    made = {"composite_weight": 1.0, "composite_begin": 2} if name == "exact" else {}
    settings = {"explore": 0.0, "composite_weight": 0.0} | made
    config = TrainConfig(batch_size=16, objective=name, model=model, **settings)
    air = make_air(model)
    images = (random_images(32) * 255).to(torch.uint8)
    objective = OBJECTIVES[name](air, images, config)
    elbos = [objective.step(step, 1.0).item() for step in range(24)]
    assert np.mean(elbos[-8:]) > np.mean(elbos[:8])
    assert air.model.count_prior.shift.abs() > 1e-3  # the prior's parameter learns, too


def test_a_learned_prior_comes_to_expect_as_many_objects_as_there_are() -> None:
    """The best p for a mean of m objects is m / (1 + m), whatever else is going on."""
    model = replace(UNBOUNDED, learn_z_pres_prior=True, z_pres_prior=0.1)
    air = with_chances(make_air(model), 30.0, 30.0, -30.0)
    images = random_images(8)
    shift = air.model.count_prior.shift
    optimizer = torch.optim.Adam([shift], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (-drawn_terms(air, images).elbo.mean()).backward()
        optimizer.step()
    assert air.model.count_prior.law.success.item() == pytest.approx(2 / 3, abs=0.01)


def test_exploring_leaves_each_choice_to_a_coin() -> None:
    air = with_chances(make_air(UNBOUNDED), -30.0)
    rollout = air.rollout(random_images(3), explore=0.5)
    q = rollout.log_q(0.5).exp()
    assert rollout.num_steps > 3
    torch.testing.assert_close(q[:, 0], torch.full((3,), 0.75))
    torch.testing.assert_close(q[:, 1], torch.full((3,), 0.25 * 0.75))


# Around it.


def test_the_elbo_of_a_data_set_is_joined_from_batches_of_different_lengths() -> None:
    from attend_infer_repeat.data import Dataset

    air = make_air(UNBOUNDED, gain=3.0)
    data = Dataset("noise", "test", (random_images(9)[:, 0].numpy() * 255).astype(np.uint8))
    terms = elbo_per_image(air, data, batch_size=2)
    assert terms["elbo"].shape == (9,)
    assert np.isfinite(terms["elbo"]).all()


def test_importance_weights_leave_out_what_was_not_walked() -> None:
    air, images = make_air(UNBOUNDED, gain=3.0), random_images(10)
    log_weights = importance_log_weights(air.guide, images, 7)
    assert log_weights.shape[:2] == (7, 10)
    assert torch.isfinite(log_weights[..., 0]).all()
    assert not torch.isnan(log_weights).any()


def test_importance_weights_are_truncated_where_hardly_any_probability_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    air, images = make_air(UNBOUNDED, gain=3.0), random_images(10)
    noise = torch.stack([air.noise(10) for _ in range(3)])
    truncated = importance_log_weights(air.guide, images, 3, noise)
    with monkeypatch.context() as patch:
        patch.setattr(stopping, "NEGLIGIBLE_PROBABILITY", 0.0)
        whole = importance_log_weights(air.guide, images, 3, noise)
    walked = truncated > -torch.inf
    assert stopping.NEGLIGIBLE_PROBABILITY == 1e-4  # as the docs say
    assert not walked.all()
    torch.testing.assert_close(truncated[walked], whole[..., : walked.shape[-1]][walked])
    lower, bound = importance_weighted_bound(truncated), importance_weighted_bound(whole)
    assert (lower <= bound).all()
    assert whole.isfinite().all()  # so that something is left out


def test_a_rollout_without_a_bound_is_not_compiled() -> None:
    config = TrainConfig(model=UNBOUNDED)
    images = torch.zeros(300, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="compile"):
        OBJECTIVES["exact"](make_air(UNBOUNDED), images, config, execution="compiled")


def test_the_prior_needs_a_probability() -> None:
    with pytest.raises(ConfigError, match="z_pres_prior"):
        ModelConfig(unbounded=True, z_pres_prior=1.0)
