"""``AIR``: the generative model and its guide as one object that reads and draws scenes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .arrays import as_images
from .checkpoints.checkpoint import load_checkpoint, save_checkpoint
from .config import ModelConfig
from .errors import ConfigError, ShapeError
from .guide import SceneGuide
from .model import SceneModel, intensity
from .rollout import Rollout, draw_noise, roll_out
from .rollout.refinement import refine
from .scenes import Scenes
from .seeds import check_seed
from .spatial import foreground_boxes, window_boxes

NEGLIGIBLE_TAIL = 1e-7
"""Probability of more objects than sampled scenes of an unbounded model have room for."""


class AIR(nn.Module):
    """Attend, Infer, Repeat (Eslami et al. 2016): p(x, z) in ``model``, q(z | x) in ``guide``.

    Both are Pyro programs, for ``pyro.infer.SVI(air.model, air.guide, ...)``. They may be handed
    in, with parts of one's own. To save and load such a model, write a subclass whose
    ``__init__(self, config)`` hands them in, and call its ``load``: ``AIR.load`` would make the
    parts that the config names.

    Args:
        config: sizes and hyper-parameters.
        model: p(x, z), of that config; the guide's, or made from the config, if None.
        guide: q(z | x), of that model; made from the config if None.
    Raises: ConfigError if they do not belong to each other.

    >>> air = AIR(ModelConfig())
    >>> scenes = air.infer(np.zeros((2, 50, 50), dtype=np.uint8))
    >>> scenes.count_probs.shape
    (2, 4)
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        model: SceneModel | None = None,
        guide: SceneGuide | None = None,
    ) -> None:
        super().__init__()
        if model is None:
            model = SceneModel(config) if guide is None else guide.model
        self.config = config
        self.model = model
        self.guide = SceneGuide(model) if guide is None else guide
        if self.guide.model is not model or model.config != config:
            raise ConfigError(
                "AIR: model, guide and config must belong to each other; make the guide of this "
                "model, and the model of this config."
            )

    def forward(self, images: Tensor, sample: bool = False) -> Scenes:
        """Count, locate and describe the objects in one batch of images.

        Args:
            images: (batch, channels, height, width), uint8 or floats in [0, 1]; not checked.
            sample: draw the latents, from torch's generator, instead of taking means and most
                probable counts.
        Returns: Scenes of tensors on the model's device; gradients flow through them if unrefined.
        """
        images = intensity(images.to(self.device))
        rollout = self.rollout(images, sample=sample)
        if sample:
            counts = torch.multinomial(rollout.count_probs(), 1)[:, 0]
            return self.scenes_along(images, rollout, counts)
        return self.scenes_of(images, rollout)

    def rollout(self, images: Tensor, **options: Any) -> Rollout:
        """Let the guide find object after object; see ``rollout.roll_out`` for the options."""
        return roll_out(self.guide, images, **options)

    def noise(self, num_images: int) -> Tensor:
        """Draw what a rollout over images needs, at once, from N(0, 1): see ``rollout.noise``."""
        return draw_noise(self.guide, num_images)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.model.z_where_loc.device

    @classmethod
    def load(cls, path: str | PathLike[str]) -> AIR:
        """Load a trained model from a run's folder or a checkpoint's, or one of those shipped.

        ``AIR.load("multi-mnist")``, ``"digits"`` and ``"sprites"`` come with the package; a folder
        of such a name is reached as ``./digits``.

        Raises: CheckpointError if there is none, or if it is damaged.
        """
        return load_checkpoint(path, cls)[1]

    def save(self, path: str | PathLike[str]) -> None:
        """Save the model as a checkpoint folder, for ``AIR.load`` and the ``air`` command.

        Of several saves to one folder, the last one counts.

        Raises: BusyError if another process goes on writing to the folder; CheckpointError if it
            holds another program's ``state.json``; OSError if the disk refuses to be written to.
        """
        save_checkpoint(path, self)

    @torch.no_grad()
    def infer(
        self,
        images: NDArray[np.generic] | Tensor,
        *,
        batch_size: int | None = None,
        sample: bool = False,
        seed: int = 0,
    ) -> Scenes:
        """Count, locate and describe the objects in images.

        Poses and codes are the means of q(z | x), step by step, and so the probabilities of counts
        are those along this one rollout: a plug-in for the average over poses and codes.

        Args:
            images: (N, height, width) or (N, channels, height, width); uint8, or floats in [0, 1].
            batch_size: images at a time, ``largest_batch`` if None; it bounds memory, and changes
                no result but samples.
            sample: draw the latents from q(z | x) instead of taking means and most probable counts.
            seed: of the draws, if ``sample``.
        Returns: Scenes of N images.
        Raises: ShapeError if the images do not fit the model.
        """
        checked = as_images(images, self.config)
        batch_size = largest_batch(self) if batch_size is None else batch_size
        if batch_size < 1:
            raise ShapeError(f"batch_size: expected at least 1, got {batch_size}.")
        with reproducible(seed, self.device):
            batches = [self(batch, sample) for batch in checked.split(batch_size)]
        scenes = Scenes.cat(batches).cpu()
        if images.ndim == 3:
            scenes = dataclasses.replace(scenes, reconstruction=scenes.reconstruction[:, 0])
        return scenes if isinstance(images, Tensor) else scenes.numpy()

    def scenes_along(
        self, images: Tensor, rollout: Rollout, counts: Tensor | None = None
    ) -> Scenes:
        """Return the scenes, of tensors, that a rollout over images has found.

        Args:
            images: (batch, channels, height, width), intensity.
            rollout: the guide's, over them.
            counts: (batch,), how many objects of each; the most probable number if None.
        """
        count_probs = rollout.count_probs()
        counts = count_probs.argmax(dim=-1) if counts is None else counts
        drawn = images - rollout.residual(counts)
        latents = rollout.z_where, rollout.z_what, rollout.z_background
        return self._scenes(counts, count_probs, *latents, drawn)

    def scenes_of(self, images: Tensor, rollout: Rollout, along: Scenes | None = None) -> Scenes:
        """Return the scenes, of tensors, that a rollout of means comes to.

        They are ``along``, of ``scenes_along``; or what ``rollout.refinement`` makes of them, of
        which there are no gradients.
        """
        scenes = self.scenes_along(images, rollout) if along is None else along
        refined = refine(self.guide, images, rollout, scenes.counts)
        if refined is None:
            return scenes
        latents = refined.z_where, refined.z_what, rollout.z_background
        drawn = images - refined.residual
        return self._scenes(refined.counts, refined.count_probs, *latents, drawn)

    @torch.no_grad()
    def sample(
        self, num_scenes: int, *, counts: Sequence[int] | None = None, seed: int = 0
    ) -> Scenes:
        """Draw scenes from the prior, without pixel noise.

        Args:
            num_scenes: how many.
            counts: the number of objects in each scene, in 0..T; drawn from p(n) if None.
            seed: of the draws.
        Returns: Scenes whose ``reconstruction`` (num_scenes, channels, height, width) is the
            drawn image and whose ``count_probs`` is p(n). Without a bound, T is
            chosen so that P(n > T) <= 1e-7, or is the step limit; the last entry is P(n >= T).
        Raises: ShapeError if ``counts`` does not fit.
        """
        steps = self.model.count_prior.max_count
        given = {}
        if counts is not None:
            if len(counts) != num_scenes or not all(0 <= count <= steps for count in counts):
                raise ShapeError(
                    f"counts: expected {num_scenes} numbers from 0 to {steps}, got {counts}."
                )
            present = torch.arange(steps) < torch.tensor(counts)[:, None]  # (num_scenes, steps)
            given = {f"z_pres_{t}": present[:, t].to(self.model.z_where_loc) for t in range(steps)}
        with reproducible(seed, self.device):
            first, *states = poutine.condition(self.model.prior, data=given)(num_scenes)
        z_pres, z_where, z_what = (
            torch.stack(values, dim=1)
            for values in zip(*((s.z_pres, s.z_where, s.z_what) for s in states), strict=True)
        )
        prior = self.model.count_prior.law.probs()
        more = 1 - prior.cumsum(dim=0)  # P(n > t)
        steps = max(len(states), int((more > NEGLIGIBLE_TAIL).sum()))
        prior = torch.cat((prior[:steps], prior[steps:].sum(dim=0, keepdim=True)))
        scenes = self._scenes(
            z_pres.sum(dim=1).long(),
            prior.expand(num_scenes, -1),
            z_where,
            z_what,
            first.z_background,
            states[-1].x,
        )
        return scenes.padded(steps).cpu().numpy()

    def _scenes(
        self,
        counts: Tensor,
        count_probs: Tensor,
        z_where: Tensor,
        z_what: Tensor,
        z_background: Tensor,
        drawn: Tensor,
    ) -> Scenes:
        """Return scenes, of tensors, of given counts and latents."""
        z_pres = torch.arange(z_where.shape[1], device=counts.device) < counts[:, None]
        boxes = self.object_boxes(z_where, z_what)
        return Scenes(
            counts=counts,
            count_probs=count_probs.float(),
            boxes=boxes.masked_fill(~z_pres[..., None], torch.nan).float(),
            z_pres=z_pres,
            z_where=z_where.float(),
            z_what=z_what.float(),
            reconstruction=drawn.float(),
            z_background=z_background.float(),
        )

    def object_boxes(self, z_where: Tensor, z_what: Tensor) -> Tensor:
        """Return the boxes of objects, (..., 4), canvas pixels, as ``framing.boxes`` has them.

        Args:
            z_where: (..., 3).
            z_what: (..., what_dim).
        """
        boxes = window_boxes(z_where, self.config.canvas_size)
        if self.config.framing.boxes == "window":
            return boxes
        bounds = foreground_boxes(self.model.draw(z_where, z_what), self.config.framing.stretch)
        return torch.where(bounds.isnan(), boxes, bounds)


def largest_batch(air: AIR) -> int:
    """Return how many images are inferred at a time: 256, or as many as half a gigabyte holds.

    That is for the canvases that a rollout keeps per image: T + 1 of them, or a few and, for each
    object, a patch and where its pixels lie.
    """
    config, steps = air.config, air.model.count_prior.max_count
    patch = min(2 / config.pose.scale_range[0] ** 2, 1)  # share of the canvas: a window, and more
    canvases = (
        4 + 3 * steps * patch if air.model.adds_energies(air.model.z_where_loc) else steps + 1
    )
    numbers = canvases * config.channels * math.prod(config.canvas_size)
    return min(max(int(2**29 // (4 * numbers)), 1), 256)


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed of one's own and leave torch's global generators as they were.

    Args:
        seed: of the draws.
        device: where they are drawn, beside the CPU. Other GPUs' generators are not touched.
    Raises: ConfigError if it is no seed.
    """
    seed = check_seed(seed)
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus), pyro.validation_enabled(False):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reset every GPU's
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
