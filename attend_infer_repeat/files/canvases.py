"""Canvases in, scenes out, in blocks of one size.

Every block has the same number of rows, the last one filled up with black: rounding depends on the
shape of a product, so a canvas's result is the same to the last bit, whatever canvases stand beside
it. Without a bound on the count, canvases leave the products step by step, and that holds but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..air import AIR
from ..posterior import count_posterior, picture_noise
from ..spatial import window_boxes
from .mosaic import TileScene
from .records import Record, rounded

BLOCK = 64
"""Canvases that go through the model at once, always."""

Observer = Callable[[NDArray[np.uint8], int, NDArray[np.floating], NDArray[np.floating]], None]
"""Takes a canvas, (channels, height, width), the count, the boxes, (count, 4), in canvas pixels,
and the scene drawn again."""


def infer_canvases(
    air: AIR,
    canvases: Sequence[NDArray[np.uint8]],
    samples: int,
    seed: int,
    observe: Observer | None,
) -> Iterator[tuple[TileScene, Record]]:
    """Yield what a model finds on each canvas, and what importance samples add to its record.

    Args:
        air: the model.
        canvases: (channels, height, width) each.
        samples: importance samples per canvas.
        seed: of the samples; a canvas's own depend on nothing else but its pixels.
        observe: called with each canvas and what was found on it.
    """
    for start in range(0, len(canvases), BLOCK):
        own = canvases[start : start + BLOCK]
        block = np.zeros((BLOCK, *own[0].shape), np.uint8)
        block[: len(own)] = own
        scenes = air.infer(block, batch_size=BLOCK)
        windows = window_boxes(torch.as_tensor(scenes.z_where), air.config.canvas_size).numpy()
        boxes = np.where(np.isnan(scenes.boxes), windows, scenes.boxes)
        added = _importance(air, block, samples, seed) if samples else [{}] * BLOCK
        for row, canvas in enumerate(own):
            if observe is not None:
                count = int(scenes.counts[row])
                observe(canvas, count, scenes.boxes[row, :count], scenes.reconstruction[row])
            yield TileScene(scenes[row], boxes[row]), added[row]


def _importance(air: AIR, block: NDArray[np.uint8], samples: int, seed: int) -> list[Record]:
    """Return the importance-weighted count posterior of each picture of a block."""
    noise = torch.stack([picture_noise(air, canvas, samples, seed) for canvas in block], dim=1)
    images = torch.as_tensor(block)
    posterior = count_posterior(air, images, samples, seed, noise=noise, batch_size=BLOCK)
    return [
        {
            "importance": {
                "count": int(row.argmax()),
                "count_probs": rounded(
                    np.trim_zeros(row, "b") if air.config.count.unbounded else row
                ),
                "effective_sample_size": round(float(size), 3),
                "samples": samples,
            }
        }
        for row, size in zip(
            posterior.count_probs.numpy(), posterior.effective_sample_size, strict=True
        )
    ]
