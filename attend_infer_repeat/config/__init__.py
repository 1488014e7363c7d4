"""Settings: frozen, validated and in parts; their presets; and how old ones are read.

``ModelConfig`` says what the model and its guide are; ``TrainConfig`` adds how they are trained.
``PRESETS`` names the complete settings a user starts from. No torch is imported here.
"""

from __future__ import annotations

from typing import get_args

from .base import (
    PATHS,
    Idle,
    Settings,
    differences,
    flat,
    from_dict,
    idle,
    refuse_idle,
    replace,
    to_dict,
)
from .inference import InferenceConfig
from .model import (
    AppearanceConfig,
    BackgroundConfig,
    CountConfig,
    FramingConfig,
    LikelihoodConfig,
    ModelConfig,
    NonLinearity,
    PoseConfig,
)
from .presets import AUTO, FAST, MANY, PRESETS, TUTORIAL, fit_auto, get_preset
from .training import (
    AnnealingConfig,
    CompositesConfig,
    DatasetConfig,
    EstimatorConfig,
    ExplorationConfig,
    OptimizerConfig,
    OutputConfig,
    TrainConfig,
    for_images,
)

NON_LINEARITIES: tuple[str, ...] = get_args(NonLinearity)

__all__ = [
    "AUTO",
    "FAST",
    "MANY",
    "NON_LINEARITIES",
    "PATHS",
    "PRESETS",
    "TUTORIAL",
    "AnnealingConfig",
    "AppearanceConfig",
    "BackgroundConfig",
    "CompositesConfig",
    "CountConfig",
    "DatasetConfig",
    "EstimatorConfig",
    "ExplorationConfig",
    "FramingConfig",
    "Idle",
    "InferenceConfig",
    "LikelihoodConfig",
    "ModelConfig",
    "OptimizerConfig",
    "OutputConfig",
    "PoseConfig",
    "Settings",
    "TrainConfig",
    "differences",
    "fit_auto",
    "flat",
    "for_images",
    "from_dict",
    "get_preset",
    "idle",
    "refuse_idle",
    "replace",
    "to_dict",
]
