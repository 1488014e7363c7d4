"""Settings: one dataclass for each of model and training, their presets and their constraints."""

from __future__ import annotations

from .settings import (
    AUTO,
    FAST,
    MANY,
    NON_LINEARITIES,
    PRESETS,
    TUTORIAL,
    Config,
    ModelConfig,
    TrainConfig,
    differences,
    flat,
    for_images,
    from_dict,
    get_preset,
    to_dict,
)

__all__ = [
    "AUTO",
    "Config",
    "FAST",
    "MANY",
    "ModelConfig",
    "NON_LINEARITIES",
    "PRESETS",
    "TUTORIAL",
    "TrainConfig",
    "differences",
    "flat",
    "for_images",
    "from_dict",
    "get_preset",
    "to_dict",
]
