"""The posterior over the count by importance weighting, of images a batch at a time.

The estimates, and what they estimate, are in ``rollout/importance.py``.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .air import AIR, largest_batch, reproducible
from .model import intensity
from .rollout import noise_shape
from .rollout.importance import (
    effective_sample_size,
    importance_log_weights,
    importance_weighted_bound,
    importance_weighted_count_probs,
)
from .scenes import concatenate


class CountPosterior(NamedTuple):
    """What K importance samples say of the number of objects in each image, on the CPU."""

    count_probs: Tensor  # (N, T + 1), estimates of p(n | x); rows sum to 1
    effective_sample_size: Tensor  # (N,), from 1 to K: how many equally weighted samples they equal
    bound: Tensor  # (N,) float64, nats: in expectation a lower bound of log p(x)


@torch.no_grad()
def count_posterior(
    air: AIR,
    images: Tensor,
    num_samples: int,
    seed: int = 0,
    *,
    noise: Tensor | None = None,
    batch_size: int | None = None,
) -> CountPosterior:
    """Estimate p(n | x) of images from K samples of q(z | x) for each of them.

    Args:
        air: the model and its guide.
        images: (N, channels, height, width), uint8 or intensity, checked.
        num_samples: K.
        seed: of the samples, drawn batch by batch.
        noise: (K, N) + noise_shape, to draw the samples from instead, such as ``picture_noise`` of
            each image.
        batch_size: images at a time, ``largest_batch`` if None; it bounds memory.
    """
    size = largest_batch(air) if batch_size is None else batch_size
    noises = [None] * -(-len(images) // size) if noise is None else noise.split(size, dim=1)
    probs, sizes, bounds = [], [], []
    with reproducible(seed, air.device):
        for batch, batch_noise in zip(images.split(size), noises, strict=True):
            intensities = intensity(batch.to(air.device))
            if batch_noise is not None and len(batch) == 1:
                log_weights = _samples_as_rows(air, intensities, batch_noise, size)
            else:
                log_weights = importance_log_weights(
                    air.guide, intensities, num_samples, batch_noise
                )
            probs.append(importance_weighted_count_probs(log_weights).cpu())
            sizes.append(effective_sample_size(log_weights).cpu())
            bounds.append(importance_weighted_bound(log_weights).double().cpu())
    return CountPosterior(concatenate(probs), torch.cat(sizes), torch.cat(bounds))


def _samples_as_rows(air: AIR, image: Tensor, noise: Tensor, batch_size: int) -> Tensor:
    """Return log w_n, (K, 1, T + 1), of one image, whose samples are the rows of batches.

    Args:
        air: the model and its guide.
        image: (1, channels, height, width), intensity.
        noise: (K, 1) + noise_shape.
        batch_size: samples at a time.
    """
    parts = [
        importance_log_weights(
            air.guide, image.expand(len(part), -1, -1, -1), 1, part.transpose(0, 1)
        )[0]
        for part in noise.split(batch_size)
    ]
    return concatenate(parts, fill=-torch.inf)[:, None]


def picture_noise(air: AIR, canvas: NDArray[np.uint8], num_samples: int, seed: int) -> Tensor:
    """Draw what samples of q(z | x) of one picture need, (K,) + noise_shape, from its own seed.

    The picture's pixels are part of the seed: what stands beside it changes nothing.
    """
    generator = np.random.default_rng((seed, zlib.crc32(canvas.tobytes())))
    shape = (num_samples, *noise_shape(air.guide))
    return torch.as_tensor(generator.standard_normal(shape)).to(air.model.z_where_loc)
