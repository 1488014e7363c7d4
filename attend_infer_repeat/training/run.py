"""A run's folder: who may write to it, and its config.json.

Beside that it holds metrics.jsonl, checkpoint/, figures/ and, if asked for, tensorboard/.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..air import AIR
from ..checkpoints.checkpoint import Checkpoint, load_checkpoint, read_checkpoint
from ..checkpoints.find import CONFIG_FILE, has_checkpoint
from ..checkpoints.versions import versions
from ..config import TrainConfig, from_dict, to_dict
from ..config.migrate import VERSION, migrate
from ..errors import CheckpointError, ConfigError, TrainingError
from ..storage import LOCK_FILE, discard_leftovers, is_empty, owned, write_atomically

METRICS_FILE = "metrics.jsonl"

logger = logging.getLogger(__name__)


@contextmanager
def new_run(config: TrainConfig, out: Path | None) -> Iterator[Path]:
    """Make the folder of a new run and own it, for the length of a ``with`` block.

    Args:
        config: the run's settings.
        out: the folder; by default the first unused ``runs/<data>-<preset>-<seed>[-<k>]``.
    Raises: ConfigError if ``out`` cannot be made, or exists and is not an empty folder; BusyError
        if another process writes to it.
    """
    if out is None:
        out = _make_unused(
            Path("runs") / f"{Path(config.dataset.data).stem}-{config.preset}-{config.seed}"
        )
    check_new(out)
    with ExitStack() as stack:
        try:
            stack.enter_context(_owned_run(out))
            empty = is_empty(out)
        except OSError as error:
            raise _cannot_be_made(out, error) from error
        if not empty:  # another run began and ended since
            raise _holds_files(out)
        yield out


@contextmanager
def resumed_run(run: Path) -> Iterator[tuple[TrainConfig, Checkpoint | None]]:
    """Own the folder of a run that goes on, for the length of a ``with`` block.

    Yields: as ``resumable``.
    Raises: as ``resumable``; BusyError if another process writes to it.
    """
    resumable(run)  # nothing is made where there is no run
    with ExitStack() as stack:
        with writing(run):
            stack.enter_context(_owned_run(run))
        yield resumable(run)


def resumable(run: Path) -> tuple[TrainConfig, Checkpoint | None]:
    """Return the settings of a run and its last checkpoint.

    The checkpoint is None if the run was cut before it saved one.

    Raises: CheckpointError if there is no run, or if what is needed of it is damaged.
    """
    if not has_checkpoint(run) and (run / CONFIG_FILE).is_file():
        record = _read_config_file(run)
        try:
            settings = migrate(record, str(run / CONFIG_FILE))["config"]
            return from_dict(TrainConfig, settings), None
        except CheckpointError:  # of a newer version
            raise
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise _damaged(run, error) from error
    checkpoint = read_checkpoint(run)
    if checkpoint.train_config is None:
        raise CheckpointError(f"{run}: a model without a run; nothing to resume.")
    if checkpoint.folder != run / "checkpoint":
        raise CheckpointError(f"{run}: a checkpoint; give the run's folder, which holds it.")
    return checkpoint.train_config, checkpoint


def check_new(out: Path) -> None:
    """Refuse a place that exists and is not an empty folder.

    Raises: BusyError if a process is writing to it, else ConfigError.
    """
    try:
        if not out.exists() or (out.is_dir() and is_empty(out)):
            return
        if (out / LOCK_FILE).exists():
            with owned(out):  # a process that was killed holds it no more
                pass
    except OSError as error:
        raise _cannot_be_made(out, error) from error
    raise _holds_files(out)


@contextmanager
def writing(run: Path) -> Iterator[None]:
    """Turn the error of a full or read-only disk into one that says how to go on.

    Raises: TrainingError.
    """
    try:
        yield
    except OSError as error:
        advice = "Nothing was saved; make room, or give another --out."
        if os.path.isfile(run / CONFIG_FILE) or has_checkpoint(run):
            advice = f"What was saved last is sound; go on with: air train --resume {run}"
        raise TrainingError(
            f"{error.filename or run}: cannot be written: {error.strerror or error}. {advice}"
        ) from error


@contextmanager
def _owned_run(run: Path) -> Iterator[None]:
    """Own a run's folder, and remove the files that a killed process has written by half."""
    with owned(run):
        for name in (CONFIG_FILE, METRICS_FILE):
            discard_leftovers(run / name)
        yield


def _make_unused(path: Path) -> Path:
    """Make a folder of that name or, if there is one already, with the first free number."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for candidate in (path, *(path.with_name(f"{path.name}-{k}") for k in range(2, 10_000))):
            try:
                candidate.mkdir()  # of the processes that try at once, one succeeds
                return candidate
            except FileExistsError:
                continue
    except OSError as error:
        raise _cannot_be_made(path, error) from error
    raise ConfigError(f"{path}: there are 10,000 runs of that name; give --out.")


def _cannot_be_made(out: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{out}: cannot be made: {error.strerror}; give another --out.")


def _holds_files(out: Path) -> ConfigError:
    advice = f", or go on with --resume {out}" if (out / CONFIG_FILE).is_file() else ""
    return ConfigError(f"{out}: already holds files; give another --out{advice}.")


# config.json


def write_config(run: Path, config: TrainConfig) -> None:
    """Write config.json: the settings, the versions, and every command that trained the run."""
    try:
        commands = read_provenance(run)["commands"]
    except CheckpointError as error:  # the checkpoint has what training needs
        logger.warning("%s The list of commands in it begins anew.", error)
        commands = []
    commands = [*commands, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])]
    _write_config_file(
        run,
        {
            "version": VERSION,
            "config": to_dict(config),
            "commands": commands,
            "versions": versions(),
            "finished": None,
        },
    )


def write_settings(run: Path, config: TrainConfig) -> None:
    """Write other settings into config.json, and leave what else is in it."""
    _write_config_file(run, _read_config_file(run) | {"config": to_dict(config)})


def mark_finished(run: Path, step: int) -> None:
    """Note in config.json that the run is done at a step: it is tested, its figures are drawn."""
    _write_config_file(run, _read_config_file(run) | {"finished": step})


def is_finished(run: Path, step: int) -> bool:
    """Tell whether nothing is left to do after a step, the run's last."""
    try:
        record = _read_config_file(run)
    except CheckpointError:
        return False
    if record and "finished" not in record:  # of a version that drew the figures last
        return (run / "figures").exists()
    return bool(record.get("finished") == step)


def read_provenance(run: Path) -> dict[str, Any]:
    """Return the ``commands`` and ``versions`` in a run's config.json; empty without the file.

    Raises: CheckpointError if the file is damaged.
    """
    record = _read_config_file(run)
    commands, made_with = record.get("commands", []), record.get("versions", {})
    if not isinstance(commands, list) or not all(isinstance(line, str) for line in commands):
        raise _damaged(run, "commands are not a list of lines")
    if not isinstance(made_with, dict):
        raise _damaged(run, "versions are not an object")
    return {"commands": commands, "versions": made_with}


def _read_config_file(run: Path) -> dict[str, Any]:
    path = run / CONFIG_FILE
    try:
        record = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(run, error) from error
    if not isinstance(record, dict):
        raise _damaged(run, "not an object")
    return record


def _write_config_file(run: Path, record: dict[str, Any]) -> None:
    with writing(run):
        write_atomically(run / CONFIG_FILE, json.dumps(record, indent=2).encode() + b"\n")


def _damaged(run: Path, reason: object) -> CheckpointError:
    return CheckpointError(f"{run / CONFIG_FILE}: damaged: {str(reason).rstrip('.')}.")


def load_run(folder: Path) -> tuple[Checkpoint, TrainConfig, AIR]:
    """Return a run's checkpoint, settings and model.

    Raises: CheckpointError if there is none, or weights without their run.
    """
    checkpoint, air = load_checkpoint(folder, AIR)
    is_run = checkpoint.folder.resolve() == (folder / "checkpoint").resolve()
    if checkpoint.train_config is None or not is_run:
        raise CheckpointError(
            f"{folder}: a model without its run, so there are no curves to show; give the folder "
            f"of a run that `air train` wrote, or use air evaluate {folder}."
        )
    return checkpoint, checkpoint.train_config, air
