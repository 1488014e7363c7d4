"""The generative model, as a Pyro program and as laws."""

from __future__ import annotations

from dataclasses import replace

import pyro
import pyro.poutine as poutine
import pytest
import torch
from exact import (
    TINY,
    assert_mean,
    canvases_of,
    conditioned_trace,
    latent_sites,
    make_air,
    on_path,
    presence_strings,
    random_images,
)
from torch.distributions import Normal

from attend_infer_repeat import ModelConfig, geom
from attend_infer_repeat.model import geom_prior, intensity

COLOR = replace(TINY, canvas_size=(9, 7), channels=3)
PRIORS = [replace(TINY, z_pres_prior_raw=raw) for raw in (False, True)]


def strings() -> list[list[float]]:
    """Return the presence strings that end a scene early, with no object after an absent one."""
    return [s.tolist() for s in presence_strings(3) if (s.diff() <= 0).all() and s.sum() < 3]


@pytest.mark.parametrize("config", [TINY, COLOR])
def test_model_has_the_tutorials_sites_in_their_order(config: ModelConfig) -> None:
    air = make_air(config)
    trace = poutine.trace(air.model).get_trace(random_images(5, config))
    expected = [f"{latent}_{t}" for t in range(3) for latent in ("z_pres", "z_where", "z_what")]
    assert latent_sites(trace) == expected
    assert trace.observation_nodes == ["x"]
    for t in range(3):
        assert trace.nodes[f"z_pres_{t}"]["value"].shape == (5,)
        assert trace.nodes[f"z_where_{t}"]["value"].shape == (5, 3)
        assert trace.nodes[f"z_what_{t}"]["value"].shape == (5, 3)
    trace.compute_log_prob()
    assert all(trace.nodes[site]["log_prob"].shape == (5,) for site in [*expected, "x"])


@pytest.mark.parametrize("config", PRIORS)
def test_prior_draws_no_object_after_an_absent_one(config: ModelConfig) -> None:
    states = make_air(config).model.prior(3_000)
    z_pres = torch.stack([state.z_pres for state in states], dim=1)
    assert (z_pres.diff(dim=1) <= 0).all()
    assert 0 < z_pres[:, -1].mean() < 1


@pytest.mark.parametrize("config", PRIORS)
def test_prior_draws_as_many_objects_as_the_count_prior_says(config: ModelConfig) -> None:
    model = make_air(config).model
    counts = sum(state.z_pres for state in model.prior(20_000)[1:]).long()
    probs = model.count_prior.log_prob().exp()
    shares = torch.bincount(counts, minlength=4) / len(counts)
    # Five standard errors of a share; the 1e-4 lets two rare scenes more or less pass.
    assert ((shares - probs).abs() <= 5 * (probs * (1 - probs) / len(counts)).sqrt() + 1e-4).all()


def test_prior_draws_poses_and_codes_from_their_laws() -> None:
    air = make_air(replace(TINY, pos_prior_mean=0.4))
    with pyro.validation_enabled(False):
        states = air.model.prior(4_000)
    for z, mean, sd in (
        (states[1].z_where[:, 0], TINY.pose.scale_prior_mean, TINY.pose.scale_prior_sd),
        (states[2].z_where[:, 1], 0.4, TINY.pose.pos_prior_sd),
        (states[3].z_where[:, 2], 0.4, TINY.pose.pos_prior_sd),
        (states[1].z_what[:, 0], 0.0, 1.0),
        (states[3].z_what[:, 2], 0.0, 1.0),
    ):
        assert_mean(z, mean)
        assert_mean((z - mean) ** 2, sd**2)


@pytest.mark.parametrize("presence", [[1.0, 1.0, 1.0], *strings()])
def test_canvas_is_the_sum_of_the_present_objects(presence: list[float]) -> None:
    air, images = make_air(), random_images(4)
    rollout = air.rollout(images)
    values = on_path(rollout, torch.tensor(presence))
    with poutine.condition(data=values):
        canvas = air.model.prior(4)[-1].x
    expected = sum(
        (
            air.model.draw(rollout.z_where[:, t], rollout.z_what[:, t])
            for t in range(int(sum(presence)))
        ),
        start=torch.zeros_like(images),
    )
    torch.testing.assert_close(canvas, expected)
    torch.testing.assert_close(
        canvases_of(air, rollout.z_where, rollout.z_what)[:, int(sum(presence))], expected
    )


def test_the_canvas_before_the_first_object_is_empty() -> None:
    canvas = make_air().model.prior(2)[0].x
    assert canvas.shape == (2, 1, 8, 8)
    assert (canvas == 0).all()


def test_pixels_are_independent_gaussians_around_the_canvas() -> None:
    air, images = make_air(replace(COLOR, likelihood_sd=0.7)), random_images(4, COLOR)
    rollout = air.rollout(images)
    trace = conditioned_trace(air.model, on_path(rollout, torch.ones(3)), images)
    canvas = canvases_of(air, rollout.z_where, rollout.z_what)[:, 3]
    expected = Normal(canvas, 0.7).log_prob(images).flatten(1).sum(1)
    torch.testing.assert_close(trace.nodes["x"]["log_prob"], expected)


@pytest.mark.parametrize("presence", strings())
def test_latents_after_the_last_object_change_neither_image_nor_log_prob(
    presence: list[float],
) -> None:
    air, images = make_air(), random_images(4)
    values = on_path(air.rollout(images), torch.tensor(presence))
    n = int(sum(presence))
    altered = {
        site: torch.randn_like(value) if "w" in site and int(site[-1]) >= n else value
        for site, value in values.items()
    }
    traces = [conditioned_trace(air.model, v, images) for v in (values, altered)]
    assert len({trace.log_prob_sum().item() for trace in traces}) == 1
    canvases = []
    for data in (values, altered):
        with poutine.condition(data=data):
            canvases.append(air.model.prior(4)[-1].x)
    assert torch.equal(*canvases)


@pytest.mark.parametrize("presence", strings())
def test_without_masking_latents_after_the_last_object_cost_their_log_prob(
    presence: list[float],
) -> None:
    air, images = make_air(), random_images(4)
    unmasked = make_air(replace(TINY, masking=False))
    values = on_path(air.rollout(images), torch.tensor(presence))
    masked, full = (
        conditioned_trace(a.model, values, images).log_prob_sum() for a in (air, unmasked)
    )
    unused = range(int(sum(presence)), 3)
    price = sum(air.model.z_where_dist().log_prob(values[f"z_where_{t}"]).sum() for t in unused)
    price += sum(air.model.z_what_dist().log_prob(values[f"z_what_{t}"]).sum() for t in unused)
    torch.testing.assert_close(full, masked + price)


@pytest.mark.parametrize("success", [1e-10, 1e-5, 0.3])
def test_program_charges_each_count_what_the_count_prior_says_in_float32(success: float) -> None:
    torch.set_default_dtype(torch.float32)
    air = make_air(replace(TINY, z_pres_prior=success))
    images = random_images(1)
    rollout = air.rollout(images)
    for n, expected in enumerate(air.model.count_prior.log_prob()):
        values = on_path(rollout, (torch.arange(3) < n).float())
        trace = conditioned_trace(air.model, values, images)
        charged = sum(trace.nodes[f"z_pres_{t}"]["log_prob"].double() for t in range(3))
        # Three sites, each rounded to float32 and clamped at its epsilon, 1.2e-7.
        assert charged.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)


def test_a_mini_batch_stands_for_all_images() -> None:
    air, images = make_air(), random_images(1).expand(12, -1, -1, -1)
    trace = poutine.trace(air.model).get_trace(images, batch_size=3)
    assert trace.nodes["x"]["value"].shape == (3, 1, 8, 8)
    assert trace.nodes["x"]["scale"] == 4


def test_uint8_and_float_images_are_the_same_observation() -> None:
    air = make_air()
    images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    assert intensity(images).min() >= 0
    assert intensity(images).max() <= 1
    assert torch.equal(intensity(intensity(images)), intensity(images))
    values = on_path(air.rollout(intensity(images)), torch.ones(3))
    log_probs = [
        conditioned_trace(air.model, values, given).log_prob_sum()
        for given in (images, intensity(images))
    ]
    assert log_probs[0] == log_probs[1]


@pytest.mark.parametrize("stop_prob", [0.5, 0.8])
def test_geom_has_the_mean_of_the_geometric_law(stop_prob: float) -> None:
    draws = torch.tensor([float(geom(stop_prob)) for _ in range(2_000)])
    assert_mean(draws, (1 - stop_prob) / stop_prob)


def test_geom_counts_the_trials_before_the_first_success() -> None:
    data = {"x_0": torch.tensor(0.0), "x_1": torch.tensor(0.0), "x_2": torch.tensor(1.0)}
    assert poutine.condition(geom, data)() == 2


def test_geom_prior_adds_objects_to_the_canvas_until_it_stops() -> None:
    model, canvas = make_air(COLOR).model, random_images(1, COLOR)
    data = {f"i_{t}": torch.tensor(float(t == 2)) for t in range(3)}
    trace = poutine.trace(poutine.condition(geom_prior, data)).get_trace(model, canvas)
    objects = [
        model.draw(trace.nodes[f"z_where_{t}"]["value"], trace.nodes[f"z_what_{t}"]["value"])
        for t in range(2)
    ]
    torch.testing.assert_close(trace.nodes["_RETURN"]["value"], canvas + objects[0] + objects[1])
    assert "z_where_2" not in trace


def test_geom_prior_that_stops_at_once_changes_nothing() -> None:
    canvas = random_images(1)
    assert torch.equal(geom_prior(make_air().model, canvas, stop_prob=1.0), canvas)
