"""Checkpoints: weights as safetensors, everything else as JSON; written atomically.

A checkpoint is a folder:

    state.json                     the config, the step, versions, and the SHA-256 of
    model-<sha256>.safetensors     the parameters and buffers of the AIR
    training-<sha256>.safetensors  the weights in training, moments, random generators (runs only)

A file's name holds the first digits of its SHA-256, so no save touches another's files, and
``state.json`` is replaced last and in one go: whoever reads the folder, also after a crash, finds
either the old checkpoint or the new one. A run's folder holds its own in ``checkpoint/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from . import __version__
from .air import AIR
from .config import ModelConfig, TrainConfig, from_dict, to_dict
from .errors import CheckpointError, nearest

STATE_FILE = "state.json"
TEMPORARY = ".tmp"

WEIGHTS = Path(__file__).parent / "weights"
"""Where the trained models that come with the package are, a checkpoint's folder each."""

PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds beside the weights."""

    folder: Path
    model_config: ModelConfig
    train_config: TrainConfig | None  # of a run
    step: int
    seconds: float  # of training, without evaluation
    sha256: dict[str, str]  # of the files of "model" and "training"

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Read the tensors of ``model`` or ``training``.

        Raises: CheckpointError if the file is missing or damaged.
        """
        if part not in self.sha256:
            raise CheckpointError(
                f"{self.folder}: holds a model but no training state; only a run can be resumed."
            )
        path = self.folder / _file_name(part, self.sha256[part])
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}.") from error
        if hashlib.sha256(content).hexdigest() != self.sha256[part]:
            raise CheckpointError(f"{path}: damaged, its SHA-256 is not the one in {STATE_FILE}.")
        try:
            return load(content)
        except SafetensorError as error:
            raise CheckpointError(f"{path}: not a safetensors file: {error}.") from error


def prefixed(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put tensors under ``part/``, so that those of several owners fit into one file."""
    return {f"{part}/{name}": value for name, value in tensors.items()}


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Undo ``prefixed`` for one part of many."""
    return {k.removeprefix(f"{part}/"): v for k, v in tensors.items() if k.startswith(f"{part}/")}


def save_checkpoint(
    folder: str | PathLike[str],
    air: AIR,
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
        step: optimisation steps taken.
        seconds: time of training so far.
        training: what a run needs to go on beside the model.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = {}
    for part, tensors in (("model", air.state_dict()), ("training", training)):
        if tensors is not None:
            content = save({name: value.contiguous().cpu() for name, value in tensors.items()})
            sha256[part] = hashlib.sha256(content).hexdigest()
            write_atomically(folder / _file_name(part, sha256[part]), content)
    state = {
        "model": to_dict(air.config),
        "train": to_dict(train_config) if train_config is not None else None,
        "step": step,
        "seconds": seconds,
        "sha256": sha256,
        "versions": versions(),
    }
    write_atomically(folder / STATE_FILE, json.dumps(state, indent=2).encode())
    current = {_file_name(part, digest) for part, digest in sha256.items()}
    for path in (*folder.glob("*.safetensors"), *folder.glob(f"*{TEMPORARY}")):
        if path.name not in current:
            path.unlink()


def read_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Find the checkpoint of a run's folder, at a checkpoint's own, or of shipped weights by name.

    Raises: CheckpointError if there is none or it cannot be read.
    """
    given = WEIGHTS / str(path) if str(path) in shipped() else Path(path)
    for folder in (given / "checkpoint", given):
        state_file = folder / STATE_FILE
        if state_file.is_file():
            break
    else:
        raise CheckpointError(f"{given}: {_why_none(given)}")
    try:
        state = json.loads(state_file.read_bytes())
        train = state["train"]
        if "model" not in state["sha256"]:
            raise KeyError("model")
        return Checkpoint(
            folder=folder,
            model_config=from_dict(ModelConfig, state["model"]),
            train_config=None if train is None else from_dict(TrainConfig, train),
            step=state["step"],
            seconds=state["seconds"],
            sha256={part: str(digest) for part, digest in state["sha256"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise CheckpointError(f"{state_file}: damaged or of another version: {reason}.") from error


def shipped() -> list[str]:
    """Return the names of the trained models that come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{STATE_FILE}"))


def _why_none(path: Path) -> str:
    """Say why there is no checkpoint at a path, and what to do."""
    advice = "give a folder that `air train` wrote"
    if path.is_dir():
        pickles = [file for file in sorted(path.iterdir()) if file.suffix in PICKLES]
        if not pickles:
            return f"holds no checkpoint; {advice}."
        path = pickles[0]
    if not path.exists():
        known = shipped()
        return (
            f"no such run or checkpoint; {advice}, or one of {', '.join(known)}."
            f"{nearest(str(path), known)}"
        )
    if path.suffix in PICKLES or _is_pickle(path):
        return (
            "a pickle, which can run any program when it is read, so it is not; weights are read "
            f"as safetensors alone: {advice}."
        )
    return f"a file; {advice}."


def _is_pickle(path: Path) -> bool:
    """Tell by its first bytes whether a file is a pickle, or one of torch's archives of them."""
    try:
        with path.open("rb") as file:
            return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    except OSError:
        return False


def load_model(path: str | PathLike[str]) -> AIR:
    """Rebuild the AIR of a run or checkpoint.

    Raises: CheckpointError if it is missing or damaged.
    """
    checkpoint = read_checkpoint(path)
    air = AIR(checkpoint.model_config)
    load_weights(air, checkpoint)
    return air.eval()


def load_weights(air: AIR, checkpoint: Checkpoint) -> None:
    """Give an AIR the weights of a checkpoint.

    Raises: CheckpointError if they are damaged, or not those of such a model.
    """
    try:
        air.load_state_dict(checkpoint.tensors("model"))
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.folder}: the weights do not fit the config in {STATE_FILE}; if another "
            "version of the package wrote them (it stands there), use that one, or train again."
        ) from error


def versions() -> dict[str, str | None]:
    """Return what made a result: versions of the software, and the commit of a checkout."""
    import pyro

    return {
        "attend_infer_repeat": __version__,
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None


def _file_name(part: str, sha256: str) -> str:
    return f"{part}-{sha256[:16]}.safetensors"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one go: readers find the old content or the new, also after a crash."""
    temporary = path.with_name(path.name + TEMPORARY)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
