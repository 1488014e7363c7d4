"""Windows cost less than whole canvases, and say the same, with the same gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from exact import TINY, make_air, random_images
from torch import Tensor

from attend_infer_repeat import AIR
from attend_infer_repeat.config import ModelConfig
from attend_infer_repeat.model import Canvas, PixelLikelihood, SceneModel
from attend_infer_repeat.model.composition import Sum
from attend_infer_repeat.rollout import Rollout, rollout
from attend_infer_repeat.rollout.residuals import Canvases, Residuals, Windows, _Energies
from attend_infer_repeat.rollout.terms import count_terms
from attend_infer_repeat.spatial import places
from attend_infer_repeat.spatial.places import Place

CONFIGS = {
    "pursuit": TINY,
    "memoryless": replace(TINY, guide="memoryless"),
    "improved": replace(TINY, guide="improved"),
    "basic": replace(TINY, guide="basic"),
    "foresight": replace(TINY, foresight=True),
    "unbounded": replace(TINY, unbounded=True),
    "unbounded foresight": replace(TINY, unbounded=True, foresight=True),
    "unbounded in front of a background": replace(
        TINY, unbounded=True, background_model="learned", background_latent_size=2
    ),
    "color, not square": replace(TINY, channels=3, canvas_size=(9, 14)),
    "learned noise": replace(TINY, learn_likelihood_sd=True),
    "constant background": replace(TINY, background_model="constant"),
    "large and off the canvas": replace(TINY, scale_prior_mean=1.0, scale_prior_sd=0.6),
    "sizes": replace(TINY, canvas_size=(40, 24), scale_prior_mean=5.0, size_range=6.0),
    "patches of many sizes": replace(
        TINY, canvas_size=(40, 24), scale_prior_mean=4.0, scale_prior_sd=1.2, window_size=6
    ),
}
NUM = 40


@pytest.fixture(autouse=True)
def _patches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LARGEST_SHARE", 1.0)


def rolled(
    config: ModelConfig, kind: type[Residuals], monkeypatch: pytest.MonkeyPatch
) -> tuple[AIR, Rollout]:
    monkeypatch.setattr(rollout, "make_residuals", kind)
    if kind is Canvases:  # nor does foresight paint on windows
        monkeypatch.setattr(SceneModel, "adds_energies", lambda *_: False)
    air = make_air(config, gain=2)
    torch.manual_seed(1)
    options = {"roulette": True, "explore": 0.3} if config.count.unbounded else {}
    return air, air.rollout(random_images(NUM, config), **options)


@pytest.mark.parametrize("name", CONFIGS)
def test_windows_have_the_values_and_gradients_of_canvases(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for kind in (Windows, Canvases):
        air, path = rolled(CONFIGS[name], kind, monkeypatch)
        terms = count_terms(air.model, path)
        left = [path.residual(torch.full((NUM,), n)) for n in range(path.num_steps + 1)]
        varied = torch.linspace(1, 2, NUM)
        energies = torch.stack([x.square().sum(dim=(1, 2, 3)) for x in left], dim=1)
        loss = (terms.elbo * varied).sum() + (energies * (path.weights > 0)).sum()
        gradients = torch.autograd.grad(loss, list(air.parameters()), allow_unused=True)
        results.append((path, left, [g for g in gradients if g is not None]))
    (one, left, gradients), (other, others_left, others) = results
    assert isinstance(one.residuals, Windows)
    assert isinstance(other.residuals, Canvases)
    torch.testing.assert_close(one.weights, other.weights)
    for field in ("log_likelihood", "z_where", "z_what", "z_pres_logits", "proposals"):
        torch.testing.assert_close(getattr(one, field), getattr(other, field))
    reached = one.weights > 0
    for n, (mine, theirs) in enumerate(zip(left, others_left, strict=True)):
        torch.testing.assert_close(mine[reached[:, n]], theirs[reached[:, n]])
    assert len(gradients) == len(others)
    for mine, theirs in zip(gradients, others, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_energies_gradient_is_that_of_finite_differences() -> None:
    """Objects that overlap, of images that leave, in two channels."""
    torch.manual_seed(0)
    first = torch.randn(3, 2, 5, 6, requires_grad=True)
    ons = [None, torch.tensor([2, 0]), torch.tensor([0])]
    places = [
        Place(torch.stack((torch.randint(2, (num,)), torch.randint(3, (num,))), 1), (4, 4))
        for num in (3, 2, 1)
    ]
    patches = [torch.randn(num, 2, 4, 4, requires_grad=True) for num in (3, 2, 1)]

    def energies(first: Tensor, *patches: Tensor) -> Tensor:
        with torch.no_grad():
            canvas = first.clone()
            there = [p.addresses(canvas, on) for p, on in zip(places, ons, strict=True)]
            steps = list(zip((1, 2, 3), there, ons, strict=True))
            values = [canvas.square().sum(dim=(1, 2, 3))]
            for (_, addresses, on), patch in zip(steps, patches, strict=True):
                index = addresses.pixels.view(-1)
                canvas.view(-1).index_add_(0, index, -patch.reshape(-1))
                energy = canvas.square().sum(dim=(1, 2, 3))
                rows = torch.arange(3) if on is None else on
                values.append(torch.zeros(3).index_copy(0, rows, energy[rows]))
        return _Energies.apply(first, torch.stack(values, dim=1), canvas, steps, *patches)

    assert torch.autograd.gradcheck(energies, (first, *patches))


def test_a_rollout_keeps_one_canvas_to_an_image() -> None:
    """What backward needs of each object is its patch."""
    config = replace(TINY, canvas_size=(64, 64), scale_prior_mean=8.0, unbounded=True)
    path = make_air(config).rollout(random_images(2, config), counts=torch.tensor([20, 20]))
    assert path.num_steps == 20
    assert isinstance(path.residuals, Windows)
    sizes = [step.y[0].numel() for step in path.residuals.steps]
    assert max(sizes) <= 16 * 16


def test_the_energy_that_is_left_is_exact_in_single_precision() -> None:
    """Little is left of much: a sum of changes in float32 would be off by a thousandth of it."""
    torch.set_default_dtype(torch.float32)
    config = replace(TINY, canvas_size=(64, 64), learn_likelihood_sd=True, model_steps=6)
    air, images = make_air(config), 100 * random_images(4, config)
    path = air.rollout(images, sample=False)
    for n in range(7):
        left = path.residual(torch.full((4,), n)).double()
        expected = air.model.likelihood.of_energy(left.square().sum(dim=(1, 2, 3)), 64 * 64)
        torch.testing.assert_close(
            path.log_likelihood[:, n].double(), expected, rtol=1e-6, atol=1e-3
        )


@pytest.mark.parametrize("kind", [Windows, Canvases])
def test_images_may_lie_in_memory_in_any_order(
    kind: type[Residuals], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "make_residuals", kind)
    config = replace(TINY, channels=3, canvas_size=(9, 14))
    air, images = make_air(config), random_images(5, config)
    other = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not other.is_contiguous()
    torch.testing.assert_close(vars(air.infer(other)), vars(air.infer(images)), equal_nan=True)


def test_an_answer_is_the_same_to_the_last_bit_whatever_stands_beside_it() -> None:
    """Its objects' patches have the size that they need, not that of the largest one."""
    torch.set_default_dtype(torch.float32)
    config = replace(TINY, canvas_size=(40, 40), scale_prior_mean=6.0, scale_prior_sd=0.2)
    air = make_air(config, gain=3)
    images = random_images(32, config) * (torch.rand(32, 1, 40, 40) < 0.1)
    one, other = images.clone(), images.clone()
    other[16:] = 1 - images[16:]
    found, again = (vars(air.infer(x, batch_size=32)) for x in (one, other))
    for name, values in found.items():
        assert torch.equal(values[:16].nan_to_num(-1), again[name][:16].nan_to_num(-1)), name


def test_on_small_canvases_objects_have_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for side, kind in ((50, Canvases), (75, Windows)):
        config = replace(TINY, canvas_size=(side, side), scale_prior_mean=side / 19)
        config = replace(config, scale_prior_sd=0.1, window_size=20)
        assert isinstance(make_air(config).rollout(random_images(2, config)).residuals, kind)


class Clipped(Sum):
    """Objects add up to an intensity of 1 at most."""

    def add(self, canvas: Canvas, layers: Tensor, sign: int = 1) -> Canvas:
        return Canvas((canvas.x + layers).clamp(max=1))


def test_a_composition_that_adds_in_another_way_has_canvases() -> None:
    air = AIR(TINY, model=SceneModel(TINY, composition=Clipped()))
    assert isinstance(air.rollout(random_images(3)).residuals, Canvases)


class Laplace(PixelLikelihood):
    """Another law of the pixels."""

    def log_prob(self, residual: Tensor) -> Tensor:
        return -residual.abs().flatten(-3).sum(dim=-1)


@pytest.mark.parametrize("given", [{"likelihood": Laplace(0.3)}, {"composition": "over"}])
def test_where_energies_do_not_add_up_objects_have_canvases(given: dict[str, object]) -> None:
    config = TINY if "likelihood" in given else replace(TINY, **given)
    parts = {name: part for name, part in given.items() if name == "likelihood"}
    air = AIR(config, model=SceneModel(config, **parts))
    assert isinstance(air.rollout(random_images(3, config)).residuals, Canvases)


def test_backward_can_be_asked_for_twice() -> None:
    air, images = make_air(TINY), random_images(4)
    path = air.rollout(images)
    total = path.log_likelihood.sum()
    parameters = list(air.model.decoder.parameters())
    one = torch.autograd.grad(total, parameters, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(total, parameters), one, rtol=0, atol=0)
