"""The inference network, as a Pyro program and as laws."""

from __future__ import annotations

import math
from dataclasses import replace

import pyro.poutine as poutine
import pytest
import torch
from exact import (
    TINY,
    begin,
    canvases_of,
    conditioned_trace,
    latent_sites,
    make_air,
    on_path,
    presence_strings,
    random_images,
)
from torch import Tensor

from attend_infer_repeat.air import AIR
from attend_infer_repeat.config import ModelConfig, TrainConfig
from attend_infer_repeat.distributions import count_log_prob
from attend_infer_repeat.guide import GuideState, Look, SceneGuide
from attend_infer_repeat.guide.baseline import Baseline
from attend_infer_repeat.guide.presence import FORESIGHT_TEMPERATURE, LearnedPresence
from attend_infer_repeat.model import Canvas
from attend_infer_repeat.rollout import roll_out
from attend_infer_repeat.rollout.terms import count_terms
from attend_infer_repeat.spatial import window_boxes

MEMORYLESS = replace(TINY, guide="memoryless")
INHIBITED = replace(MEMORYLESS, inhibition=0.8, focus=1.0)
IMPROVED = replace(TINY, guide="improved")
BASIC = replace(TINY, guide="basic")
FORESIGHT = replace(MEMORYLESS, foresight=True)
POSE_AND_CODE = ("z_where", "z_what")
COLOR = replace(TINY, canvas_size=(9, 7), channels=3)


def possible_strings() -> list[list[float]]:
    return [s.tolist() for s in presence_strings(3) if (s.diff() <= 0).all()]


def tracegraph_config(model: ModelConfig, **changes: object) -> TrainConfig:
    return TrainConfig(
        model=model, objective="tracegraph", explore=0.0, composite_weight=0.0, **changes
    )


def altered_step(state: GuideState) -> GuideState:
    """Return another pose, code and presence with the same memory."""
    return state._replace(
        z_where=state.z_where + 1, z_what=state.z_what - 1, z_pres=1 - state.z_pres
    )


@pytest.mark.parametrize("config", [TINY, MEMORYLESS, FORESIGHT, IMPROVED, BASIC, COLOR])
def test_guide_has_the_models_latent_sites_in_the_same_order_and_shapes(
    config: ModelConfig,
) -> None:
    air, images = make_air(config), random_images(5, config)
    model = poutine.trace(air.model).get_trace(images)
    guide = poutine.trace(air.guide).get_trace(images)
    assert latent_sites(guide) == latent_sites(model)
    guide.compute_log_prob()
    for site in latent_sites(guide):
        assert guide.nodes[site]["value"].shape == model.nodes[site]["value"].shape
        assert guide.nodes[site]["log_prob"].shape == (5,)


@pytest.mark.parametrize("config", [TINY, IMPROVED, BASIC])
def test_guide_finds_no_object_after_an_absent_one(config: ModelConfig) -> None:
    states = make_air(config).guide(random_images(3_000, config))
    z_pres = torch.stack([state.z_pres for state in states], dim=1)
    assert (z_pres.diff(dim=1) <= 0).all()
    assert 0 < z_pres[:, -1].mean() < 1


@pytest.mark.parametrize("presence", possible_strings())
def test_latents_after_the_last_object_do_not_change_log_q(presence: list[float]) -> None:
    air, images = make_air(gain=2), random_images(4)
    values = on_path(air.rollout(images), torch.tensor(presence))
    altered = {
        site: torch.randn_like(value) if "w" in site and int(site[-1]) >= sum(presence) else value
        for site, value in values.items()
    }
    log_probs = [conditioned_trace(air.guide, v, images).log_prob_sum() for v in (values, altered)]
    assert log_probs[0].item() == log_probs[1].item()


@pytest.mark.parametrize("config", [TINY, IMPROVED, BASIC])
def test_without_masking_latents_after_the_last_object_are_charged(config: ModelConfig) -> None:
    air, unmasked = make_air(config), make_air(replace(config, masking=False))
    images = random_images(4, config)
    values = on_path(air.rollout(images), torch.tensor([1.0, 0.0, 0.0]))
    masked, full = (conditioned_trace(a.guide, values, images) for a in (air, unmasked))
    for site in latent_sites(masked):
        if "w" in site and int(site[-1]) >= 1:
            assert (masked.nodes[site]["log_prob"] == 0).all()
        law, value = full.nodes[site]["fn"], values[site]
        torch.testing.assert_close(full.nodes[site]["log_prob"], law.log_prob(value))


@pytest.mark.parametrize("config", [TINY, MEMORYLESS, INHIBITED, FORESIGHT, IMPROVED, BASIC, COLOR])
@pytest.mark.parametrize("presence", possible_strings())
def test_rollout_holds_the_laws_of_the_program(config: ModelConfig, presence: list[float]) -> None:
    air, images = make_air(config, gain=2), random_images(4, config)
    rollout = air.rollout(images)
    n = int(sum(presence))
    trace = conditioned_trace(air.guide, on_path(rollout, torch.tensor(presence)), images)
    log_q = sum(trace.nodes[f"z_pres_{t}"]["log_prob"] for t in range(3))
    # Bernoulli clamps its probability at the rounding of float64.
    torch.testing.assert_close(
        log_q, count_log_prob(rollout.z_pres_logits)[:, n], rtol=0, atol=1e-12
    )
    for t in range(n):
        where = rollout.z_where_dist.log_prob(rollout.z_where)[:, t].sum(-1)
        what = rollout.z_what_dist.log_prob(rollout.z_what)[:, t].sum(-1)
        torch.testing.assert_close(trace.nodes[f"z_where_{t}"]["log_prob"], where)
        torch.testing.assert_close(trace.nodes[f"z_what_{t}"]["log_prob"], what)


def test_rollout_without_sampling_takes_the_means_and_is_deterministic() -> None:
    air, images = make_air(), random_images(4)
    rollout, again = (air.rollout(images, sample=False) for _ in range(2))
    assert torch.equal(rollout.z_where, rollout.z_where_dist.mean)
    assert torch.equal(rollout.z_what, rollout.z_what_dist.mean)
    assert torch.equal(rollout.z_pres_logits, again.z_pres_logits)
    assert not torch.equal(rollout.z_where, air.rollout(images).z_where)


def test_rollout_of_means_of_one_image_is_that_of_the_same_row_in_a_batch() -> None:
    air, images = make_air(), random_images(5)
    batch, alone = (air.rollout(given, sample=False) for given in (images, images[3:4]))
    for name in ("z_pres_logits", "z_where", "z_what"):
        torch.testing.assert_close(getattr(batch, name)[3:4], getattr(alone, name))


@pytest.mark.parametrize("config", [TINY, IMPROVED])
def test_code_is_read_from_the_window_alone(config: ModelConfig) -> None:
    guide, images = make_air(config).guide, random_images(4)
    state = begin(guide, images)
    memory = guide.attend(state).memory
    pose = torch.tensor([[2.0, -0.5, -0.5]]).expand(4, 3)  # the upper left or lower right quarter
    here = guide.reading(state.image, pose, memory)
    assert not torch.allclose(here.loc, guide.reading(state.image, -pose.abs(), memory).loc)
    other_memory = tuple(torch.randn_like(m) for m in memory)
    assert torch.equal(here.loc, guide.reading(state.image, pose, other_memory).loc)


def test_basic_guide_reads_the_code_from_its_memory_alone() -> None:
    guide, images = make_air(BASIC).guide, random_images(4)
    state = begin(guide, images)
    memory, _, z_where_dist, *_ = guide.attend(state)
    law = guide.reading(state.image, z_where_dist.mean, memory)
    elsewhere = guide.reading(Canvas(1 - images), z_where_dist.mean + 1, memory)
    assert torch.equal(law.loc, elsewhere.loc)
    other_memory = tuple(torch.randn_like(m) for m in memory)
    changed = guide.reading(state.image, z_where_dist.mean, other_memory)
    assert not torch.allclose(law.loc, changed.loc)


@pytest.mark.parametrize("config", [TINY, IMPROVED, BASIC])
def test_every_memory_takes_in_the_last_step(config: ModelConfig) -> None:
    guide, images = make_air(config).guide, random_images(4, config)
    state = begin(guide, images)
    (memory, logits, law, *_), (other_memory, other_logits, other_law, *_) = (
        guide.attend(s) for s in (state, altered_step(state))
    )
    for one, other in (
        (memory[0], other_memory[0]),
        (logits, other_logits),
        (law.loc, other_law.loc),
    ):
        assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("guide", "num", "projection"),
    [
        ("memoryless", 237_163, 11.26763441127435),
        ("pursuit", 346_144, 30.469643669893333),
        ("improved", 818_208, 29.875464819179534),
        ("basic", 779_808, 24.140148007046577),
    ],
)
def test_a_seed_gives_the_weights_that_it_always_gave(
    guide: str, num: int, projection: float
) -> None:
    """Published seeds are trained again: another draw of the weights would make others of them."""
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    air = AIR(ModelConfig(guide=guide))
    weights = torch.cat([p.detach().flatten() for p in air.parameters()]).double()
    assert len(weights) == num
    signs = torch.arange(num, dtype=torch.float64).cos()
    assert float(weights @ signs) == pytest.approx(projection, abs=1e-9)


@pytest.mark.parametrize("config", [TINY, MEMORYLESS, IMPROVED, BASIC])
def test_rollout_holds_what_is_left_after_every_object_and_its_likelihood(
    config: ModelConfig,
) -> None:
    air, images = make_air(config), random_images(4, config)
    rollout = air.rollout(images)
    canvases = canvases_of(air, rollout.z_where, rollout.z_what)
    for n in range(canvases.shape[1]):
        left = rollout.residual(torch.full((4,), n))
        torch.testing.assert_close(left, images - canvases[:, n])
    expected = air.model.x_dist(canvases).log_prob(images[:, None])
    torch.testing.assert_close(rollout.log_likelihood, expected)


def test_present_objects_are_taken_away_from_the_residual() -> None:
    air, images = make_air(), random_images(50)
    states = air.guide(images)
    z_pres = torch.stack([state.z_pres for state in states], dim=1)
    assert 0 < z_pres.mean() < 1
    drawn = air.model.draw(
        *(torch.stack([getattr(s, n) for s in states], 1) for n in POSE_AND_CODE)
    )
    present = (z_pres[:, :, None, None, None] * drawn).cumsum(dim=1)
    for t, state in enumerate(states):
        torch.testing.assert_close(state.residual.x, images - present[:, t])


@pytest.mark.parametrize(
    ("config", "looks"),
    [(TINY, True), (MEMORYLESS, True), (IMPROVED, False), (BASIC, False)],
)
def test_only_a_guide_with_a_glimpse_looks_at_what_is_drawn(
    config: ModelConfig, looks: bool
) -> None:
    guide, images = make_air(config).guide, random_images(4, config)
    state = begin(guide, images)
    drawn = state._replace(residual=Canvas(random_images(4, config)))
    (_, logits, law, *_), (_, other_logits, other_law, *_) = map(guide.attend, (state, drawn))
    for one, other in ((logits, other_logits), (law.loc, other_law.loc)):
        assert torch.equal(one, other) != looks


class At(Look):
    """Propose one place, relative to the prior's mean."""

    place = torch.zeros(3)

    def forward(self, residual: Canvas, image: Canvas, scores: Tensor) -> tuple[Tensor, Tensor]:
        proposal = (self.prior_loc + self.place).expand(len(scores), 3)
        return proposal, self.glimpse(proposal, residual, image)


def guide_that_looks_at(place: list[float], config: ModelConfig = TINY) -> SceneGuide:
    model = make_air(config).model
    look = At(config, model.z_where_dist())
    look.place = torch.tensor(place)
    torch.manual_seed(0)
    return SceneGuide(model, look=look)


@pytest.mark.parametrize("part", ["image", "residual"])
def test_glimpse_sees_the_surroundings_of_the_proposed_window_and_no_more(part: str) -> None:
    """Only a change within the glimpse may change what the guide decides."""
    config = replace(TINY, canvas_size=(40, 40), window_size=8, guide="memoryless")
    # A window half the canvas wide, 10 to the right of its middle: pixels 20 to 40 by 10 to 30.
    # The glimpse is twice as wide: pixels 10 to 50 by 0 to 40.
    guide = guide_that_looks_at([0.0, -1.0, 0.0], config)
    changed = torch.zeros(3, 1, 40, 40)
    changed[0, 0, :, 11:15] = changed[1, 0, :, :9] = 1.0  # it reads a pixel beyond its edge
    state = begin(guide, torch.ones_like(changed))
    given = {part: Canvas(changed)}
    within, beyond, nothing = guide.attend(state._replace(**given)).z_where_dist.loc
    assert not torch.allclose(within, nothing)
    # Equal rows of a batch may differ in their last bit: vector instructions leave a remainder.
    torch.testing.assert_close(beyond, nothing, rtol=1e-15, atol=1e-15)


def test_an_object_is_sought_relative_to_the_proposed_place() -> None:
    images = torch.zeros(4, 1, 8, 8)  # everywhere the same to see
    here, there = [0.1, -0.2, 0.3], [-0.1, 0.5, 0.2]
    found = []
    for place in (here, there):
        guide = guide_that_looks_at(place)
        attention = guide.attend(begin(guide, images))
        expected = guide.look.prior_loc + torch.tensor(place)
        torch.testing.assert_close(attention.proposal, expected.expand(4, 3))
        found.append(attention.z_where_dist)
    between = torch.tensor(there) - torch.tensor(here)
    torch.testing.assert_close(found[1].loc - found[0].loc, between.expand(4, 3))
    torch.testing.assert_close(found[1].scale, found[0].scale)


def test_pursuit_looks_where_most_is_left() -> None:
    config = replace(TINY, canvas_size=(40, 48), channels=3, scale_prior_mean=5.0, focus=1.0)
    guide = make_air(config).guide
    residual = torch.zeros(3, 3, 40, 48)
    residual[0, 1, 28:34, 10:16] = 0.5  # center (13, 31)
    residual[1, :, 4:10, 30:36] = 0.4  # center (33, 7)
    residual[1, 2, 20:26, 10:16] = 0.5  # less, in one color
    residual[2, 0, 4:10, 30:36] = -0.6  # too much was drawn: that is left, too
    state = begin(guide, torch.zeros_like(residual))
    scores = guide.look.scores(residual)
    places = guide.attend(state._replace(residual=Canvas(residual), scores=scores)).proposal
    boxes = window_boxes(places, (40, 48))
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    expected = torch.tensor([[13.0, 31.0], [33.0, 7.0], [33.0, 7.0]])
    spacing = torch.tensor([48.0, 40.0]) / 20  # four points to a window
    assert ((centers - expected).abs() <= spacing / 2 + 1e-9).all()
    torch.testing.assert_close(places[:, 0], torch.full((3,), 5.0))


def test_a_look_returns_to_a_place_only_if_more_is_left_there_than_elsewhere() -> None:
    size, num = (40, 48), 8
    config = replace(TINY, canvas_size=size, guide="memoryless", scale_prior_mean=5.0, focus=1.0)
    residual = torch.zeros(1, 1, *size)
    residual[0, 0, 28:34, 10:16] = 0.5  # center (13, 31)
    residual[0, 0, 4:10, 30:36] = 0.4  # center (33, 7): two thirds of the energy

    def centers(inhibition: float) -> torch.Tensor:
        guide = make_air(replace(config, inhibition=inhibition)).guide
        state = begin(guide, torch.zeros_like(residual))
        state = state._replace(residual=Canvas(residual), scores=guide.look.scores(residual))
        places = []
        for _ in range(num):  # and nothing is ever drawn
            attention = guide.attend(state)
            places.append(attention.proposal)
            state = state._replace(seen=attention.seen)
        boxes = window_boxes(torch.cat(places), size)
        return (boxes[:, :2] + boxes[:, 2:]) / 2

    always = centers(0.0)
    assert torch.equal(always, always[:1].expand(num, 2))
    here, there = torch.tensor([13.0, 31.0]), torch.tensor([33.0, 7.0])
    near_here, near_there = ((centers(0.5) - at).abs().amax(dim=1) < 6 for at in (here, there))
    assert near_here[:4].tolist() == [True, False, True, False]
    assert near_there[:4].tolist() == [False, True, False, True]


def test_all_that_the_memoryless_guide_knows_is_the_image_and_what_is_left_of_it() -> None:
    guide, images = make_air(MEMORYLESS).guide, random_images(4)
    state = begin(guide, images)
    one, other = (guide.attend(s) for s in (state, altered_step(state)))
    assert torch.equal(one.z_pres_logits, other.z_pres_logits)
    assert torch.equal(one.z_where_dist.loc, other.z_where_dist.loc)
    elsewhere = guide.attend(state._replace(image=Canvas(1 - images)))
    assert not torch.allclose(one.z_pres_logits, elsewhere.z_pres_logits)
    assert not any("lstm" in name or "_init" in name for name, _ in guide.named_parameters())


@pytest.mark.parametrize("config", [FORESIGHT, replace(TINY, foresight=True)])
def test_foresight_decides_by_what_an_object_adds_to_the_elbo(config: ModelConfig) -> None:
    air, images = make_air(config, gain=2), random_images(30, config)
    rollout = air.rollout(images * torch.linspace(0, 1, 30)[:, None, None, None], sample=False)
    terms = count_terms(air.model, rollout)
    worth = (terms.log_likelihood - terms.kl_where - terms.kl_what).diff(dim=-1)
    assert worth.min() < -5 < 10 < worth.max()
    price = air.model.count_prior.log_prob().diff()
    torch.testing.assert_close(rollout.z_pres_logits, (worth + price) / FORESIGHT_TEMPERATURE)


@pytest.mark.parametrize("raw", [False, True])
def test_what_foresight_sees_is_the_best_decision_on_the_last_object(raw: bool) -> None:
    config = replace(FORESIGHT, model_steps=1, z_pres_prior=0.2, z_pres_prior_raw=raw)
    air, images = make_air(config), random_images(5)
    rollout = air.rollout(images, sample=False)
    # The raw prior's last step has the odds p / (1 - p), and every step is taken at p.
    last = -math.log(0.8) if raw else 0.0
    logits = (FORESIGHT_TEMPERATURE * rollout.z_pres_logits + last).requires_grad_()
    elbo = count_terms(air.model, rollout._replace(z_pres_logits=logits)).elbo
    (gradient,) = torch.autograd.grad(elbo.sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros(5, 1), rtol=0, atol=1e-12)


def test_foresight_learns_nothing_of_its_own() -> None:
    air = make_air(replace(FORESIGHT, learn_z_pres_prior=True))
    rollout = air.rollout(random_images(4), sample=False)
    assert not rollout.z_pres_logits.requires_grad
    assert rollout.z_where.requires_grad


@pytest.mark.parametrize("config", [TINY, MEMORYLESS])
def test_what_is_drawn_is_data(config: ModelConfig) -> None:
    """No gradient flows through the glimpse to what is drawn."""
    guide, images = make_air(config, gain=2).guide, random_images(4)
    state = begin(guide, images)
    residual = random_images(4).requires_grad_()
    _, logits, law, *_ = guide.attend(state._replace(residual=Canvas(residual)))
    total = logits.sum() + (torch.randn(4, 3) * law.loc).sum()
    assert torch.autograd.grad(total, residual, allow_unused=True) == (None,)


@pytest.mark.parametrize("config", [TINY, MEMORYLESS, FORESIGHT, IMPROVED, BASIC])
def test_the_image_reaches_every_law_of_the_guide(config: ModelConfig) -> None:
    guide = make_air(config).guide
    images = random_images(2, config)
    rollout = roll_out(guide, images, sample=False)
    for values in (rollout.z_pres_logits, rollout.z_where, rollout.z_what):
        assert (values[0] != values[1]).all()


@pytest.mark.parametrize("config", [TINY, MEMORYLESS, FORESIGHT, IMPROVED, BASIC])
def test_every_parameter_of_the_guide_moves_some_law(config: ModelConfig) -> None:
    air = make_air(config)
    rollout = air.rollout(random_images(20, config))
    values = (rollout.z_pres_logits, rollout.z_where, rollout.z_what)
    total = sum((v * torch.randn_like(v)).sum() for v in values)
    names, parameters = zip(*air.guide.named_parameters(), strict=True)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    unused = [n for n, g in zip(names, gradients, strict=True) if g is None or (g == 0).all()]
    assert unused == []


@pytest.mark.parametrize("guide", ["pursuit", "memoryless", "improved", "basic"])
def test_an_untrained_guide_starts_near_its_proposal(guide: str) -> None:
    prior = {"scale_prior_mean": 4.0, "scale_prior_sd": 0.1, "pos_prior_mean": 0.5}
    config = replace(TINY, guide=guide, **prior)
    rollout = make_air(config).rollout(random_images(50, config))
    # Weights start within 1 / sqrt(8), so that outputs of 8 inputs rarely reach 1.
    assert ((rollout.z_where_dist.loc - rollout.proposals).abs() < 1).all()
    if guide in ("improved", "basic"):
        torch.testing.assert_close(rollout.proposals[0, 0], torch.tensor([4.0, 0.5, 0.5]))


@pytest.mark.parametrize("masking", [True, False])
def test_baseline_predicts_nothing_once_a_scene_is_complete_if_masked(masking: bool) -> None:
    model = replace(TINY, masking=masking)
    baseline = Baseline(tracegraph_config(model, bl_predict_net=(5,)))
    images = random_images(6)
    state = make_air(model).guide(images)[0]
    predict = baseline.begin(images)
    value = predict(state._replace(z_pres=torch.tensor([1.0, 0.0] * 3)))
    assert value.shape == (6,)
    assert (value[::2] != 0).all()
    assert (value[1::2] == 0).all() == masking


def test_baseline_scalar_multiplies_the_baseline() -> None:
    images = random_images(4)
    state = begin(make_air().guide, images)
    values = []
    for scalar in (None, 30.0):
        torch.manual_seed(1)
        config = tracegraph_config(TINY, baseline_scalar=scalar)
        values.append(Baseline(config).begin(images)(state))
    torch.testing.assert_close(values[1], 30 * values[0])


def test_training_the_baseline_does_not_reach_the_guide() -> None:
    guide, images = make_air().guide, random_images(4)
    baseline = Baseline(tracegraph_config(TINY))
    predict = baseline.begin(images)
    states = guide(images)
    value = sum(predict(state).sum() for state in states)
    value.backward()
    assert all(parameter.grad is None for parameter in guide.parameters())
    assert any((parameter.grad != 0).any() for parameter in baseline.parameters())


@pytest.mark.parametrize("certain", [-60.0, -20.0, 20.0])
def test_with_a_bound_the_guide_comes_back_from_certainty(certain: float) -> None:
    """Adam follows the sign of what it gets, unless it is lost in rounding: 1e-7 of the loss is."""

    def slope(rule: LearnedPresence) -> float:
        logits = torch.full((1, 1), certain, requires_grad=True)
        (500 * torch.sigmoid(rule(logits, lambda: logits))).sum().backward()  # 500 nats to gain
        assert logits.grad is not None
        return float(logits.grad)

    assert slope(LearnedPresence(8.0)) > 1e3 * slope(LearnedPresence())
    moderate = torch.linspace(-1, 1, 5)[:, None]
    bounded = LearnedPresence(8.0)(moderate, lambda: moderate)
    torch.testing.assert_close(bounded, moderate[:, 0], rtol=0.01, atol=0)
    assert LearnedPresence(8.0)(torch.full((1, 1), 1e4), lambda: moderate).item() == 8.0
