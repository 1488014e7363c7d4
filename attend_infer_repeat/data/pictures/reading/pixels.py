"""What the numbers in an array of images mean: one rule, for files and for Python.

Black and white are False and True of bool, 0 and 255 of uint8, 0 and 65535 of uint16, 0 and 1 of
floats of any size.

A type alone decides, never the values. Other types do not tell what white is, and floats that are
not finite, or outside of [0, 1], have no meaning: both are refused.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ShapeError
from .modes import Values, to_8_bits

TYPES = "bool, uint8, uint16 or floats from 0 to 1"

BLOCK = 64
"""Images that are converted at a time: bounds memory."""


def as_bytes(images: NDArray[Any], values: Values | None = None) -> NDArray[np.uint8]:
    """Return images, (N, ...), with 8 bits, 0 for black and 255 for white.

    What is uint8 stays as it is, without a copy.

    Args:
        images: of any real type.
        values: what becomes black and what white; as the type has it if None.
    Raises: ShapeError, in one line, if the type or a value means nothing.
    """
    if values is not None and not (images.dtype == np.uint8 and values == (0, 255)):
        return _ranged(images, values)
    kind, size = images.dtype.kind, images.dtype.itemsize
    check_type(str(images.dtype), known=kind in "bf" or (kind == "u" and size <= 2))
    if kind == "u" and size == 1:
        return images
    if kind == "b":
        return images * np.uint8(255)
    converted = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        if kind == "f":
            _check_floats(block, start)
            scaled = block.astype(np.float32 if size < 4 else block.dtype) * 255
        else:
            scaled = block / 257  # 65535 = 255 * 257
        converted[start : start + BLOCK] = np.round(scaled)
    return converted


def from_intensity(intensity: NDArray[np.number]) -> NDArray[np.uint8]:
    """Return intensities with 8 bits; what is beyond 0 and 1 is cut off."""
    return np.round(255 * intensity.clip(0, 1)).astype(np.uint8)


def _ranged(images: NDArray[Any], values: Values) -> NDArray[np.uint8]:
    check_type(str(images.dtype), known=images.dtype.kind in "bfiu")
    converted = np.empty(images.shape, np.uint8)
    for index, image in enumerate(images):
        if image.size and not math.isfinite(float(image.min()) + float(image.max())):
            check_range(index, math.nan, math.nan)
        converted[index] = to_8_bits(image, values)
    return converted


def _check_floats(block: NDArray[Any], start: int) -> None:
    for index, image in enumerate(block, start):
        if image.size:
            check_range(index, float(image.min()), float(image.max()))


def check_type(name: str, known: bool) -> None:
    """Refuse a type of numbers whose black and white are not ``known``: ShapeError.

    Args:
        name: the type's.
        known: whether it is one of the four.
    """
    if known:
        return
    advice = "; convert it to one of them."
    if "int" in name or name[1:2] in ("i", "u"):  # such as int64, or >i8
        advice = (
            ", which does not tell what white is; convert with images.astype('uint8') if 255 is."
        )
    raise ShapeError(f"images: expected {TYPES}, got {name}{advice}")


def check_range(index: int, low: float, high: float) -> None:
    """Refuse floats that are no intensities: ShapeError.

    Args:
        index: of the image.
        low, high: its smallest and largest value; NaN where it has any.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ShapeError(
            f"images: image {index} has NaN or infinite pixels; replace them, or leave it out."
        )
    if low < 0 or high > 1:
        raise ShapeError(
            f"images: floats must lie in [0, 1], image {index} has {low:g} to {high:g}; divide by "
            "what is white, or pass uint8."
        )


def as_planes(images: NDArray[Any]) -> NDArray[Any]:
    """Return (N, height, width), or (N, channels, height, width) of 2 to 4 channels.

    Args:
        images: (height, width), one image; (N, height, width); or with 1 to 4 channels, first or
            last.
    Raises: ShapeError, in one line, if it is of another shape, or could be one of two.
    """
    shape = images.shape
    if images.ndim == 2:
        images = images[None]
    elif images.ndim == 3 and shape[2] in (3, 4) and min(shape[:2]) > 2 * shape[2]:
        raise ShapeError(
            f"images: {shape} is one picture in color, or {shape[0]} that are {shape[2]} pixels "
            "wide; save images[None], or images[:, None]."
        )
    elif images.ndim == 4:
        channels = ((1, 3), 1), ((1, 3), 3), ((2, 4), 3), ((2, 4), 1)
        axis = next((axis for nums, axis in channels if shape[axis] in nums), None)
        if axis == 3:
            images = images.transpose(0, 3, 1, 2)
        if axis is not None and images.shape[1] == 1:
            images = images[:, 0]
    planes = images.ndim == 3 or (images.ndim == 4 and images.shape[1] in (2, 3, 4))
    if not planes or min(images.shape) == 0:
        none = "no images" if 0 in shape else "none of these"
        raise ShapeError(
            "images: expected (height, width), (N, height, width), or (N, height, width, channels) "
            f"of 1 to 4 channels, got {shape}, {none}; save at least one image, in such a shape."
        )
    return images


def without_alpha(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay images with 2 or 4 channels, the last of which is opacity, on black or white.

    As ``reading`` does with a file. Others are returned as they are.

    Args:
        images: as from ``as_planes``.
    Returns: (N, height, width), or (N, 3, height, width) of what had 4 channels.
    """
    from PIL import Image

    from .modes import opaque

    if images.ndim == 3 or images.shape[1] == 3:
        return images
    channels = 1 if images.shape[1] == 2 else 3
    bare = np.empty((len(images), channels, *images.shape[2:]), np.uint8)
    for image, target in zip(images, bare, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).convert("RGBA")
        target[:] = np.asarray(opaque(picture)).transpose(2, 0, 1)[:channels]
    return bare if channels == 3 else bare[:, 0]
