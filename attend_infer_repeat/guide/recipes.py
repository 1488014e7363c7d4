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
from .sizes import SoughtSizes


class Recipe(NamedTuple):
    """The parts of a guide, to be made for a config; a reading also asks ``Memory.state_size``."""

    memory: Callable[[ModelConfig], Memory]
    look: Callable[[ModelConfig, dist.Normal], Look]
    reading: Callable[[ModelConfig, nn.Module | None, int], Reading]


def sought(config: ModelConfig, z_where_dist: dist.Normal) -> Look:
    """Return the look that seeks places, and sizes where there are many."""
    look = SoughtSizes if config.pose.has_sizes else Sought
    return look(config, z_where_dist)


RECIPES = {
    "basic": Recipe(lstm_of_image, PriorMean, FromState),
    "improved": Recipe(lstm_of_image, PriorMean, FromWindow),
    "pursuit": Recipe(lstm_of_thumbnail, sought, FromWindow),
    "memoryless": Recipe(NoMemory, sought, FromWindow),
}
"""By ``ModelConfig.inference.guide``."""
