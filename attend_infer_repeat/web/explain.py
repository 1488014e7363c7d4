"""What the model makes of what was asked: pictures read, scenes drawn, scenes sampled."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..air import AIR, reproducible
from ..errors import CheckpointError, ShapeError
from ..files.canvases import BLOCK
from ..files.records import rounded, scene_record
from ..model import intensity
from ..posterior import count_posterior, picture_noise
from ..rollout import Rollout
from ..rollout.importance import rollout_log_weights
from ..scenes import Scene, Scenes
from ..viz.steps import Step, read_batch, steps_of
from .pictures import Picture, data_uri, transparent
from .schemas import (
    ObjectToDraw,
    Posterior,
    RenderAnswer,
    RenderRequest,
    SampleAnswer,
    SampledObject,
    SampledScene,
    SampleRequest,
    StepAnswer,
)
from .schemas import Scene as SceneAnswer


class Reading(NamedTuple):
    """Pictures that were read together."""

    images: Tensor  # (BLOCK, channels, height, width), intensity
    scenes: Scenes  # along the rollout
    rollout: Rollout
    found: Scenes  # as `air infer` tells them


def read_block(air: AIR, canvases: Sequence[NDArray[np.uint8]]) -> Reading:
    """Read up to ``BLOCK`` pictures at once, as `air infer` does.

    The block is filled up with black: rounding depends on the shape of a product, so a picture's
    result is the same to the last bit, whatever pictures stand beside it.
    """
    block = np.zeros((BLOCK, air.config.channels, *air.config.canvas_size), np.uint8)
    block[: len(canvases)] = canvases
    images = intensity(torch.from_numpy(block).to(air.device))
    along, rollout = read_batch(air, images)
    with torch.no_grad(), reproducible(0, air.device):
        found = air.scenes_of(images, rollout, along)
    return Reading(images, along.cpu().numpy(), rollout, found.cpu().numpy())


def check(air: AIR) -> None:
    """Refuse a model that does not answer in numbers: CheckpointError."""
    black = np.zeros((air.config.channels, *air.config.canvas_size), np.uint8)
    scenes = read_block(air, [black]).scenes
    answers = (scenes.count_probs, scenes.z_where, scenes.z_what, scenes.reconstruction)
    parameters = [values.cpu().numpy() for values in air.state_dict().values()]
    if not all(np.isfinite(values).all() for values in (*parameters, *answers)):
        raise CheckpointError("the model's answers are not finite numbers; train it again.")


# One picture, read


def scene_of(air: AIR, reading: Reading, row: int, name: str, picture: Picture) -> SceneAnswer:
    """Return the record of `air infer`."""
    scene = reading.found[row]
    return SceneAnswer.model_validate(scene_record(name, picture.frame, scene, air.config.count))


def steps_to(air: AIR, reading: Reading, row: int) -> list[StepAnswer]:
    """Return how the guide came to the scene."""
    steps = steps_of(air, reading.images, reading.rollout, reading.scenes, row)
    return [_step_answer(step) for step in steps]


def _step_answer(step: Step) -> StepAnswer:
    return StepAnswer(
        step=step.t + 1,
        present=step.present,
        presence=round(step.presence, 6),
        seen=data_uri(step.seen),
        glimpse=None if step.glimpse is None else rounded(step.glimpse, 3),
        box=rounded(step.box, 3),
        z_where=rounded(step.z_where),
        z_what=rounded(step.z_what),
        window=None if step.window is None else data_uri(step.window),
        redrawn=data_uri(step.decoded),
        sum=data_uri(step.canvas),
    )


def posterior_of(air: AIR, canvas: NDArray[np.uint8], samples: int, seed: int) -> Posterior:
    """Return what importance weighting makes of the count, from the draws of `air infer`."""
    noise = picture_noise(air, canvas, samples, seed)[:, None]
    posterior = count_posterior(air, torch.tensor(canvas)[None], samples, seed, noise=noise)
    return Posterior(
        count_probs=rounded(posterior.count_probs[0].numpy()),
        effective_sample_size=round(float(posterior.effective_sample_size[0]), 3),
        samples=samples,
    )


# Scenes, drawn


@torch.no_grad()
def render(air: AIR, ask: RenderRequest) -> RenderAnswer:
    """Draw a scene.

    Raises: ShapeError if a code is not as long as the model's.
    """
    z_where, z_what = _latents(air, ask.objects)
    z_background = _background_latent(air, ask.z_background)
    objects = air.model.render(z_where, z_what).cpu().numpy()
    canvas = air.model.partial_canvases(z_where, z_what, z_background)[-1]
    if ask.noise:
        with reproducible(0, air.device):
            canvas = air.model.x_dist(canvas).sample()
    boxes = air.object_boxes(z_where, z_what).cpu().numpy()
    return RenderAnswer(
        image=data_uri(canvas.cpu().numpy()),
        boxes=[rounded(box, 3) for box in boxes],
        objects=[
            data_uri(transparent(image, air.model.composition.has_opacity)) for image in objects
        ],
        background=None
        if z_background is None
        else data_uri(air.model.background(z_background).cpu().numpy()),
    )


def _latents(air: AIR, objects: Sequence[ObjectToDraw]) -> tuple[Tensor, Tensor]:
    """Return (n, 3) and (n, what_dim)."""
    like, what_dim = air.model.z_where_loc, air.config.appearance.encoder_latent_size
    for i, thing in enumerate(objects):
        if len(thing.z_what) != what_dim:
            raise ShapeError(
                f"objects.{i}.z_what: expected {what_dim} numbers, got {len(thing.z_what)}."
            )
    z_where = like.new_tensor([thing.z_where for thing in objects]).reshape(-1, 3)
    z_what = like.new_tensor([thing.z_what for thing in objects]).reshape(-1, what_dim)
    return z_where, z_what


def _background_latent(air: AIR, values: Sequence[float] | None) -> Tensor | None:
    """Return (latent_size,), or None where there is none."""
    if values is None:
        return None
    size = air.model.background.latent_size
    if len(values) != size:
        raise ShapeError(f"z_background: expected {size} numbers, got {len(values)}.")
    return air.model.z_where_loc.new_tensor(values)


# Scenes, sampled


def sample_prior(air: AIR, ask: SampleRequest) -> SampleAnswer:
    """Draw scenes from the prior.

    Raises: ShapeError if ``count`` is more than the model's T.
    """
    check_count(air, ask)
    counts = None if ask.count is None else [ask.count] * ask.num
    scenes = air.sample(ask.num, counts=counts, seed=ask.seed)
    return SampleAnswer(scenes=[_sampled_scene(scene) for scene in scenes])


@torch.no_grad()
def sample_posterior(air: AIR, canvas: NDArray[np.uint8], ask: SampleRequest) -> SampleAnswer:
    """Draw explanations of a picture, and weigh them.

    Rollouts z ~ q(z | x) are weighed for every count n: w_n of ``rollout/importance.py``. The count
    of each is drawn in proportion, and its weight is the sum over n; or the count is given, and the
    weight is w_n. Either way the explanations, so weighed, stand for p(z | x).

    Raises: ShapeError if ``count`` is more than the model's T.
    """
    check_count(air, ask)
    noise = picture_noise(air, canvas, ask.num, ask.seed)
    images = intensity(torch.tensor(canvas, device=air.device)).expand(ask.num, -1, -1, -1)
    given = None
    if ask.count and air.config.count.unbounded:  # as many steps, however improbable
        given = torch.full((ask.num,), ask.count, device=air.device)
    with reproducible(ask.seed, air.device):
        rollout = air.rollout(images, noise=noise, counts=given)
        log_weights = rollout_log_weights(air.model, rollout).double()  # (num, T + 1)
    if ask.count is None:
        counts = _drawn_counts(log_weights, (ask.seed, zlib.crc32(canvas.tobytes()), 1))
        log_totals = log_weights.logsumexp(dim=-1)
    else:
        counts = torch.full((ask.num,), ask.count, device=air.device)
        log_totals = log_weights[:, ask.count]
    weights = log_totals.softmax(dim=0).cpu().numpy()
    scenes = air.scenes_along(images, rollout, counts).cpu().numpy()
    return SampleAnswer(
        scenes=[
            _sampled_scene(scenes[int(i)], float(weights[i]), float(log_totals[i]))
            for i in np.argsort(-weights, kind="stable")
        ]
    )


def _drawn_counts(log_weights: Tensor, seed: Sequence[int]) -> Tensor:
    """Draw a count for each rollout in proportion to its weights, (num, T + 1): (num,)."""
    below = log_weights.softmax(dim=-1).cumsum(dim=-1).cpu().numpy()
    uniform = np.random.default_rng(seed).random((len(below), 1))
    return torch.as_tensor((uniform >= below[:, :-1]).sum(axis=1)).to(log_weights.device)


def _sampled_scene(
    scene: Scene, weight: float | None = None, log_weight: float | None = None
) -> SampledScene:
    return SampledScene(
        count=scene.count,
        objects=[
            SampledObject(
                z_where=rounded(thing.z_where),
                z_what=rounded(thing.z_what),
                box=rounded(thing.box, 3),
            )
            for thing in scene.objects
        ],
        z_background=rounded(scene.z_background) or None,
        image=data_uri(scene.reconstruction),
        weight=None if weight is None else round(weight, 6),
        log_weight=None if log_weight is None else round(log_weight, 3),
    )


def check_count(air: AIR, ask: SampleRequest) -> None:
    """Refuse more objects than the model draws: ShapeError."""
    steps = air.model.count_prior.max_count
    if ask.count is not None and ask.count > steps:
        raise ShapeError(f"count: expected at most {steps}, the model's T, got {ask.count}.")
