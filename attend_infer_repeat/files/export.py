"""Inference as a graph of tensor operations, which runs without this package: ``torch.export``."""

from __future__ import annotations

import copy
import dataclasses
import logging

import pyro
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..air import AIR
from ..errors import ConfigError
from ..model import intensity
from ..scenes import Scenes

logger = logging.getLogger(__name__)

FIELDS = tuple(field.name for field in dataclasses.fields(Scenes))
"""The outputs' names, in their order: the fields of ``Scenes``; the last only of a background."""


class Reader(nn.Module):
    """What ``AIR.infer`` does with a batch, as a module from tensors to tensors.

    But for refinement, whose moves depend on the images: scenes are as the guide finds them.

    Args:
        air: the model; it is not copied.
    """

    def __init__(self, air: AIR) -> None:
        super().__init__()
        self.air = air

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Count, locate and describe the objects in images, by the means of q(z | x).

        Args:
            images: (batch, channels, height, width), intensity.
        Returns: the fields of ``Scenes`` by name, ``z_background`` only if the model has a
            background; ``reconstruction`` has the axes of the images.
        """
        images = intensity(images.to(self.air.device))
        scenes = self.air.scenes_along(images, self.air.rollout(images, sample=False))
        outputs = dict(zip(FIELDS, scenes.fields(), strict=True))
        if not self.air.model.background.latent_size:
            del outputs["z_background"]  # which is empty
        return outputs


def export_program(air: AIR) -> ExportedProgram:
    """Return inference as a program for batches of any size, which ``torch.export.save`` writes.

    ``torch.export.load(path).module()`` then maps images to what ``Reader`` returns for them, with
    PyTorch alone, on the device and in the precision that the model has now. The program has a
    copy of the weights: to train the model further changes nothing in it.

    Args:
        air: the model.
    Returns: a program of one input, ``images``, (batch, channels, height, width), intensity.
    Raises: ConfigError for an unbounded model, whose steps depend on the images.
    """
    if not air.model.count_prior.is_bounded:
        raise ConfigError(
            "export: an unbounded model takes as many steps as its images need, which no fixed "
            "program does; train one with --no-unbounded -t STEPS."
        )
    if air.config.inference.refinement:
        logger.warning("export: the program finds what the guide finds, without its refinement.")
    reader = Reader(copy.deepcopy(air).requires_grad_(False)).eval()
    size = air.config.channels, *air.config.canvas_size
    example = air.model.z_where_loc.new_zeros(2, *size)  # a batch of 1 could stand for a constant
    # Strict: the Python code is followed, so that len(images) is the batch, not the number 2.
    with pyro.validation_enabled(False), torch.no_grad():
        return torch.export.export(
            reader, (example,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=True
        )
