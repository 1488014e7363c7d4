"""The public door: what users pass as images becomes (batch, channels, height, width)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .config import ModelConfig
from .data.pictures.reading.pixels import as_bytes, check_range, check_type
from .errors import ShapeError


def as_images(images: NDArray[Any] | Tensor, config: ModelConfig) -> Tensor:
    """Check images once and return them as a tensor of the model's shape.

    Args:
        images: (batch, height, width) of a one-channel model or
            (batch, channels, height, width); bool, uint8, uint16, or floats in [0, 1], as
            ``data.pixels`` has it.
        config: the model's, for the expected sizes.
    Returns: (batch, channels, height, width), uint8 or float32.
    Raises: ShapeError, in one line, if the shape, the type or a value does not fit.
    """
    if not isinstance(images, (np.ndarray, Tensor)):
        raise ShapeError(
            f"images: expected a NumPy array or a tensor, got {type(images).__name__}; "
            "convert with numpy.asarray(images)."
        )
    if isinstance(images, Tensor):
        _check_tensor(images)
    expected = (config.channels, *config.canvas_size)
    shape = tuple(images.shape)
    given = (shape[0], 1, *shape[1:]) if len(shape) == 3 and config.channels == 1 else shape
    if len(given) != 4 or given[1:] != expected:
        raise ShapeError(
            f"images: expected (batch, {', '.join(map(str, expected))}), "
            f"got {shape}; {_shape_hint(shape, expected)}."
        )
    if shape[0] == 0:
        raise ShapeError("images: expected at least one, got none.")
    return _intensities(images).reshape(given)


def _check_tensor(images: Tensor) -> None:
    if images.is_nested or images.layout is not torch.strided or images.is_meta:
        raise ShapeError("images: expected a dense tensor; convert with images.to_dense().")


def _intensities(images: NDArray[Any] | Tensor) -> Tensor:
    """Return uint8 or float32, of the same shape; it shares memory with the images if it can."""
    if isinstance(images, Tensor) and images.dtype in (torch.bool, torch.uint16):
        return torch.from_numpy(as_bytes(images.cpu().numpy())).to(images.device)
    if isinstance(images, np.ndarray):
        if images.dtype.kind != "f":
            images = as_bytes(images)
        elif images.dtype.itemsize > 8:  # torch has no float128
            images = images.astype(np.float64)
        # Torch knows neither negative strides nor foreign byte orders, and warns of read-only
        # memory.
        images = np.ascontiguousarray(images, dtype=images.dtype.newbyteorder("="))
        images = torch.from_numpy(images if images.flags.writeable else images.copy())
    name = str(images.dtype).removeprefix("torch.")
    check_type(name, known=images.is_floating_point() or name == "uint8")
    if images.dtype == torch.uint8:
        return images
    _check_floats(images)
    return images.to(torch.get_default_dtype())


def _check_floats(images: Tensor) -> None:
    if images.dtype.itemsize == 1:  # float8, of which torch takes no minimum
        images = images.float()
    low, high = images.amin().item(), images.amax().item()
    if not (low >= 0 and high <= 1):  # NaN is neither
        rows = images.flatten(1)
        lows, highs = rows.amin(dim=1), rows.amax(dim=1)
        index = int((~((lows >= 0) & (highs <= 1))).to(torch.uint8).argmax())
        check_range(index, lows[index].item(), highs[index].item())


def _shape_hint(shape: tuple[int, ...], expected: tuple[int, int, int]) -> str:
    channels, *canvas = expected
    if shape in (expected, expected[1:]):
        return "add a batch axis with images[None]"
    if shape[1:] == (*canvas, channels):
        return "move the channels forward with images.transpose(0, 3, 1, 2)"
    if len(shape) == 4 and shape[1:] in ((*canvas, channels + 1), (channels + 1, *canvas)):
        return "lay them on black, and leave out their opacity"
    if len(shape) == 3 and shape[1:] == tuple(canvas):
        return f"repeat their gray with images[:, None].repeat({channels}, 1)"
    if len(shape) > 4:
        return "bring the leading axes together with images.reshape(-1, *images.shape[-3:])"
    return "resize the images, or train a model of their size"
