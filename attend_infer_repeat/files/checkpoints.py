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
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any

import pyro
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .. import __version__
from ..air import AIR
from ..config import ModelConfig, TrainConfig, from_dict, to_dict
from ..errors import CheckpointError, nearest
from .names import current_names
from .storage import discard_leftovers, owned, write_atomically

STATE_FILE = "state.json"
CONFIG_FILE = "config.json"  # of a run
JOURNAL_FILE = ".saving.json"
PARTS = ("model", "training")

PATIENCE = 10.0
"""Seconds that a save waits for another one to the same folder."""

LOAD_ATTEMPTS = 100
"""How often a checkpoint is read anew that is replaced meanwhile."""

SMALL_SIZES = 2**14
"""Most that the sizes of all layers may come to in a model that is small by its config."""

MOST_NUMBERS = 2**32
"""Most numbers that one image's canvases may take, with the model's tables: 16 GiB."""

WEIGHTS = Path(__file__).parents[1] / "weights"
"""Where the trained models that come with the package are, a checkpoint's folder each."""

PROJECT = "attend-infer-repeat"

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

    stamp: tuple[int, int]  # inode and time of state.json: they change when a save replaces it

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Read the tensors of ``model`` or ``training``.

        The sizes are checked before much memory is taken, whatever the files say.

        Raises: CheckpointError if the file is missing or damaged, if the model has other sizes than
            the config, or if a weight is not finite.
        """
        if part not in self.sha256:
            raise CheckpointError(
                f"{self.folder}: holds a model but no training state; only a run can be resumed."
            )
        path = self.folder / _file_name(part, self.sha256[part])
        try:
            with path.open("rb") as file:  # stays readable if a save removes it
                shapes = current_names(_read_shapes(file))
                if part == "model":
                    self._check_sizes(shapes)
                content = file.read()
            if hashlib.sha256(content).hexdigest() != self.sha256[part]:
                raise ValueError(f"damaged, its SHA-256 is not the one in {STATE_FILE}")
            tensors = current_names(load(content))
            bad = not_finite(tensors if part == "model" else part_of(tensors, "weights"))
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

    def _check_sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare the sizes in the file with those of the config, without taking their memory.

        Raises: ValueError if they differ, or if no memory holds what does not stand in the file.
        """
        config = self.model_config
        try:
            air = _of_sizes_alone(config)
        except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
            raise ValueError(
                f"does not fit the sizes in {STATE_FILE}, which no memory holds"
            ) from error
        expected = {name: tuple(value.shape) for name, value in air.state_dict().items()}
        if shapes != expected:
            name = min(n for n in {**shapes, **expected} if shapes.get(n) != expected.get(n))
            raise ValueError(
                f"the weights do not fit the config in {STATE_FILE}: {name} is "
                f"{shapes.get(name, 'absent')}, expected {expected.get(name, 'nothing')}; "
                "if another version of the package wrote them, use that one, or train again"
            )
        canvases = (config.max_steps + 1) * config.channels * math.prod(config.canvas_size)
        numbers = canvases + sum(buffer.numel() for buffer in air.buffers())
        if numbers > MOST_NUMBERS:
            raise ValueError(
                f"canvas_size {config.canvas_size} and {config.max_steps} steps in {STATE_FILE} "
                "need more memory than there is"
            )


def _of_sizes_alone(config: ModelConfig) -> AIR:
    """Return an AIR whose tensors have the right shapes, without much memory.

    On the device "meta" they have nothing else. The first time, torch takes a second to import what
    it needs for that: a model that is small by its config is just built.
    """
    sizes = sum(
        sum(value) if isinstance(value, tuple) else value
        for value in vars(config).values()
        if type(value) is int or (isinstance(value, tuple) and all(type(v) is int for v in value))
    )
    areas = math.prod(config.canvas_size) + config.window_size**2
    small = sizes + (config.channels + 1) * areas <= SMALL_SIZES
    device = nullcontext() if small else torch.device("meta")
    with torch.random.fork_rng(devices=()), pyro.validation_enabled(False), device:
        return AIR(config)


def _read_shapes(file: IO[bytes]) -> dict[str, tuple[int, ...]]:
    """Return the shapes in a safetensors file's header, and go back to its beginning.

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


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of a tensor with an infinite value or NaN; None if there is none."""
    return next((name for name, value in tensors.items() if not value.isfinite().all()), None)


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
        "model": to_dict(air.config),
        "train": to_dict(train_config) if train_config is not None else None,
        "step": step,
        "seconds": seconds,
        "sha256": sha256,
        "versions": versions(),
    }
    new = {_file_name(part, digest) for part, digest in sha256.items()}
    with owned(folder, PATIENCE):
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


def has_checkpoint(run: Path) -> bool:
    """Tell whether a run has saved anything yet."""
    return (run / "checkpoint" / STATE_FILE).is_file()


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
        with state_file.open("rb") as file:
            status = os.fstat(file.fileno())
            state = json.loads(file.read())
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


def shipped() -> list[str]:
    """Return the names of the trained models that come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{STATE_FILE}"))


def _why_none(path: Path) -> str:
    """Say why there is no checkpoint at a path, and what to do."""
    advice = "give a folder that `air train` wrote"
    if path.is_dir():
        if (path / CONFIG_FILE).is_file():
            return f"a run without a checkpoint as yet; go on with: air train --resume {path}."
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
    """Rebuild the AIR of a run or checkpoint, also while another process saves there.

    Raises: CheckpointError if it is missing or damaged.
    """
    return load_checkpoint(path)[1]


def load_checkpoint(path: str | PathLike[str]) -> tuple[Checkpoint, AIR]:
    """Read a checkpoint and rebuild its AIR: see ``load_model``."""
    for _ in range(LOAD_ATTEMPTS):
        checkpoint = read_checkpoint(path)
        try:
            tensors = checkpoint.tensors("model")
        except CheckpointError:
            if read_checkpoint(path).stamp == checkpoint.stamp:
                raise
            continue  # a save has replaced it meanwhile, and removed its files
        air = AIR(checkpoint.model_config)
        air.load_state_dict(tensors)
        return checkpoint, air.eval()
    raise CheckpointError(f"{path}: replaced again and again while it was read; try again.")


def versions() -> dict[str, str | None]:
    """Return what made a result: versions of the software, and the commit of a checkout."""
    return {
        "attend_infer_repeat": __version__,
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "python": platform.python_version(),
        "commit": commit_of(Path(__file__).parents[1]),
    }


def commit_of(package: Path) -> str | None:
    """Return the commit of the checkout of this project that a package's folder is part of.

    None if it is part of none: installed, it may lie in a repository of the user's, whose commit
    says nothing about the package.
    """
    # Where git itself called, as from a hook, its variables would name another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *command],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            env=environment,
        ).stdout.strip()

    try:
        project = Path(git("rev-parse", "--show-toplevel"))
        if not (project / package.name).samefile(package):
            return None
        if f'name = "{PROJECT}"' not in (project / "pyproject.toml").read_text(encoding="utf-8"):
            return None
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--dirty") or None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _file_name(part: str, sha256: str) -> str:
    return f"{part}-{sha256[:16]}.safetensors"
