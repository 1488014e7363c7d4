"""Checkpoints: weights as safetensors, everything else as JSON; written atomically.

A checkpoint is a folder:

    state.json                     the config, the step, versions, and the SHA-256 of
    model-<sha256>.safetensors     the parameters and buffers of the AIR
    training-<sha256>.safetensors  the weights in training, moments, random generators (runs only)

A file's name holds the first digits of its SHA-256, so no save touches another's files, and
``state.json`` is replaced last and in one go: whoever reads the folder, also after a crash, finds
either the old checkpoint or the new one. What a save is about to write and to remove stands in
``.saving.json`` meanwhile, so the next one clears up after a crash, and no other file is touched. A
run's folder holds its checkpoint in ``checkpoint/``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ..config import ModelConfig, TrainConfig, from_dict, to_dict
from ..config.migrate import VERSION, migrate
from ..errors import CheckpointError
from ..storage import discard_leftovers, owned, write_atomically
from .find import STATE_FILE, find_checkpoint
from .names import current_names
from .shapes import check_shapes, read_shapes
from .state_dicts import first_not_finite, part_of
from .versions import versions

JOURNAL_FILE = ".saving.json"
PARTS = ("model", "training")

SAVE_TIMEOUT = 10.0
"""Seconds that a save waits for another one to the same folder."""

LOAD_ATTEMPTS = 100
"""How often a checkpoint is read anew that is replaced meanwhile."""

Module = TypeVar("Module", bound=nn.Module)


class SavedModel(Protocol):
    """A module that knows its config, such as an ``AIR``."""

    config: ModelConfig

    def state_dict(self) -> dict[str, Any]:
        """Return the parameters and buffers by name."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds beside the weights."""

    folder: Path
    model_config: ModelConfig
    train_config: TrainConfig | None  # of a run
    step: int
    seconds: float  # of training, without evaluation
    sha256: dict[str, str]  # of the files of "model" and "training"

    stamp: tuple[int, int]  # inode and time of state.json: they change when a save replaces it

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Read the tensors of ``model`` or ``training``, whatever their sizes.

        Raises: CheckpointError if the file is missing or damaged, or if a weight is not finite.
        """
        return self._read(part)

    def weights(self, build: Callable[[ModelConfig], nn.Module]) -> dict[str, Tensor]:
        """Read the tensors of ``model``, once their sizes are known to be those of the config.

        Args:
            build: makes the model of a config, such as the class ``AIR``.
        Raises: as ``tensors``; CheckpointError if the sizes differ or no memory holds them.
        """
        return self._read("model", build)

    def _read(
        self, part: str, build: Callable[[ModelConfig], nn.Module] | None = None
    ) -> dict[str, Tensor]:
        if part not in self.sha256:
            raise CheckpointError(
                f"{self.folder}: holds a model but no training state; only a run can be resumed."
            )
        path = self.folder / _file_name(part, self.sha256[part])
        try:
            with path.open("rb") as file:  # stays readable if a save removes it
                shapes = current_names(read_shapes(file))
                if build is not None:
                    check_shapes(shapes, self.model_config, build)
                content = file.read()
            if hashlib.sha256(content).hexdigest() != self.sha256[part]:
                raise ValueError(f"damaged, its SHA-256 is not the one in {STATE_FILE}")
            tensors = current_names(load(content))
            bad = first_not_finite(tensors if part == "model" else part_of(tensors, "weights"))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}.") from error
        except MemoryError as error:
            raise CheckpointError(f"{path}: larger than the memory.") from error
        except (SafetensorError, RuntimeError) as error:  # or of a type that has no isfinite
            raise CheckpointError(f"{path}: not a safetensors file: {error}.") from error
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}.") from error
        if bad is not None:
            raise CheckpointError(
                f"{path}: {bad} is not finite: training has diverged; train anew with a lower "
                "--learning-rate."
            )
        return tensors


def save_checkpoint(
    folder: str | PathLike[str],
    air: SavedModel,
    *,
    train_config: TrainConfig | None = None,
    step: int = 0,
    seconds: float = 0.0,
    training: dict[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint, replacing the folder's previous one only once this one is complete.

    Args:
        folder: made if need be.
        air: the model to save.
        train_config: the run's settings, if it belongs to a run.
        step: optimization steps taken.
        seconds: time of training so far.
        training: what a run needs to go on beside the model.
    Raises: BusyError if another process goes on writing to the folder; CheckpointError if it holds
        another program's ``state.json``; OSError if the disk refuses to be written to.
    """
    folder = Path(folder)
    contents = {
        part: save({name: value.contiguous().cpu() for name, value in tensors.items()})
        for part, tensors in (("model", air.state_dict()), ("training", training))
        if tensors is not None
    }
    sha256 = {part: hashlib.sha256(content).hexdigest() for part, content in contents.items()}
    state = {
        "version": VERSION,
        "model": to_dict(air.config),
        "train": to_dict(train_config) if train_config is not None else None,
        "step": step,
        "seconds": seconds,
        "sha256": sha256,
        "versions": versions(),
    }
    new = {_file_name(part, digest) for part, digest in sha256.items()}
    with owned(folder, SAVE_TIMEOUT):
        _clear_up(folder)  # after a save that was killed
        journal = sorted(_files_of_state(folder) | new)
        write_atomically(folder / JOURNAL_FILE, json.dumps(journal).encode())
        try:
            for part, content in contents.items():
                write_atomically(folder / _file_name(part, sha256[part]), content)
            write_atomically(folder / STATE_FILE, json.dumps(state, indent=2).encode())
        finally:
            _clear_up(folder)


def _files_of_state(folder: Path) -> set[str]:
    """Return the names of the weights that ``state.json`` lists.

    Raises: CheckpointError if it is another program's file, which a save would replace.
    """
    path = folder / STATE_FILE
    content = path.read_bytes() if path.is_file() else b""
    if not content.strip():
        return set()
    try:
        return _our_names(
            _file_name(part, digest) for part, digest in json.loads(content)["sha256"].items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not a checkpoint's, and saving would replace it; give another folder."
        ) from error


def _clear_up(folder: Path) -> None:
    """Remove what a save's journal lists and ``state.json`` does not, and then the journal."""
    keep, journal = _files_of_state(folder), folder / JOURNAL_FILE
    try:
        listed = _our_names(json.loads(journal.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):  # there was none, or it was cut
        listed = set()
    for name in listed:
        discard_leftovers(folder / name)
        if name not in keep:
            (folder / name).unlink(missing_ok=True)
    discard_leftovers(folder / STATE_FILE)
    discard_leftovers(journal)
    journal.unlink(missing_ok=True)


def _our_names(names: Iterable[str]) -> set[str]:
    pattern = rf"({'|'.join(PARTS)})-[0-9a-f]{{16}}\.safetensors"
    return {name for name in names if re.fullmatch(pattern, name)}


def read_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Read what a checkpoint holds beside the weights.

    Args:
        path: a run's folder, a checkpoint's own, or the name of shipped weights.

    Raises: CheckpointError if there is none or it cannot be read.
    """
    folder = find_checkpoint(path)
    state_file = folder / STATE_FILE
    try:
        with state_file.open("rb") as file:
            status = os.fstat(file.fileno())
            state = migrate(json.loads(file.read()), str(state_file))
        model, train = from_dict(ModelConfig, state["model"]), state["train"]
        config = None if train is None else from_dict(TrainConfig, train)
        if config is not None and config.model != model:
            raise ValueError("model and train.model differ")
        return Checkpoint(
            folder=folder,
            model_config=model,
            train_config=config,
            step=_checked_number(state, "step", int),
            seconds=_checked_number(state, "seconds", int, float),
            sha256=_checked_digests(state["sha256"]),
            stamp=(status.st_ino, status.st_mtime_ns),
        )
    except CheckpointError:  # of a newer version
        raise
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        *(ArithmeticError, RecursionError),
    ) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise CheckpointError(f"{state_file}: damaged or of another version: {reason}.") from error


def _checked_number(state: Mapping[str, Any], name: str, *kinds: type) -> Any:
    value = state[name]
    if type(value) not in kinds or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value


def _checked_digests(sha256: Mapping[str, Any]) -> dict[str, str]:
    if "model" not in sha256:
        raise KeyError("model")
    for part, digest in sha256.items():
        if part not in PARTS or not re.fullmatch("[0-9a-f]{64}", str(digest)):
            raise ValueError(f"sha256 of {part} is {digest!r}")
    return dict(sha256)


def load_checkpoint(
    path: str | PathLike[str], build: Callable[[ModelConfig], Module]
) -> tuple[Checkpoint, Module]:
    """Read a checkpoint and rebuild its model, also while another process saves there.

    Args:
        path: see ``read_checkpoint``.
        build: makes the model of a config, such as the class ``AIR``.
    Returns: the checkpoint, and the model in evaluation mode.
    Raises: CheckpointError if it is missing or damaged.
    """
    for _ in range(LOAD_ATTEMPTS):
        checkpoint = read_checkpoint(path)
        try:
            weights = checkpoint.weights(build)
        except CheckpointError:
            if read_checkpoint(path).stamp == checkpoint.stamp:
                raise
            continue  # a save has replaced it meanwhile, and removed its files
        with torch.random.fork_rng(devices=()):  # the first weights are drawn, and replaced at once
            model = build(checkpoint.model_config)
        model.load_state_dict(weights)
        return checkpoint, model.eval()
    raise CheckpointError(f"{path}: replaced again and again while it was read; try again.")


def _file_name(part: str, sha256: str) -> str:
    return f"{part}-{sha256[:16]}.safetensors"
