"""Oracles: tiny models and scenes whose answer is known exactly, and how to compare with them.

The laws of the answers are evaluated through the package's Pyro programs or through closed forms
of Gaussians, never by the formula that is under test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from numpy.typing import NDArray
from pyro.poutine import Trace
from scipy import stats
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from attend_infer_repeat.air import AIR
from attend_infer_repeat.config import ModelConfig
from attend_infer_repeat.guide import GuideState, SceneGuide
from attend_infer_repeat.rollout import Rollout
from attend_infer_repeat.rollout.terms import CountTerms, count_terms

TINY = ModelConfig(
    canvas_size=(8, 8),
    model_steps=3,
    z_pres_prior=0.3,
    scale_prior_mean=2.0,
    scale_prior_sd=0.3,
    pos_prior_sd=0.5,
    encoder_latent_size=3,
    window_size=4,
    decoder_net=(8,),
    predict_net=(8,),
    encoder_net=(8,),
    rnn_hidden_size=8,
)
"""Everything that the full model has, a thousand times smaller."""


def make_air(config: ModelConfig = TINY, gain: float = 1.0, seed: int = 0) -> AIR:
    """Return an AIR with random weights, ``gain`` times as large as those of a new one."""
    torch.manual_seed(seed)
    air = AIR(config)
    with torch.no_grad():
        for parameter in air.parameters():
            parameter.mul_(gain)
        # These start at 0, where their effect would go unseen.
        for name, parameter in air.named_parameters():
            if name.endswith("_init"):
                parameter.normal_(0.0, 0.3)
    return air


def canvases_of(air: AIR, z_where: Tensor, z_what: Tensor) -> Tensor:
    """Return the canvas after n = 0..T objects: (batch, steps + 1, channels, height, width)."""
    objects = air.model.draw(z_where, z_what)
    return torch.cat((torch.zeros_like(objects[:, :1]), objects.cumsum(dim=1)), dim=1)


def random_images(num: int, config: ModelConfig = TINY) -> Tensor:
    """Return noise: (num, channels, height, width), intensity."""
    return torch.rand(num, config.channels, *config.canvas_size)


# Enumeration


def presence_strings(steps: int) -> Iterator[Tensor]:
    """Yield all 2**steps values of (z_pres_1, ..., z_pres_T), impossible ones too."""
    for bits in product((0.0, 1.0), repeat=steps):
        yield torch.tensor(bits)


def on_path(rollout: Rollout, presence: Tensor) -> dict[str, Tensor]:
    """Return the value of every latent site: a rollout's poses and codes, and a presence string."""
    has_background = rollout.z_background.shape[-1] > 0
    values = {"z_background": rollout.z_background} if has_background else {}
    for t, present in enumerate(presence):
        values[f"z_pres_{t}"] = present.expand(len(rollout.z_where))
        values[f"z_where_{t}"] = rollout.z_where[:, t]
        values[f"z_what_{t}"] = rollout.z_what[:, t]
    return values


def conditioned_trace(
    program: Callable[..., object], values: dict[str, Tensor], images: Tensor
) -> Trace:
    """Run a Pyro program with its latents held at ``values``."""
    trace = poutine.trace(poutine.condition(program, values)).get_trace(images)
    trace.compute_log_prob()
    return trace


def begin(guide: SceneGuide, images: Tensor) -> GuideState:
    """Return the state before the first step, with the mean of the background."""
    return guide.begin(images, guide.background(images).mean)


def drawn_terms(air: AIR, images: Tensor, explore: float = 0.0) -> CountTerms:
    """Return the terms of the ELBO along a rollout that is drawn now."""
    return count_terms(air.model, air.rollout(images, explore=explore, roulette=True), explore)


def latent_sites(trace: Trace) -> list[str]:
    """Return the names of a trace's latent sites, in order, without the plate's own."""
    return [site for site in trace.stochastic_nodes if site.startswith("z_")]


def enumerated_elbo(air: AIR, images: Tensor, rollout: Rollout) -> Tensor:
    """Return E_q(z_pres | rollout)[log p(x, z) - log q(z | x)], (batch,), by all presence strings.

    Both densities come from the Pyro programs. Along a fixed rollout the log-ratios of the
    Gaussians are replaced by their means, the divergences between the sites' own laws.
    """
    total = torch.zeros(len(images))
    for presence in presence_strings(air.model.count_prior.max_count):
        values = on_path(rollout, presence)
        p = conditioned_trace(air.model, values, images)
        q = conditioned_trace(air.guide, values, images)
        value, log_q = p.nodes["x"]["log_prob"].clone(), torch.zeros(len(images))
        if rollout.z_background.shape[-1]:
            q_law, p_law = (trace.nodes["z_background"]["fn"] for trace in (q, p))
            value = value - kl_divergence(q_law, p_law)
        for t, present in enumerate(presence):
            log_q = log_q + q.nodes[f"z_pres_{t}"]["log_prob"]
            value = value + p.nodes[f"z_pres_{t}"]["log_prob"]
            for latent in ("z_where", "z_what"):
                q_law, p_law = (trace.nodes[f"{latent}_{t}"]["fn"] for trace in (q, p))
                value = value - present * kl_divergence(q_law, p_law)
        if (presence.diff() <= 0).all():  # all others have probability 0
            total = total + log_q.exp() * (value - log_q)
        else:
            assert (log_q < -30).all()
    return total


# Scenes with known evidence


def linear_scene_config(steps: int = 3) -> ModelConfig:
    """Return a model that paints every window at the same place, linearly in its code."""
    return replace(
        TINY,
        guide="improved",  # it proposes the mean of the prior
        model_steps=steps,
        canvas_size=(6, 6),
        # So narrow that the poses are as good as fixed: they move the image by about 1e-8 of an
        # intensity. float64 still resolves the narrow law itself to 1e-8 of its width.
        scale_prior_sd=1e-8,
        pos_prior_sd=1e-8,
        decoder_net=(),
        decoder_output_bias=None,
        decoder_output_use_sigmoid=False,
    )


def decoder_matrix(air: AIR) -> tuple[Tensor, Tensor]:
    """Return A (pixels, what_dim) and b (pixels,): an object's canvas is A z_what + b."""
    what_dim = air.config.appearance.encoder_latent_size
    codes = torch.cat((torch.zeros(1, what_dim), torch.eye(what_dim)))
    with torch.no_grad():
        canvases = air.model.draw(air.model.z_where_loc.expand(len(codes), 3), codes).flatten(1)
    return (canvases[1:] - canvases[0]).T, canvases[0]


def log_evidence(air: AIR, images: Tensor) -> Tensor:
    """Return log p(x), (batch,), of a linear scene: a finite sum over counts of Gaussians.

    Given n, x is n b plus n independent A z_what plus noise, so
    x ~ Normal(n b, likelihood_sd^2 I + n A A^T).
    """
    a, b = decoder_matrix(air)
    noise = air.config.likelihood.likelihood_sd**2 * torch.eye(len(b))
    log_prior = air.model.count_prior.log_prob()
    terms = [
        log_prior[n] + MultivariateNormal(n * b, noise + n * a @ a.T).log_prob(images.flatten(1))
        for n in range(len(log_prior))
    ]
    return torch.stack(terms).logsumexp(dim=0)


def fix_output(network: nn.Sequential, outputs: Tensor) -> None:
    """Make the last layer return ``outputs`` for every input."""
    with torch.no_grad():
        network[-1].weight.zero_()
        network[-1].bias.copy_(outputs)


def fix_attention(air: AIR, outputs: Tensor) -> None:
    """Make every step predict the same (logit, pose mean, pose sd), (7,), whatever it sees."""
    fix_output(air.guide.predict, outputs)


def scale_output(sd: Tensor) -> Tensor:
    """Return the network output whose standard deviation is ``sd`` (all but 1e-5 of it)."""
    return torch.log(torch.expm1(sd - 1e-5))


def linear_scene(steps: int) -> AIR:
    """Return a model with known evidence whose guide takes the poses from the prior."""
    air = make_air(linear_scene_config(steps), gain=2)
    logits, pose_scale = torch.tensor([0.3]), scale_output(torch.ones(3))
    fix_attention(air, torch.cat((logits, torch.zeros(3), pose_scale)))
    return air


def scenes_from(air: AIR, num: int) -> Tensor:
    """Return images of at least one object, drawn from the model itself, with pixel noise."""
    with torch.no_grad():
        prior = poutine.condition(air.model.prior, data={"z_pres_0": torch.ones(num)})
        canvas = prior(num)[-1].x
        return air.model.x_dist(canvas).sample()


def exact_posterior_scene() -> tuple[AIR, Tensor]:
    """Return a one-object model, an image, and in its guide the exact posterior of that image.

    With orthogonal columns of A, z_what given x and n = 1 has independent coordinates.
    """
    air = linear_scene(steps=1)
    image = scenes_from(air, 1)
    decoder = air.model.decoder.layers[-1]
    with torch.no_grad():
        # Rotate the codes so that A's columns become orthogonal.
        a, _ = decoder_matrix(air)
        _, _, rotation = torch.linalg.svd(a, full_matrices=False)
        decoder.weight.copy_(decoder.weight @ rotation.T)
    a, b = decoder_matrix(air)
    torch.testing.assert_close(a.T @ a, torch.diag((a * a).sum(0)), rtol=0, atol=1e-10)
    variance = air.config.likelihood.likelihood_sd**2
    what_variance = 1 / (1 + (a * a).sum(0) / variance)
    what_mean = what_variance * (a.T @ (image.flatten() - b)) / variance
    fix_output(
        air.guide.reading.encoder.layers, torch.cat((what_mean, scale_output(what_variance.sqrt())))
    )
    # The posterior of the count, from the evidence with and without the object.
    prior = air.model.count_prior.log_prob()
    empty = prior[0] + air.model.x_dist(torch.zeros_like(image)).log_prob(image)
    full = torch.log(torch.expm1(log_evidence(air, image) - empty)) + empty
    poses = torch.cat((torch.zeros(3), scale_output(torch.ones(3))))
    fix_attention(air, torch.cat((full - empty, poses)))
    return air, image


# Statistics

FALSE_ALARM = 1e-6
"""Chance that a correct package fails one call of ``assert_equal_means``."""


def assert_equal_means(first: Tensor, second: Tensor) -> None:
    """Fail unless two independent samples have equal means, coordinate by coordinate.

    Args:
        first, second: (replicates, coordinates), each replicate a mean over so many draws that
            it is Gaussian. Welch's t-test of every coordinate, at a level that holds the chance
            of any false alarm below FALSE_ALARM (Bonferroni).
    """
    squared_errors = first.var(0) / len(first) + second.var(0) / len(second)
    # The fewest degrees of freedom that Welch's formula can give: the test is conservative.
    freedom = min(len(first), len(second)) - 1
    bound = stats.t.isf(FALSE_ALARM / (2 * first.shape[1]), freedom)
    difference = (first.mean(0) - second.mean(0)).abs()
    # Where both samples are constant, only rounding is left.
    allowed = bound * squared_errors.sqrt() + 1e-9
    worst = (difference / allowed).argmax()
    assert (difference <= allowed).all(), (
        f"coordinate {worst}: means {first.mean(0)[worst]:.6g} and {second.mean(0)[worst]:.6g} "
        f"differ by {difference[worst]:.3g}, allowed are {allowed[worst]:.3g}"
    )


def assert_mean(sample: Tensor, expected: float | Tensor) -> None:
    """Fail unless the mean of a sample lies within five standard errors: 1 in 1.7 million."""
    error = sample.std() / np.sqrt(len(sample))
    assert abs(sample.mean() - expected) <= 5 * error, (
        f"mean {sample.mean():.6g}, expected {expected:.6g}, standard error {error:.2g}"
    )


def seeded(seed: int, function: Callable[..., object], *args: object) -> object:
    """Call a function with the random numbers of a seed."""
    pyro.set_rng_seed(seed)
    return function(*args)


# Scenes that can be counted by hand

SQUARES = replace(
    TINY,
    canvas_size=(12, 12),
    guide="memoryless",
    focus=1.0,
    scale_prior_mean=3.0,
    scale_prior_sd=0.1,
    decoder_net=(),
    decoder_output_bias=None,
    predict_net=(),
    unbounded=True,
    step_limit=6,
    z_pres_prior=0.3,
)


def counting_air(config: ModelConfig = SQUARES) -> AIR:
    """Return an AIR that counts the squares of ``squares``, and takes no step more than needed.

    It goes on if the glimpse of what is not yet drawn is bright, and draws a square there.
    """
    air = make_air(config)
    glimpse = config.appearance.window_size**2
    with torch.no_grad():
        decoder, predict = air.model.decoder.layers[-1], air.guide.predict[-1]
        decoder.weight.zero_()
        decoder.bias.fill_(4.0)
        predict.weight.zero_()
        predict.weight[0, :glimpse] = 12.0
        predict.bias.copy_(torch.tensor([-18.0, 0, 0, 0, -9, -9, -9]))
    return air


def squares(counts: Sequence[int], config: ModelConfig = SQUARES) -> dict[str, NDArray[np.generic]]:
    """Return pictures of so many squares each, with their boxes, and their brightness as labels."""
    size, corners = config.appearance.window_size, ((0, 0), (0, 8), (8, 0), (8, 8))
    images = np.zeros((len(counts), *config.canvas_size), np.uint8)
    boxes = np.full((len(counts), len(corners), 4), np.nan, np.float32)
    labels = np.full((len(counts), len(corners)), -1, np.int64)
    for i, count in enumerate(counts):
        for k, (top, left) in enumerate(corners[:count]):
            labels[i, k] = (i + k) % 2
            images[i, top : top + size, left : left + size] = (215, 255)[labels[i, k]]
            boxes[i, k] = left, top, left + size, top + size
    known = {"counts": np.asarray(counts, np.int64), "boxes": boxes, "labels": labels}
    return {"images": images, **known}
