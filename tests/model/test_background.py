"""Backgrounds, and objects that hide what is behind them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from exact import TINY, latent_sites, make_air, on_path, random_images
from torch import Tensor

from attend_infer_repeat.air import AIR
from attend_infer_repeat.config import BackgroundConfig, ModelConfig, TrainConfig
from attend_infer_repeat.errors import ConfigError
from attend_infer_repeat.model.background import make_background
from attend_infer_repeat.objectives import OBJECTIVES
from attend_infer_repeat.rollout.importance import rollout_log_weights
from attend_infer_repeat.rollout.terms import count_terms

KINDS = ("constant", "smooth", "learned")
CODES = BackgroundConfig(background_latent_size=4)
COLOR = replace(TINY, canvas_size=(9, 7), channels=3, background=CODES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_background_is_a_canvas_of_its_latent(kind: str) -> None:
    config = replace(COLOR, background_model=kind)
    background = make_background(config)
    z = torch.randn(5, 2, background.latent_size)
    canvases = background(z)
    assert canvases.shape == (5, 2, 3, 9, 7)
    assert not torch.allclose(canvases[0, 0], canvases[0, 1])
    torch.testing.assert_close(background(z[3, 1]), canvases[3, 1])


def test_a_constant_background_has_one_intensity_in_each_channel() -> None:
    canvases = make_background(replace(COLOR, background_model="constant"))(torch.randn(4, 3))
    assert (canvases.flatten(2).std(dim=2) < 1e-9).all()
    assert (canvases[..., 0, 0].std(dim=1) > 1e-3).all()


def test_a_smooth_background_is_made_of_the_lowest_frequencies() -> None:
    from scipy.fft import dctn

    config = replace(TINY, canvas_size=(20, 24), background_model="smooth")
    background = make_background(config)
    canvases = background(torch.randn(6, background.latent_size)).detach().numpy()
    spectrum = np.abs(dctn(canvases[:, 0], axes=(1, 2)))
    assert spectrum[:, 4:].max() < 1e-9
    assert spectrum[:, :, 4:].max() < 1e-9
    assert (spectrum[:, :4, :4] > 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_background_comes_first_and_everything_after_it_sees_the_image_without_it(
    kind: str,
) -> None:
    """An image and the same one on another background are read alike, once that is known."""
    config = replace(COLOR, background_model=kind)
    air, objects = make_air(config, gain=2.0), random_images(4, config)
    trace = poutine.trace(air.guide).get_trace(objects)
    assert latent_sites(trace)[0] == "z_background"
    z = torch.randn(2, 4, air.model.background.latent_size)
    reads = []
    for latent in z:
        images = objects + air.model.background(latent)
        state = air.guide.begin(images, latent)
        torch.testing.assert_close(state.residual.x, objects)
        attention = air.guide.attend(state)
        reads.append((state.features, attention.z_pres_logits, attention.z_where_dist.mean))
    for one, other in zip(*reads, strict=True):
        torch.testing.assert_close(one, other)


def painted(colors: Tensor, opacities: Tensor, background: Tensor, count: int) -> Tensor:
    """Paint back to front, as a painter does: each object over all that lies behind it."""
    x = background
    for t in reversed(range(count)):
        x = (1 - opacities[t]) * x + opacities[t] * colors[t]
    return x


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_objects_hide_what_comes_after_them_and_the_background(kind: str) -> None:
    config = replace(COLOR, composition="over", background_model=kind)
    air, images = make_air(config, gain=3.0), random_images(1, config)
    rollout = air.rollout(images)
    layers = air.model.render(rollout.z_where, rollout.z_what)[0]
    opacity = layers[:, 3:]
    assert opacity.max() > 0.05
    colors = torch.where(opacity > 0, layers[:, :3] / opacity.clamp(min=1e-12), 0.0)
    behind = air.model.background(rollout.z_background)[0]
    for count in range(4):
        expected = painted(colors, opacity, behind, count)
        left = rollout.residual(torch.tensor([count]))[0]
        torch.testing.assert_close(images[0] - left, expected)
        presence = (torch.arange(3) < count).double()
        with poutine.condition(data=on_path(rollout, presence)):
            torch.testing.assert_close(air.model.prior(1)[-1].x[0], expected)
    if kind == "none":
        pictures = air.model.partial_canvases(rollout.z_where, rollout.z_what)[0]
        torch.testing.assert_close(pictures[3], painted(colors, opacity, behind, 3))
        torch.testing.assert_close(
            air.model.draw(rollout.z_where, rollout.z_what)[0], layers[:, :3]
        )


def test_where_objects_add_up_pictures_are_their_sums() -> None:
    air = make_air()
    z_where, z_what = air.model.z_where_loc.expand(2, 3, 3), torch.randn(2, 3, 3)
    sums = air.model.draw(z_where, z_what).cumsum(dim=1)
    pictures = air.model.partial_canvases(z_where, z_what)
    assert (pictures[:, 0] == 0).all()
    torch.testing.assert_close(pictures[:, 1:], sums)


def test_a_learned_noise_goes_to_the_images_own() -> None:
    air = make_air(replace(TINY, learn_likelihood_sd=True, likelihood_sd=0.5))
    optimizer = torch.optim.Adam([air.model.likelihood.log_sd], lr=0.05)
    residual = 0.12 * torch.randn(200, 1, 8, 8)
    for _ in range(200):
        optimizer.zero_grad()
        (-air.model.log_likelihood(residual).mean()).backward()
        optimizer.step()
    learned = air.model.likelihood.sd.detach()
    torch.testing.assert_close(learned, residual.square().mean().sqrt(), rtol=1e-2, atol=0.0)


@pytest.mark.parametrize(
    ("composition", "kind", "unbounded"),
    [
        ("sum", "constant", False),
        ("sum", "smooth", True),
        ("over", "learned", False),
    ],
)
def test_training_explains_what_is_behind(composition: str, kind: str, unbounded: bool) -> None:
    model = replace(
        TINY,
        composition=composition,
        background=BackgroundConfig(background_model=kind, background_latent_size=2),
        learn_likelihood_sd=True,
        unbounded=unbounded,
    )
    settings = {"explore": 0.0, "composite_weight": 0.0, "learning_rate": 1e-2}
    config = TrainConfig(batch_size=16, model=model, **settings)
    air = make_air(model)
    levels = torch.rand(64, 1, 1, 1).expand(64, 1, 8, 8)
    images = (255 * (0.3 + 0.4 * levels)).to(torch.uint8)
    objective = OBJECTIVES["exact"](air, images, config)
    elbos = [objective.step(step, 1.0).item() for step in range(100)]
    assert np.mean(elbos[-20:]) > np.mean(elbos[:20]) + 10
    drawn = air.infer(images[:, 0].numpy()).reconstruction
    error = np.abs(drawn - images[:, 0].numpy() / 255).mean()
    assert error < 0.1  # as a share of the range; at first it is 0.5


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_rollouts_weights_charge_the_background(kind: str) -> None:
    """Their mean is the evidence: with the count held at 0, that of the background alone."""
    background = BackgroundConfig(background_model=kind, background_latent_size=2)
    config = replace(TINY, background=background, likelihood_sd=1.0)
    air, image = make_air(config), 0.2 * random_images(1)  # where the guide proposes to look
    images = image.expand(10_000, -1, -1, -1)
    weights = rollout_log_weights(air.model, air.rollout(images))[:, 0]
    z = torch.randn(10_000, air.model.background.latent_size)
    prior = air.model.count_prior.log_prob()[0]
    expected = air.model.log_likelihood(image - air.model.background(z)) + prior
    for sample in (weights, expected):
        assert torch.isfinite(sample).all()
    one, other = (torch.logsumexp(s, 0) - np.log(len(s)) for s in (weights, expected))
    assert float(one) == pytest.approx(float(other), abs=0.05)


@torch.no_grad()
@pytest.mark.parametrize("composition", ["sum", "over"])
@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_scenes_hold_all_that_draws_them_again(kind: str, composition: str) -> None:
    torch.set_default_dtype(torch.float32)
    config = replace(COLOR, background_model=kind, composition=composition)
    air = make_air(config, gain=3.0)
    for scenes in (
        air.infer(random_images(6, config).numpy()),
        air.sample(6, counts=[0, 1, 2] * 2),
    ):
        assert scenes.z_background.shape == (6, air.model.background.latent_size)
        for i, count in enumerate(scenes.counts):
            where, what = (torch.tensor(z[i, :count]) for z in (scenes.z_where, scenes.z_what))
            behind = torch.tensor(scenes.z_background[i])
            drawn = air.model.partial_canvases(where, what, behind)[-1]
            np.testing.assert_allclose(scenes.reconstruction[i], drawn, atol=1e-5)


def test_the_elbo_names_what_the_background_costs() -> None:
    air = make_air(replace(TINY, background_model="constant"))
    terms = count_terms(air.model, air.rollout(random_images(3)))
    parts = terms.parts
    costs = sum(value for name, value in parts.items() if name.startswith("kl"))
    torch.testing.assert_close(terms.elbo, parts["log_likelihood"] - costs)
    assert (parts["kl_background"] > 0).all()


def test_all_of_it_is_off_by_default() -> None:
    names = {name for name, _ in AIR(ModelConfig()).named_parameters()}
    assert not any("background" in name or "behind" in name for name in names)
    assert {"model.likelihood.log_sd", "model.count_prior.shift"}.isdisjoint(names)
    assert ModelConfig().composition == "sum"


def test_scenes_are_not_made_of_objects_on_a_background() -> None:
    with pytest.raises(ConfigError, match="--composite-weight 0"):
        TrainConfig(model=replace(TINY, background_model="constant"))
