"""The public door: what users pass as images becomes (batch, channels, height, width)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .config import ModelConfig
from .errors import ShapeError


def as_images(images: NDArray[np.generic] | Tensor, config: ModelConfig) -> Tensor:
    """Check images once and return them as a tensor of the model's shape.

    Args:
        images: (batch, height, width) of a one-channel model or
            (batch, channels, height, width); uint8, bool, or floats in [0, 1].
        config: the model's, for the expected sizes.
    Returns: (batch, channels, height, width), uint8 or float32.
    Raises: ShapeError if the shape, the type or a value does not fit.
    """
    if not isinstance(images, (np.ndarray, Tensor)):
        raise ShapeError(
            f"images: expected a NumPy array or a tensor, got {type(images).__name__}."
        )
    tensor = _as_tensor(images)
    expected = (config.channels, *config.canvas_size)
    if tensor.ndim == 3 and config.channels == 1:
        tensor = tensor[:, None]
    if tensor.ndim != 4 or tuple(tensor.shape[1:]) != expected:
        raise ShapeError(
            f"images: expected (batch, {', '.join(map(str, expected))}), "
            f"got {tuple(images.shape)}; {_shape_hint(tuple(images.shape), expected)}."
        )
    if len(tensor) == 0:
        raise ShapeError("images: expected at least one, got none.")
    if tensor.dtype == torch.uint8:
        return tensor
    if tensor.dtype == torch.bool:
        return tensor.to(torch.uint8) * 255
    if not tensor.is_floating_point():
        raise ShapeError(
            f"images: expected uint8 or floats in [0, 1], got {tensor.dtype}; "
            "convert with images.astype('uint8') if they run from 0 to 255."
        )
    if not torch.isfinite(tensor).all():
        raise ShapeError("images: some pixels are NaN or infinite; clean or drop those images.")
    low, high = tensor.min().item(), tensor.max().item()
    if low < 0 or high > 1:
        raise ShapeError(
            f"images: floats must lie in [0, 1], got {low:g} to {high:g}; "
            "divide by 255 or pass uint8."
        )
    return tensor.to(torch.get_default_dtype())


def _as_tensor(images: NDArray[np.generic] | Tensor) -> Tensor:
    """Return a tensor of the same values; it shares memory with the images where torch can."""
    if isinstance(images, Tensor):
        return images
    if images.dtype.kind not in "biuf":
        raise ShapeError(f"images: expected uint8 or floats in [0, 1], got {images.dtype}.")
    # Torch knows neither negative strides nor foreign byte orders, and warns of read-only memory.
    images = np.ascontiguousarray(images, dtype=images.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(images if images.flags.writeable else images.copy())
    except TypeError as error:  # a type that torch lacks, such as float128
        raise ShapeError(
            f"images: expected uint8 or floats in [0, 1], got {images.dtype}."
        ) from error


def _shape_hint(shape: tuple[int, ...], expected: tuple[int, int, int]) -> str:
    if shape in (expected, expected[1:]):
        return "add a batch axis with images[None]"
    if shape[1:] == (*expected[1:], expected[0]):
        return "move the channels forward with images.transpose(0, 3, 1, 2)"
    return "resize the images, or train a model of their size"
