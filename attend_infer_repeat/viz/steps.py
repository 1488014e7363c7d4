"""One image read step by step: what the guide saw, decided and rendered, for figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..air import AIR, reproducible
from ..arrays import as_images
from ..guide import GLIMPSE_WIDTH
from ..model import intensity
from ..rollout import Rollout
from ..scenes import Scenes, presence_scores
from ..spatial import image_to_object, window_boxes

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Step:
    """What a step of the guide saw, decided and drew; images are intensities."""

    t: int  # from 0
    present: bool  # whether it found an object
    presence: float  # q(z_pres_t = 1 | x)
    seen: Array  # (channels, height, width), r_t; x of a guide that does not look at r_t
    z_where: Array  # (3,)
    box: Array  # (4,), the window in pixels x0, y0, x1, y1
    glimpse: Array | None  # (4,), where it looked before it decided, if it did
    window: Array | None  # (channels, h, w), what z_what was read from; None if from no window
    z_what: Array  # (what_dim,)
    decoded: Array  # (channels, h, w), the decoded window
    residual: Array  # (channels, height, width), r_{t+1}: x without the objects so far
    canvas: Array  # (channels, height, width), the partial canvas: the objects so far


@torch.no_grad()
def read_steps(air: AIR, image: NDArray[np.generic] | Tensor) -> tuple[Scenes, list[Step]]:
    """Read one image by means and the most probable count, unrefined.

    Args:
        air: the model.
        image: (height, width) or (channels, height, width); uint8, or floats in [0, 1].
    Returns: the scene, of a batch of one; and the present steps, then the one that decides to stop,
        unless all steps that were taken are present.
    Raises: ShapeError if the image does not fit the model.
    """
    images = intensity(as_images(image[None], air.config).to(air.device))
    along, rollout = read_batch(air, images)
    scenes = along.cpu().numpy()
    return scenes, steps_of(air, images, rollout, scenes, 0)


@torch.no_grad()
def read_batch(air: AIR, images: Tensor) -> tuple[Scenes, Rollout]:
    """Read images, (batch, channels, height, width), as ``AIR.infer`` reads a batch of them.

    Returns: the scenes, of tensors, along the guide's rollout of means, and that rollout.
    """
    with reproducible(0, air.device):  # nothing is drawn; without validation
        rollout = air.rollout(images, sample=False)
        scenes = air.scenes_along(images, rollout)
    return scenes, rollout


@torch.no_grad()
def steps_of(air: AIR, images: Tensor, rollout: Rollout, scenes: Scenes, row: int) -> list[Step]:
    """Return the steps that led to one of the scenes of ``read_batch``.

    Args:
        air: the model.
        images: (batch, channels, height, width), intensity: those of the rollout.
        rollout, scenes: what ``read_batch`` returned; the scenes as NumPy arrays.
        row: the image's place in the batch.
    Returns: as of ``read_steps``.
    """
    guide, canvas_size, size = (
        air.guide,
        air.config.canvas_size,
        (air.config.appearance.window_size,) * 2,
    )
    num = min(int(scenes.counts[row]) + 1, rollout.steps_of(row))
    image, z_where, z_what = images[row], rollout.z_where[row, :num], rollout.z_what[row, :num]
    boxes = _array(window_boxes(z_where, canvas_size))
    decoded = _array(air.model.decoder(z_what))
    drawn = air.model.partial_canvases(z_where, z_what, rollout.z_background[row])
    residuals = _array(image - drawn)
    presence = presence_scores(scenes.count_probs[row : row + 1])[0]
    glimpses = windows = None
    if guide.look.sees_residual:
        glimpses = _array(window_boxes(rollout.proposals[row, :num] / GLIMPSE_WIDTH, canvas_size))
    if guide.reading.sees_window:
        windows = _array(image_to_object(z_where, image.expand(num, -1, -1, -1), size))
    x = _array(image)
    return [
        Step(
            t=t,
            present=bool(scenes.z_pres[row, t]),
            presence=float(presence[t]),
            seen=residuals[t] if guide.look.sees_residual else x,
            z_where=scenes.z_where[row, t],
            box=boxes[t],
            glimpse=None if glimpses is None else glimpses[t],
            window=None if windows is None else windows[t],
            z_what=scenes.z_what[row, t],
            decoded=decoded[t],
            residual=residuals[t + 1],
            canvas=x - residuals[t + 1],
        )
        for t in range(num)
    ]


def _array(tensor: Tensor) -> Array:
    return tensor.cpu().numpy()
