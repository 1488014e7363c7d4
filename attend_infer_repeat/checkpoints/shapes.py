"""Shapes of the tensors in a checkpoint, checked before memory is taken for them.

A damaged or malicious file may claim any size, in the weights' own header or in the config beside
them: both are compared with the model that the config describes, which is built without memory.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import IO, Any

import pyro
import torch
from torch import nn

from ..config import ModelConfig, flat
from .find import STATE_FILE

BUILT_DIRECTLY = 2**14
"""Bound on the sum of a model's layer and canvas sizes below which it is built with its memory."""

MAX_CANVAS_NUMBERS = 2**32
"""Bound on the numbers of one image's canvases together with the model's buffers: 16 GiB."""

Shapes = Mapping[str, tuple[int, ...]]


def read_shapes(file: IO[bytes]) -> Shapes:
    """Return the shapes in a safetensors file's header, and go back to the file's beginning.

    Raises: ValueError if the header is damaged or the file has another length than it says.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    try:
        if length > size - 8:
            raise ValueError("the file is truncated")
        header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        shapes = {name: tuple(map(int, entry["shape"])) for name, entry in header.items()}
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if 8 + length + end != size:
            raise ValueError("the file has another length than its header says")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"not a safetensors file, or damaged: {error}") from error
    file.seek(0)
    return shapes


def check_shapes(
    shapes: Shapes, config: ModelConfig, build: Callable[[ModelConfig], nn.Module]
) -> None:
    """Compare the shapes in a file with those of the model that ``build`` makes of a config.

    Raises: ValueError if they differ, or if the model needs more memory than there is: for its
        weights, or for what the file does not hold, its canvases.
    """
    try:
        model = _build_shapes(config, build)
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"does not fit the sizes in {STATE_FILE}, which no memory holds"
        ) from error
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if shapes != expected:
        name = min(n for n in {**shapes, **expected} if shapes.get(n) != expected.get(n))
        raise ValueError(
            f"the weights do not fit the config in {STATE_FILE}: {name} is "
            f"{shapes.get(name, 'absent')}, expected {expected.get(name, 'nothing')}; "
            "if another version of the package wrote them, use that one, or train again"
        )
    canvases = (config.count.max_steps + 1) * config.channels * math.prod(config.canvas_size)
    if canvases + sum(buffer.numel() for buffer in model.buffers()) > MAX_CANVAS_NUMBERS:
        raise ValueError(
            f"canvas_size {config.canvas_size} and {config.count.max_steps} steps in {STATE_FILE} "
            "need more memory than there is"
        )


def _build_shapes(config: ModelConfig, build: Callable[[ModelConfig], nn.Module]) -> nn.Module:
    """Return a model whose tensors have the right shapes, on the device "meta", without memory.

    The first time, torch takes a second to import what it needs for that: a model that is small by
    its config is built as usual instead.
    """
    sizes = sum(
        sum(value) if isinstance(value, tuple) else value
        for value in flat(config).values()
        if type(value) is int or (isinstance(value, tuple) and all(type(v) is int for v in value))
    )
    areas = math.prod(config.canvas_size) + config.appearance.window_size**2
    is_small = sizes + (config.channels + 1) * areas <= BUILT_DIRECTLY
    device = nullcontext() if is_small else torch.device("meta")
    with torch.random.fork_rng(devices=()), pyro.validation_enabled(False), device:
        return build(config)
