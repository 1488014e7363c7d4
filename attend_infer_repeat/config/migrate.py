"""Read the settings that earlier versions wrote, in ``config.json`` and ``state.json``.

Both files bear the version of their form. A new form is a new version: it raises ``VERSION`` and
adds the step that leads to it to ``STEPS``. Names of weights: ``checkpoints.names``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import CheckpointError, ConfigError
from .base import in_parts
from .model import ModelConfig
from .training import TrainConfig

VERSION = 4
"""1: settings side by side, without a version. 2: settings in parts. 3: no learned proposals, and
the guide pursuit also takes a glimpse of the image. 4: elimination is a move of refinement."""

UNREADABLE: dict[str, Callable[[Any], bool]] = {
    "composite_share": lambda value: value != 0.5,
    "guide": lambda value: value in ("residual", "pursuit"),  # of version 1 and 2: other weights
}
"""Settings of earlier versions, and which of their values this one can do nothing with."""

REMOVED = ("composite_share", "propose_net")
"""Settings of earlier versions that are gone."""

Record = dict[str, Any]


def migrate(record: Record, file: str) -> Record:
    """Bring the content of ``config.json`` or ``state.json`` to the form of this version.

    Args:
        record: what the file holds.
        file: its name, for the error.
    Raises: CheckpointError if a newer version wrote it; ConfigError if it has settings that are
        gone, with a value without which this version cannot do; TypeError or AttributeError if it
        is damaged.
    """
    version = version_of(record)
    if version > VERSION:
        raise CheckpointError(
            f"{file}: of version {version}, and this package reads versions up to {VERSION}; "
            "update it: pip install --upgrade attend-infer-repeat."
        )
    for step in STEPS[version - 1 :]:
        record = step(record)
    return record | {"version": VERSION}


def version_of(record: Mapping[str, Any]) -> int:
    """Return the version of a file's form. Raises: ConfigError if that is no version."""
    version = record.get("version", 1)
    if type(version) is not int or version < 1:
        raise ConfigError(f"version is {version!r}")
    return version


def _into_parts(record: Record) -> Record:
    """Lead from version 1 to 2."""
    kinds = {"config": TrainConfig, "train": TrainConfig, "model": ModelConfig}
    return record | {
        key: in_parts(kind, _without_removed(record[key]))
        for key, kind in kinds.items()
        if record.get(key) is not None
    }


def _without_learned_proposals(record: Record) -> Record:
    """Lead from version 2 to 3."""
    return record | {
        key: _without_removed(record[key])
        for key in ("config", "train", "model")
        if record.get(key) is not None
    }


def _without_removed(settings: Mapping[str, Any]) -> Record:
    kept: Record = {}
    for name, value in settings.items():
        if name in UNREADABLE and UNREADABLE[name](value):
            raise ConfigError(
                f"{name} {value!r}: of an earlier version, and this one cannot go on with it; "
                "train anew, or use the version that wrote the file"
            )
        if name not in REMOVED:
            kept[name] = _without_removed(value) if isinstance(value, Mapping) else value
    return kept


def _with_refinement(record: Record) -> Record:
    """Lead from version 3 to 4."""
    return {key: _renamed(value) for key, value in record.items()}


def _renamed(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    new = {"elimination": "refinement"}
    return {new.get(name, name): _renamed(own) for name, own in value.items()}


STEPS: tuple[Callable[[Record], Record], ...] = (
    _into_parts,
    _without_learned_proposals,
    _with_refinement,
)
"""Each leads from one version to the next, from 1 on."""
