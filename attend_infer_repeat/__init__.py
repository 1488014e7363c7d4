"""Attend, Infer, Repeat: count, locate and describe the objects in images, without labels.

>>> import attend_infer_repeat as air
>>> data = air.load_dataset("digits", split="test")
>>> model = air.AIR(air.ModelConfig())
>>> model.infer(data.images[:4]).count_probs.shape
(4, 4)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .config import PRESETS, ModelConfig, TrainConfig
from .errors import AirError, CheckpointError, ConfigError, DataError, ShapeError

if TYPE_CHECKING:
    from .air import AIR
    from .data import Dataset, load_dataset
    from .evaluation.codes import CodesEvaluation, evaluate_codes
    from .evaluation.evaluate import Evaluation, evaluate
    from .files.export import export_program
    from .model import geom
    from .scenes import Scenes
    from .sklearn import AIRCounter
    from .trainer import train

from .version import __version__ as __version__

# These import torch, which takes a second: they are imported when first asked for (PEP 562), so
# that `air --help` answers at once.
_LAZY = {
    "AIR": "air",
    "Scenes": "scenes",
    "AIRCounter": "sklearn",
    "CodesEvaluation": "evaluation.codes",
    "evaluate_codes": "evaluation.codes",
    "Dataset": "data",
    "load_dataset": "data",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "export_program": "files.export",
    "geom": "model",
    "train": "trainer",
}

__all__ = [
    "AIR",
    "AIRCounter",
    "PRESETS",
    "AirError",
    "CheckpointError",
    "CodesEvaluation",
    "ConfigError",
    "DataError",
    "Dataset",
    "Evaluation",
    "ModelConfig",
    "Scenes",
    "ShapeError",
    "TrainConfig",
    "evaluate",
    "evaluate_codes",
    "export_program",
    "geom",
    "load_dataset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
