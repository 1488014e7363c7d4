"""The axes of an array that holds pictures: a letter for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

CHANNEL_AXES = "CS"
"""Letters of the axes of channels, and of samples of a pixel, such as red, green and blue."""

TIME_AXIS = "T"


def num_channels(shape: Sequence[int], axes: Sequence[str]) -> int:
    """Return how many channels a picture has; of 2 or 4 samples of a pixel, the last is opacity.

    Args:
        shape: of an array.
        axes: of that array; others than those of ``CHANNEL_AXES`` do not count.
    """
    lengths = {axis: n for n, axis in zip(shape, axes, strict=True) if axis in CHANNEL_AXES}
    num = math.prod(lengths.values())
    return num - 1 if list(lengths) == ["S"] and num in (2, 4) else num


def channels_first(pixels: NDArray[Any], axes: Sequence[str]) -> NDArray[Any]:
    """Return one picture as (height, width), or as (channels, height, width), without opacity.

    Args:
        pixels: the picture.
        axes: of it: Y, X, and those of ``CHANNEL_AXES`` that it has.
    """
    channels = [axis for axis in axes if axis in CHANNEL_AXES]
    num = num_channels(pixels.shape, axes)
    pixels = pixels.transpose([axes.index(axis) for axis in (*channels, "Y", "X")])
    planes = pixels.reshape(-1, *pixels.shape[-2:])[:num]
    return planes[0] if num == 1 else planes
