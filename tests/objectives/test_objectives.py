"""The objectives: that they estimate what they should, and that they train."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pyro
import pyro.poutine as poutine
import pytest
import torch
from exact import (
    TINY,
    assert_equal_means,
    assert_mean,
    drawn_terms,
    enumerated_elbo,
    exact_posterior_scene,
    fix_attention,
    linear_scene,
    log_evidence,
    make_air,
    random_images,
    scenes_from,
    seeded,
)
from pyro.infer import TraceGraph_ELBO
from torch import Tensor

from attend_infer_repeat.air import AIR
from attend_infer_repeat.config import (
    CompositesConfig,
    ExplorationConfig,
    ModelConfig,
    TrainConfig,
)
from attend_infer_repeat.guide.baseline import Baseline
from attend_infer_repeat.objectives import OBJECTIVES
from attend_infer_repeat.objectives.base import mini_batch
from attend_infer_repeat.rollout import Rollout, roll_out
from attend_infer_repeat.rollout.terms import CountTerms, count_terms

IMPROVED = replace(TINY, guide="improved")
BASIC = replace(TINY, guide="basic")
VARIANTS = {
    "pursuit": TINY,
    "memoryless": replace(TINY, guide="memoryless"),
    "foresight": replace(TINY, foresight=True),
    "improved": IMPROVED,
    "basic": BASIC,
    "raw prior": replace(TINY, z_pres_prior_raw=True),
    "color": replace(TINY, canvas_size=(9, 7), channels=2, model_steps=2),
    "one step": replace(TINY, model_steps=1),
    "embedded": replace(TINY, embed_net=(6,), decoder_output_use_sigmoid=False),
    "learned noise and prior": replace(TINY, learn_likelihood_sd=True, learn_z_pres_prior=True),
    "constant background": replace(TINY, background_model="constant"),
    "smooth background": replace(IMPROVED, background_model="smooth", channels=2, model_steps=2),
    "learned background": replace(
        TINY, background_model="learned", background_latent_size=2, background_net=(5,)
    ),
    "over": replace(TINY, composition="over"),
    "over, improved": replace(IMPROVED, composition="over", canvas_size=(9, 7), channels=2),
    "foresight over a background": replace(
        TINY, foresight=True, composition="over", background_model="constant"
    ),
    "over a background": replace(TINY, composition="over", background_model="constant"),
    "sizes": replace(TINY, guide="memoryless", size_range=4.0),
    "sizes, foresight": replace(TINY, size_range=3.0, foresight=True, inhibition=0.5),
}


def train_config(objective: str, model: ModelConfig = TINY, **changes: object) -> TrainConfig:
    settings = {"batch_size": 8, "learning_rate": 1e-2, "explore": 0.0, "composite_weight": 0.0}
    settings |= changes
    return TrainConfig(objective=objective, model=model, **settings)


def uint8_images(num: int, config: ModelConfig) -> Tensor:
    """Return pictures of one bright square each, at random places on black."""
    height, width = config.canvas_size
    images = torch.zeros(num, config.channels, height, width, dtype=torch.uint8)
    side = min(height, width) // 3
    for image in images:
        top = int(torch.randint(height - side, ()))
        left = int(torch.randint(width - side, ()))
        image[:, top : top + side, left : left + side] = 255
    return images


# The value and the gradient


@pytest.mark.parametrize("success", [0.3, 1e-12])
@pytest.mark.parametrize("variant", VARIANTS)
def test_exact_objective_equals_the_sum_over_all_presence_strings(
    variant: str, success: float
) -> None:
    config = replace(VARIANTS[variant], z_pres_prior=success)
    air, images = make_air(config, gain=2), random_images(5, config)
    rollout = seeded(1, air.rollout, images)
    elbo = seeded(1, drawn_terms, air, images).elbo
    # Bernoulli clamps its probability at the rounding of float64, 2e-16.
    torch.testing.assert_close(elbo, enumerated_elbo(air, images, rollout), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_exact_gradient_equals_that_of_the_sum_over_all_presence_strings(variant: str) -> None:
    """The rollout's own graph counts: a code moves the laws of all later steps."""
    config = VARIANTS[variant]
    air, images = make_air(config, gain=2), random_images(5, config)
    rollout = seeded(1, air.rollout, images)
    parameters = list(air.parameters())
    gradients, expected = (
        torch.autograd.grad(elbo.mean(), parameters, materialize_grads=True, allow_unused=True)
        for elbo in (
            seeded(1, drawn_terms, air, images).elbo,
            enumerated_elbo(air, images, rollout),
        )
    )
    for gradient, enumerated in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, enumerated, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", [TINY, IMPROVED, BASIC])
def test_exact_objective_has_the_mean_of_tracegraph_elbo(config: ModelConfig) -> None:
    air = make_air(config, gain=2)
    draws, replicates = 1_000, 30
    images = random_images(1, config).expand(draws, -1, -1, -1)
    ours, pyros = [], []
    with torch.no_grad(), pyro.validation_enabled(False):
        for _ in range(replicates):
            ours.append(drawn_terms(air, images).elbo.mean())
            loss = TraceGraph_ELBO().loss(air.model, air.guide, images)
            pyros.append(torch.tensor(-loss / draws))
    assert_equal_means(torch.stack(ours)[:, None], torch.stack(pyros)[:, None])


def sampled_gradients(backward: Callable[[], object], air: AIR, replicates: int) -> Tensor:
    """Return (replicates, coordinates): gradients of all parameters of ``air``, side by side.

    Random directions follow the coordinates: in these, small errors of one sign add up.
    """
    parameters = list(air.parameters())
    generator = torch.Generator().manual_seed(0)
    num = sum(parameter.numel() for parameter in parameters)
    directions = torch.randn(num, 5, generator=generator)
    samples = []
    for _ in range(replicates):
        for parameter in parameters:
            parameter.grad = None
        backward()
        gradient = torch.cat(
            [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters]
        )
        samples.append(torch.cat((gradient, gradient @ directions)))
    return torch.stack(samples)


@pytest.mark.parametrize("config", [TINY, IMPROVED, BASIC])
def test_exact_objective_has_the_mean_gradient_of_tracegraph_elbo(config: ModelConfig) -> None:
    """With and without baselines, which leave the mean gradient where it was."""
    # Pixel noise of 1 and few pixels keep the score-function estimator's variance low enough to
    # see its mean; the count is undecided, so that the discrete choices matter.
    config = replace(config, likelihood_sd=1.0, model_steps=2)
    air = make_air(config, gain=2)
    draws, replicates = 500, 60
    images = random_images(1, config).expand(draws, -1, -1, -1)
    # A poor baseline: untrained, and with outputs of many nats.
    poor = Baseline(train_config("tracegraph", config, baseline_scalar=20.0))

    def ours() -> None:
        rollout = air.rollout(images)
        elbo = count_terms(air.model, rollout).elbo.mean()
        (-elbo).backward()

    def pyros(baseline: Baseline | None) -> None:
        guide = partial(air.guide, baseline=baseline)
        with poutine.scale(scale=1 / draws):
            TraceGraph_ELBO().loss_and_grads(air.model, guide, images)

    with pyro.validation_enabled(False):
        first = sampled_gradients(ours, air, replicates)
        for baseline in (None, poor):
            second = sampled_gradients(partial(pyros, baseline), air, replicates)
            assert_equal_means(first, second)


def test_elbo_is_the_combination_of_its_parts() -> None:
    air = make_air(gain=2)
    terms = drawn_terms(air, random_images(6))
    parts = terms.parts
    assert set(parts) == {"log_likelihood", "kl_pres", "kl_where", "kl_what"}
    combined = parts["log_likelihood"] - parts["kl_pres"] - parts["kl_where"] - parts["kl_what"]
    torch.testing.assert_close(terms.elbo, combined)
    assert all(part.shape == (6,) for part in parts.values())
    # Divergences, of whatever laws, are not negative. kl_pres is one only on average over paths
    # if q(z_pres) depends on them, but for each rollout it is one between laws of the count.
    assert all((parts[name] >= 0).all() for name in ("kl_pres", "kl_where", "kl_what"))


def test_costs_of_a_count_are_those_of_its_objects() -> None:
    terms = drawn_terms(make_air(gain=2), random_images(6))
    for kl in (terms.kl_where, terms.kl_what):
        assert kl.shape == (6, 4)
        assert (kl[:, 0] == 0).all()
        assert (kl.diff(dim=1) > 0).all()
    assert terms.log_likelihood.shape == terms.log_q.shape == (6, 4)
    assert terms.log_p.shape == (4,)


def test_elbo_along_a_path_is_largest_at_the_posterior_of_the_count() -> None:
    log_likelihood, kl_where, kl_what = torch.randn(3, 20, 4).abs() * torch.tensor(10.0)
    log_p, log_q = torch.randn(4).log_softmax(-1), torch.randn(20, 4).log_softmax(-1)
    joint = log_likelihood + log_p - kl_where - kl_what
    bound = joint.logsumexp(-1)
    at_random = CountTerms(
        log_likelihood, log_p, log_q, kl_where, kl_what, None, torch.ones_like(log_q)
    )
    assert (at_random.elbo < bound).all()
    at_posterior = replace(at_random, log_q=joint.log_softmax(-1))
    torch.testing.assert_close(at_posterior.elbo, bound)


# Known evidence


@pytest.mark.parametrize("steps", [1, 3])
def test_elbo_never_exceeds_exact_log_evidence_in_expectation(steps: int) -> None:
    air = linear_scene(steps)
    images = scenes_from(air, 6)
    evidence = log_evidence(air, images)
    draws = 2_000
    with torch.no_grad(), pyro.validation_enabled(False):
        elbos = drawn_terms(air, images.repeat(draws, 1, 1, 1)).elbo.view(draws, len(images))
    errors = elbos.std(0) / draws**0.5
    assert (elbos.mean(0) <= evidence + 5 * errors).all()
    # The bound is not met for want of trying: the guide is arbitrary, yet within reach.
    assert (elbos.mean(0) > evidence - 1_000).all()


def test_evidence_oracle_agrees_with_sampling_the_prior() -> None:
    air = linear_scene(2)
    images = scenes_from(air, 3)
    draws = 200_000
    with torch.no_grad(), pyro.validation_enabled(False):
        canvases = air.model.prior(draws)[-1].x
        for image, expected in zip(images, log_evidence(air, images), strict=True):
            weights = (air.model.x_dist(canvases).log_prob(image) - expected).exp()
            assert_mean(weights, 1.0)


def test_with_the_exact_posterior_every_trace_weighs_the_exact_evidence() -> None:
    air, image = exact_posterior_scene()
    evidence = log_evidence(air, image)
    draws = 500
    images = image.expand(draws, -1, -1, -1)
    q = poutine.trace(air.guide).get_trace(images)
    p = poutine.trace(poutine.replay(air.model, q)).get_trace(images)
    weights = torch.zeros(draws)
    for trace, sign in ((p, 1), (q, -1)):
        trace.compute_log_prob()
        for site in trace.nodes.values():
            if site["type"] == "sample" and site["name"] != "data":
                weights = weights + sign * site["log_prob"]
    assert 0 < q.nodes["z_pres_0"]["value"].mean() <= 1
    # Poses vary by 1e-8 and sds of 1e-8 are resolved to 1e-8 of themselves in float64; the
    # image's log density changes by about 100 nats per unit of pose: 1e-5 is ample.
    torch.testing.assert_close(weights, evidence.expand(draws), rtol=0, atol=1e-5)


def test_with_the_exact_posterior_the_mean_elbo_is_the_exact_evidence() -> None:
    air, image = exact_posterior_scene()
    with torch.no_grad():
        elbo = drawn_terms(air, image.expand(5_000, -1, -1, -1)).elbo
    assert_mean(elbo, log_evidence(air, image).item())


# Batches


def along_means(air: AIR, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roll out along the means, so that no noise tells two batches apart."""

    def rollout(images: Tensor, **options: object) -> Rollout:
        return roll_out(air.guide, images, sample=False)

    monkeypatch.setattr(air, "rollout", rollout)


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_of_one_gives_the_same_elbo_as_that_row_in_a_larger_batch(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = VARIANTS[variant]
    air, images = make_air(config, gain=2), random_images(7, config)
    along_means(air, monkeypatch)
    batch = drawn_terms(air, images).elbo
    rows = torch.cat([drawn_terms(air, image[None]).elbo for image in images])
    torch.testing.assert_close(batch, rows)
    torch.testing.assert_close(drawn_terms(air, images.flip(0)).elbo, batch.flip(0))


@pytest.mark.parametrize("guide", ["pursuit", "memoryless", "improved", "basic"])
@pytest.mark.parametrize("gain", [1.0, 100.0])
@pytest.mark.parametrize("filling", ["zeros", "ones", "noise"])
def test_extreme_images_and_weights_give_finite_elbos_and_gradients(
    filling: str, gain: float, guide: str
) -> None:
    torch.set_default_dtype(torch.float32)  # as users run it
    config = replace(TINY, guide=guide)
    air = make_air(config, gain=gain)
    images = {
        "zeros": torch.zeros(4, 1, 8, 8),
        "ones": torch.ones(4, 1, 8, 8),
        "noise": random_images(4),
    }[filling]
    terms = drawn_terms(air, images)
    assert torch.isfinite(terms.elbo).all()
    terms.elbo.mean().backward()
    for name, parameter in air.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("count_probs", [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
def test_a_guide_that_is_certain_of_the_count_has_a_finite_elbo(count_probs: list[float]) -> None:
    air = make_air()
    logit = 1e3 if count_probs[-1] else -1e3
    fix_attention(air, torch.cat((torch.tensor([logit]), torch.zeros(6))))
    terms = drawn_terms(air, random_images(4))
    torch.testing.assert_close(terms.log_q.exp(), torch.tensor(count_probs).expand(4, 4))
    assert torch.isfinite(terms.elbo).all()
    terms.elbo.mean().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in air.parameters())


# Training by each objective


@pytest.mark.parametrize("guide", ["pursuit", "memoryless", "improved", "basic"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_few_steps_change_every_parameter(name: str, guide: str) -> None:
    model = replace(TINY, guide=guide, z_pres_prior=0.9)
    air = make_air(model)
    objective = OBJECTIVES[name](air, uint8_images(8, model), train_config(name, model))
    modules = {"air": air} | ({"baseline": objective.baseline} if name == "tracegraph" else {})
    before = {
        f"{kind}.{n}": p.detach().clone()
        for kind, m in modules.items()
        for n, p in m.named_parameters()
    }
    for step in range(5):
        objective.step(step, 1.0)
    after = {f"{kind}.{n}": p for kind, m in modules.items() for n, p in m.named_parameters()}
    assert [n for n in before if torch.equal(before[n], after[n])] == []


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_leaves_buffers_and_images_alone(name: str) -> None:
    air, images = make_air(), uint8_images(8, TINY)
    buffers = {n: b.clone() for n, b in air.named_buffers()}
    copy = images.clone()
    objective = OBJECTIVES[name](air, images, train_config(name))
    for step in range(3):
        objective.step(step, 1.0)
    assert torch.equal(images, copy)
    assert all(torch.equal(b, buffers[n]) for n, b in air.named_buffers())


@pytest.mark.parametrize(
    ("name", "guide"),
    [
        *(("exact", guide) for guide in ("pursuit", "memoryless", "improved", "basic")),
        *(("tracegraph", guide) for guide in ("pursuit", "memoryless", "basic")),
    ],
)
def test_training_raises_the_elbo(name: str, guide: str) -> None:
    model = replace(TINY, guide=guide)
    air, images = make_air(model), uint8_images(32, model)
    objective = OBJECTIVES[name](air, images, train_config(name, model, batch_size=32))

    def elbo() -> Tensor:
        with torch.no_grad():
            return drawn_terms(air, (images.double() / 255).repeat(8, 1, 1, 1)).elbo

    before = elbo()
    reported = [objective.step(step, 1.0) for step in range(20)]
    after = elbo()
    error = (before.var() / len(before) + after.var() / len(after)).sqrt()
    assert after.mean() > before.mean() + 5 * error
    assert reported[0].shape == ()
    assert not reported[0].requires_grad


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_reports_the_elbo_of_its_images_per_image(name: str) -> None:
    air = make_air()
    images = uint8_images(1, TINY).expand(40, -1, -1, -1)
    with torch.no_grad():
        expected = drawn_terms(air, images[:1].double().div(255).expand(10_000, -1, -1, -1)).elbo
    reported = []
    for seed in range(40):
        objective = OBJECTIVES[name](air, images, train_config(name, batch_size=20))
        # A learning rate of 0 leaves the parameters where they are.
        reported.append(seeded(seed, objective.step, 0, 0.0))
    # The error of ``expected`` is far below that of 40 steps of 20 images.
    assert_mean(torch.stack(reported), expected.mean())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_learning_rate_factor_of_zero_changes_nothing(name: str) -> None:
    air = make_air()
    objective = OBJECTIVES[name](air, uint8_images(8, TINY), train_config(name))
    before = {n: p.detach().clone() for n, p in air.named_parameters()}
    objective.step(0, 0.0)
    assert all(torch.equal(before[n], p) for n, p in air.named_parameters())


@pytest.mark.parametrize("guide", ["pursuit", "memoryless", "improved", "basic"])
@pytest.mark.parametrize(
    ("name", "changes"),
    [("exact", {}), ("tracegraph", {}), ("tracegraph", {"baselines": False})],
)
def test_a_restored_objective_goes_on_as_if_never_stopped(
    name: str, changes: dict[str, Any], guide: str
) -> None:
    model = replace(TINY, guide=guide)
    images = uint8_images(8, model)
    air, copy = make_air(model), make_air(model, seed=1)
    config = train_config(name, model, **changes)
    objective, other = (OBJECTIVES[name](a, images, config) for a in (air, copy))
    for step in range(3):
        seeded(step, objective.step, step, 1.0)
    copy.load_state_dict(air.state_dict())
    other.restore({key: value.clone() for key, value in objective.state().items()})
    for step in range(3, 6):
        assert seeded(step, objective.step, step, 1.0) == seeded(step, other.step, step, 1.0)
    for (key, one), (other_key, another) in zip(
        air.state_dict().items(), copy.state_dict().items(), strict=True
    ):
        assert key == other_key
        assert torch.equal(one, another), key


def test_exploring_is_another_guide_with_an_elbo_of_its_own() -> None:
    air, images = make_air(gain=2), random_images(6)
    plain, certain = (
        seeded(1, partial(drawn_terms, explore=share), air, images) for share in (0.0, 0.4)
    )
    torch.testing.assert_close(
        certain.log_q.exp(), 0.6 * plain.log_q.exp() + torch.full((6, 4), 0.4 / 4)
    )
    for name in ("log_likelihood", "log_p", "kl_where", "kl_what"):
        assert torch.equal(getattr(plain, name), getattr(certain, name))


def test_exploring_reaches_its_end_and_then_changes_nothing() -> None:
    images = uint8_images(8, TINY)
    elbos: dict[float, list[Tensor]] = {}
    for explore in (0.0, 0.5):
        exploration = ExplorationConfig(explore=explore, explore_steps=3)
        config = replace(train_config("exact"), exploration=exploration)
        objective = OBJECTIVES["exact"](make_air(), images, config)
        elbos[explore] = [seeded(step, objective.step, step, 0.0) for step in range(6)]
    same = [one.item() == other.item() for one, other in zip(*elbos.values(), strict=True)]
    assert same == [False, False, False, True, True, True]


@pytest.mark.parametrize("of", ["scenes", "objects"])
def test_with_foresight_made_scenes_have_nothing_to_teach_and_none_are_made(of: str) -> None:
    def trained(foresight: bool, weight: float) -> Tensor:
        model = replace(TINY, foresight=foresight)
        composites = CompositesConfig(
            composite_weight=weight, composite_begin=0, composite_every=1, composite_of=of
        )
        config = replace(train_config("exact", model), composites=composites)
        air, images = make_air(model), uint8_images(40, model)
        objective = OBJECTIVES["exact"](air, images, config)
        torch.manual_seed(0)
        for step in range(4):
            objective.step(step, 1.0)
        return torch.cat([p.detach().flatten() for p in air.guide.parameters()])

    assert torch.equal(trained(foresight=True, weight=20.0), trained(foresight=True, weight=0.0))
    assert not torch.equal(trained(foresight=False, weight=20.0), trained(False, 0.0))


def test_the_baseline_has_a_learning_rate_of_its_own() -> None:
    air = make_air()
    config = train_config("tracegraph", learning_rate=1e-30, baseline_learning_rate=1e-2)
    objective = OBJECTIVES["tracegraph"](air, uint8_images(8, TINY), config)
    before = [p.detach().clone() for p in (*air.parameters(), *objective.baseline.parameters())]
    for step in range(3):
        objective.step(step, 1.0)
    after = [*air.parameters(), *objective.baseline.parameters()]
    moved = [not torch.equal(b, a) for b, a in zip(before, after, strict=True)]
    num = len(list(air.parameters()))
    assert not any(moved[:num])
    assert all(moved[num:])


def test_without_baselines_there_is_no_baseline() -> None:
    config = train_config("tracegraph", baselines=False)
    objective = OBJECTIVES["tracegraph"](make_air(), uint8_images(8, TINY), config)
    assert objective.baseline is None
    assert math.isfinite(objective.step(0, 1.0))


def test_tracegraph_keeps_pyros_global_parameter_store_clean() -> None:
    objective = OBJECTIVES["tracegraph"](
        make_air(), uint8_images(8, TINY), train_config("tracegraph")
    )
    objective.step(0, 1.0)
    assert len(pyro.get_param_store()) == 0


def test_tracegraph_trains_without_masking() -> None:
    model = replace(TINY, masking=False)
    objective = OBJECTIVES["tracegraph"](
        make_air(model), uint8_images(8, model), train_config("tracegraph", model)
    )
    assert all(math.isfinite(objective.step(step, 1.0)) for step in range(3))


# Sizes by configuration alone


@pytest.mark.parametrize("guide", ["pursuit", "memoryless", "improved", "basic"])
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("exact", {"canvas_size": (64, 64), "model_steps": 5, "window_size": 28}),
        ("tracegraph", {"canvas_size": (50, 50), "channels": 3, "window_size": 20}),
        ("exact", {"canvas_size": (24, 40), "channels": 2, "window_size": 9, "model_steps": 1}),
        ("tracegraph", {"canvas_size": (24, 40), "channels": 2, "window_size": 9}),
    ],
    ids=["64x64, 5 steps", "color", "not square, 1 step", "not square"],
)
def test_sizes_are_set_by_configuration_alone(name: str, sizes: dict[str, Any], guide: str) -> None:
    model = replace(TINY, guide=guide, **sizes)
    air, images = AIR(model), uint8_images(4, model)
    objective = OBJECTIVES[name](air, images, train_config(name, model, batch_size=4))
    assert math.isfinite(objective.step(0, 1.0))
    assert air.infer(images).count_probs.shape == (4, model.count.model_steps + 1)


# Mini-batches


@pytest.mark.parametrize(("num_images", "batch_size"), [(12, 4), (13, 4), (5, 5), (7, 1)])
def test_an_epoch_sees_every_image_at_most_once_and_all_if_sizes_divide(
    num_images: int, batch_size: int
) -> None:
    per_epoch = num_images // batch_size
    for epoch in range(3):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        seen = torch.cat([mini_batch(step, num_images, batch_size, seed=3) for step in steps])
        assert len(seen.unique()) == len(seen) == per_epoch * batch_size
        assert seen.min() >= 0
        assert seen.max() < num_images


def test_a_mini_batch_is_a_function_of_step_and_seed_alone() -> None:
    def batches(steps: list[int], seed: int) -> dict[int, list[int]]:
        return {step: mini_batch(step, 100, 10, seed).tolist() for step in steps}

    forward = batches(list(range(30)), seed=1)
    torch.manual_seed(77)
    assert batches(list(range(30))[::-1], seed=1) == forward
    assert batches(list(range(30)), seed=2) != forward
    assert forward[0] != forward[10]  # each epoch is shuffled anew


def test_mini_batches_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    mini_batch(3, 100, 10, seed=9)
    assert torch.equal(torch.get_rng_state(), before)


def test_over_the_epochs_every_image_is_drawn_equally_often() -> None:
    num_images, batch_size, epochs = 13, 4, 1_000
    drawn = torch.cat(
        [mini_batch(step, num_images, batch_size, seed=0) for step in range(3 * epochs)]
    )
    shares = torch.bincount(drawn, minlength=num_images) / epochs
    share = 12 / 13  # of the epochs, for each image
    # Five standard errors; epochs are independent.
    assert ((shares - share).abs() <= 5 * (share * (1 - share) / epochs) ** 0.5).all()
