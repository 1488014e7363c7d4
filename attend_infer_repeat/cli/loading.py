"""The model and the data that a command names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .process import tune_process

if TYPE_CHECKING:
    from ..air import AIR
    from ..data import Dataset


def load_model(path: str | Path, device: str) -> AIR:
    """Load a model onto a device, in a process that is set up to compute quickly."""
    from ..air import AIR
    from ..training.devices import find_device

    air = AIR.load(path)
    tune_process(shapes_repeat=not air.config.count.unbounded)
    return air.to(find_device(device))


def load_data(path: str, air: AIR, name: str | None, split: str, **options: Any) -> Dataset:
    """Load a split of the named data or, without a name, of those that a run was trained on.

    Pictures are brought to the model's canvas.
    """
    from ..checkpoints.checkpoint import read_checkpoint
    from ..data import is_path, load_dataset
    from ..training.data import load_training_data, path_options

    if name is not None:
        own = path_options(air.config) if is_path(name) else {}
        return load_dataset(name, split, **(own | options))
    config = read_checkpoint(path).train_config
    if config is None:
        raise ConfigError(f"{path}: not a run, so name the data with --data.")
    return load_training_data(config, split, **options)
