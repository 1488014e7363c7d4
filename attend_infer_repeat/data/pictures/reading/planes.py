"""From an array of one picture, as a microscope or a camera writes it, to gray or color."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError
from .modes import Values, is_colored, to_8_bits

if TYPE_CHECKING:
    from PIL import Image

MOST_COLORS = 3
"""Channels that are shown as colors; more are averaged."""


def selected(pixels: NDArray[Any], channels: Sequence[int]) -> NDArray[Any]:
    """Take channels of a picture.

    Args:
        pixels: (height, width), or (channels, height, width).
        channels: their numbers, from 0; all if there are none.
    Returns: (height, width) of one channel, else (channels, height, width).
    Raises: DataError if the picture has no such channel.
    """
    planes = pixels[None] if pixels.ndim == 2 else pixels
    wrong = [channel for channel in channels if channel >= len(planes)]
    if wrong:
        raise DataError(
            f"it has {len(planes)} channels, counted from 0, and --select asks for {wrong[0]}."
        )
    planes = planes[list(channels)] if channels else planes
    return planes[0] if len(planes) == 1 else planes


def as_picture(
    pixels: NDArray[Any], values: Values | None, channels: Sequence[int] = ()
) -> Image.Image:
    """Return a picture's pixels as ``in_mode`` does, but ``L`` if nothing is colored.

    Raises: DataError as ``in_mode``.
    """
    picture = in_mode(pixels, values, channels)
    return picture if is_colored(picture) else picture.convert("L")


def in_mode(
    pixels: NDArray[Any], values: Values | None, channels: Sequence[int] = ()
) -> Image.Image:
    """Return pixels in the mode that the number of their channels has, whatever they show.

    One channel is gray; two or three are red, green and blue; more are averaged.

    Args:
        pixels: (height, width), or (channels, height, width).
        values: what becomes black and what white; as the type has it if None.
        channels: those to take, from 0; all if there are none.
    Raises: DataError if the type does not tell what is black and white, numbers are not finite, or
        there is no such channel.
    """
    from PIL import Image

    taken = selected(pixels, channels)
    if taken.dtype == np.bool_:
        taken = taken * np.uint8(255)
    own = taken.dtype == np.uint8 and (values is None or values[1] > 255)
    if not own:
        taken = to_8_bits(taken, values)
    if taken.ndim == 3 and len(taken) > MOST_COLORS:
        taken = np.round(taken.mean(axis=0)).astype(np.uint8)
    if taken.ndim == 3:
        rgb = np.zeros((*taken.shape[1:], MOST_COLORS), np.uint8)
        rgb[..., : len(taken)] = taken.transpose(1, 2, 0)
        return Image.fromarray(rgb)
    return Image.fromarray(np.ascontiguousarray(taken))


def mode_of(num_channels: int) -> str:
    """Return the mode in which ``in_mode`` shows so many channels."""
    return "RGB" if 1 < num_channels <= MOST_COLORS else "L"
