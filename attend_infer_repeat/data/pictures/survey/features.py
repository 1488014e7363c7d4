"""What rows of numbers mean as images: their shape, and which values are black and white."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ConfigError, ShapeError
from ..reading.pixels import as_bytes


def square_shape(num_features: int) -> tuple[int, int]:
    """Return the (height, width) of a square image of so many features.

    Raises: ShapeError if there is none.
    """
    side = math.isqrt(num_features)
    if side**2 != num_features:
        raise ShapeError(
            f"X: {num_features} features are no square image; give image_shape=(height, width)."
        )
    return side, side


def image_shape(shape: Any, num_features: int) -> tuple[int, int, int]:
    """Return (channels, height, width).

    Raises: ShapeError if a shape is not that of an image, or not of so many features.
    """
    try:
        *channels, height, width = np.empty(num_features).reshape(shape).shape
    except (TypeError, ValueError) as error:
        raise ShapeError(
            f"image_shape: expected (height, width) or (channels, height, width) of {num_features} "
            f"features, got {shape!r}."
        ) from error
    if channels not in ([], [1], [3]):
        channels_last = len(channels) == 1 and width in (1, 3)
        advice = "give image_shape, or leave out what is no color, such as opacity"
        if channels_last:
            advice = "move channels forward with X.transpose(0, 3, 1, 2)"
        raise ShapeError(
            f"X: expected images of (height, width) or (1 or 3 channels, height, width), got "
            f"{tuple(shape)}; {advice}."
        )
    return (*channels, 1)[0], height, width


def find_value_range(value_range: Any, pixels: NDArray[Any]) -> tuple[float, float] | None:
    """Return the values of black and white, or None if they follow from the type.

    Args:
        value_range: "dtype", "data" for the least and the greatest of ``pixels``, or (low, high).
        pixels: of any shape.
    Raises: ConfigError for any other range.
    """
    if isinstance(value_range, str) and value_range == "dtype":
        return None
    if isinstance(value_range, str) and value_range == "data":
        return float(pixels.min()), float(pixels.max())
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not low < high:
        raise ConfigError(
            f"value_range: expected 'dtype', 'data' or (low, high), got {value_range!r}."
        )
    return low, high


def rescaled(images: NDArray[Any], value_range: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Map black to 0 and white to 255.

    Raises: ShapeError if no range is given, and the values are not those of their type.
    """
    if value_range is None:
        return as_bytes(images)
    low, high = value_range
    if images.dtype == np.uint8 and value_range == (0, 255):
        return images
    scale = 255 / (high - low or 1)
    return np.round((np.clip(images, low, high) - low) * scale).astype(np.uint8)
