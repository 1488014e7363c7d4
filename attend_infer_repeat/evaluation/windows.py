"""Windows cut out of images: the pixels that an object's code was read from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..air import AIR
from ..arrays import as_images
from ..model import intensity
from ..spatial import image_to_object


def cut_windows(
    air: AIR,
    images: NDArray[Any],
    rows: NDArray[np.integer],
    z_where: NDArray[np.float32],
    batch_size: int = 256,
) -> NDArray[np.floating]:
    """Cut objects at their poses out of their images.

    Args:
        air: the model, for the size of its windows and images.
        images: (N, height, width) or (N, channels, height, width).
        rows: (P,), each object's image.
        z_where: (P, 3).
        batch_size: objects at a time; it bounds memory.
    Returns: (P, channels, window_size, window_size), intensity.
    """
    pictures = as_images(images, air.config)
    size = (air.config.appearance.window_size, air.config.appearance.window_size)
    windows = []
    for numbers, poses in zip(
        torch.from_numpy(rows).split(batch_size),
        torch.from_numpy(z_where).split(batch_size),
        strict=True,
    ):
        seen = intensity(pictures[numbers])
        windows.append(image_to_object(poses.to(seen), seen, size))
    return torch.cat(windows).numpy()
