"""Pictures in, scenes out, one after the other.

Pictures are read ahead by threads, a block at a time goes through the model, and the results of a
batch are handed over before the next one's: memory does not grow with their number. Every block has
the same number of rows, the last one filled up with black: rounding depends on the shape of a
product, so a picture's result is the same to the last bit, whatever pictures stand beside it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .air import AIR, Scenes, reproducible
from .data.framing import Frame, Framing, place
from .data.parallel import in_parallel
from .errors import DataError
from .importance import (
    effective_sample_size,
    importance_log_weights,
    importance_weighted_count_probs,
)
from .model import intensity
from .records import Record, failure_record, rounded, scene_record
from .seeds import check_seed
from .sources import Source

if TYPE_CHECKING:
    from PIL.Image import Image

BLOCK = 64
"""Pictures that go through the model at once, always."""


class Placed(NamedTuple):
    """A picture that was read."""

    picture: Image
    canvas: NDArray[np.uint8]  # (channels, height, width)
    frame: Frame


Row = tuple[Record, Placed | None, NDArray[np.float32]]
"""A picture's record, the picture (None if it could not be read), and the scene drawn again."""


def framing_of(air: AIR) -> Framing:
    """Return how the model's pictures come onto its canvas."""
    config = air.config
    return Framing(config.canvas_size, config.channels, config.resize, config.zoom, config.invert)


def infer_pictures(
    air: AIR,
    sources: Iterable[Source],
    *,
    framing: Framing | None = None,
    samples: int = 0,
    seed: int = 0,
    batch_size: int = BLOCK,
) -> Iterator[list[Row]]:
    """Count, locate and describe the objects in pictures, a batch at a time.

    Args:
        air: the model.
        sources: the pictures.
        framing: how they come onto the canvas; the model's way if None.
        samples: importance samples per picture, for a better posterior over the count.
        seed: of the samples; a picture's own depend on nothing else but its pixels.
        batch_size: pictures to a batch; it changes no result.
    Yields: a ``Row`` for each picture of a batch; scenes are (channels, height, width).
    """
    framing = framing_of(air) if framing is None else framing
    seed = check_seed(seed)

    def read(source: Source) -> tuple[str, Placed | DataError]:
        try:
            picture = source.read()
        except DataError as error:
            return source.name, error
        return source.name, Placed(picture, *place(picture, framing))

    placed = in_parallel(read, sources, ahead=max(2 * batch_size, 2))
    while batch := list(islice(placed, batch_size)):
        sound = [item for _, item in batch if isinstance(item, Placed)]
        results = iter(_infer_placed(air, sound, samples, seed))
        rows: list[Row] = []
        for name, item in batch:
            if isinstance(item, DataError):
                reason = str(item)
                rows.append((failure_record(name, reason), None, np.empty(0, np.float32)))
                continue
            scenes, index, sampled = next(results)
            record = scene_record(name, item.frame, scenes, index, air.config.unbounded) | sampled
            rows.append((record, item, scenes.reconstruction[index]))
        yield rows


def _infer_placed(
    air: AIR, placed: Sequence[Placed], samples: int, seed: int
) -> Iterator[tuple[Scenes, int, Record]]:
    """Yield for each picture the scenes of its block, its row there, and what sampling adds."""
    for start in range(0, len(placed), BLOCK):
        canvases = [item.canvas for item in placed[start : start + BLOCK]]
        block = np.zeros((BLOCK, *canvases[0].shape), np.uint8)
        block[: len(canvases)] = canvases
        scenes = air.infer(block, batch_size=BLOCK)
        added = _importance(air, block, samples, seed) if samples else [{}] * BLOCK
        for index in range(len(canvases)):
            yield scenes, index, added[index]


@torch.no_grad()
def _importance(air: AIR, block: NDArray[np.uint8], samples: int, seed: int) -> list[Record]:
    """Return the importance-weighted count posterior of each picture of a block."""
    images = intensity(torch.as_tensor(block).to(air.device))
    noise = torch.stack([picture_noise(air, canvas, samples, seed) for canvas in block], dim=1)
    with reproducible(seed, air.device):
        log_weights = importance_log_weights(air, images, samples, noise=noise)
    probs = importance_weighted_count_probs(log_weights).cpu().numpy()
    sizes = effective_sample_size(log_weights).cpu().numpy()
    return [
        {
            "importance": {
                "count": int(row.argmax()),
                "count_probs": rounded(np.trim_zeros(row, "b") if air.config.unbounded else row),
                "effective_sample_size": round(float(size), 3),
                "samples": samples,
            }
        }
        for row, size in zip(probs, sizes, strict=True)
    ]


def picture_noise(air: AIR, canvas: NDArray[np.uint8], samples: int, seed: int) -> Tensor:
    """Draw what walks over one picture need, (samples,) + noise_shape, from its own seed.

    The picture's pixels are part of the seed: what stands beside it changes nothing.
    """
    generator = np.random.default_rng((seed, zlib.crc32(canvas.tobytes())))
    shape = (samples, *air.guide.noise_shape)
    return torch.as_tensor(generator.standard_normal(shape)).to(air.model.z_where_loc)
