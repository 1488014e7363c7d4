"""The four guides, each a line: what it remembers, where it looks, how it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyro.distributions as dist
from torch import nn

from ..config import ModelConfig
from .look import Look, PriorMean, Sought
from .memory import Memory, NoMemory, lstm_of_image, lstm_of_thumbnail
from .read import FromState, FromWindow, Reading


class Recipe(NamedTuple):
    """The parts of a guide, to be made for a config; a reading also asks ``Memory.state_size``."""

    memory: Callable[[ModelConfig], Memory]
    look: Callable[[ModelConfig, dist.Normal], Look]
    reading: Callable[[ModelConfig, nn.Module | None, int], Reading]


RECIPES = {
    "basic": Recipe(lstm_of_image, PriorMean, FromState),
    "improved": Recipe(lstm_of_image, PriorMean, FromWindow),
    "pursuit": Recipe(lstm_of_thumbnail, Sought, FromWindow),
    "memoryless": Recipe(NoMemory, Sought, FromWindow),
}
"""By ``ModelConfig.inference.guide``."""
