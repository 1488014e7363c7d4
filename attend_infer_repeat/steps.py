"""One image read step by step: what the guide saw, decided and drew, for figures to show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .air import AIR, Scenes, presence_scores
from .arrays import as_images
from .guide import GLIMPSE, Path
from .model import intensity
from .spatial import image_to_object, window_boxes

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
    redrawn: Array  # (channels, h, w), the decoded window
    left: Array  # (channels, height, width), r_{t+1}: x without the objects so far
    drawn: Array  # (channels, height, width), the sum of the objects so far


@torch.no_grad()
def read_steps(air: AIR, image: NDArray[np.generic] | Tensor) -> tuple[Scenes, list[Step]]:
    """Read one image as ``AIR.infer`` does, by means and the most probable count.

    Args:
        air: the model.
        image: (height, width) or (channels, height, width); uint8, or floats in [0, 1].
    Returns: the scene, of a batch of one; and the present steps, then the one that decides to stop,
        unless all T are present.
    Raises: ShapeError if the image does not fit the model.
    """
    checked = as_images(image[None], air.config)
    scenes = air.infer(checked).numpy()
    images = intensity(checked.to(air.device))
    path = air.guide.path(images, sample=False)
    shown = range(min(int(scenes.counts[0]) + 1, air.config.model_steps))
    return scenes, [_step(air, images, path, scenes, t) for t in shown]


def _step(air: AIR, images: Tensor, path: Path, scenes: Scenes, t: int) -> Step:
    guide, canvas_size = air.guide, air.config.canvas_size
    z_where, place = path.z_where[0, t], path.places[0, t]
    size = (air.config.window_size,) * 2
    window = None if guide.basic else image_to_object(z_where, images[0], size)
    glimpse = window_boxes(place / GLIMPSE, canvas_size) if guide.residual else None
    return Step(
        t=t,
        present=bool(scenes.z_pres[0, t]),
        presence=float(presence_scores(scenes.count_probs)[0, t]),
        seen=_array(path.residuals[t][0] if guide.residual else images[0]),
        z_where=_array(z_where),
        box=_array(window_boxes(z_where, canvas_size)),
        glimpse=None if glimpse is None else _array(glimpse),
        window=None if window is None else _array(window),
        z_what=_array(path.z_what[0, t]),
        redrawn=_array(air.model.decoder(path.z_what[0, t])),
        left=_array(path.residuals[t + 1][0]),
        drawn=_array(images[0] - path.residuals[t + 1][0]),
    )


def _array(tensor: Tensor) -> Array:
    return tensor.cpu().numpy()
