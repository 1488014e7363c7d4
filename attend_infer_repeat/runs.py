"""A run's folder: config.json, metrics.jsonl, checkpoint/, figures/, TensorBoard events."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .checkpoints import Checkpoint, read_checkpoint, versions, write_atomically
from .config import TrainConfig, to_dict
from .errors import CheckpointError, ConfigError

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"


def new_run(config: TrainConfig, out: Path | None) -> Path:
    """Make the folder of a new run.

    Args:
        config: the run's settings.
        out: the folder; by default the first unused ``runs/<data>-<preset>-<seed>[-<k>]``.
    Raises: ConfigError if ``out`` exists and is not an empty folder.
    """
    if out is None:
        out = _unused(Path("runs") / f"{Path(config.data).stem}-{config.preset}-{config.seed}")
    check_new(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{out}: cannot be made: {error.strerror}; give another --out."
        ) from error
    return out


def check_new(out: Path | None) -> None:
    """Refuse a place that exists and is not an empty folder: ConfigError."""
    if out is not None and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(
            f"{out}: already holds files; give another --out, or go on with --resume {out}."
        )


def write_config(run: Path, config: TrainConfig) -> None:
    """Write config.json: the settings, the versions, and every command that trained the run."""
    record = {
        "config": to_dict(config),
        "commands": [
            *read_provenance(run)["commands"],
            shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        ],
        "versions": versions(),
    }
    (run / CONFIG_FILE).write_text(json.dumps(record, indent=2) + "\n")


def read_provenance(run: Path) -> dict[str, Any]:
    """Return the ``commands`` and ``versions`` in a run's config.json; empty without the file.

    Raises: CheckpointError if the file is damaged.
    """
    path = run / CONFIG_FILE
    try:
        record = json.loads(path.read_bytes()) if path.is_file() else {}
        return {"commands": record.get("commands", []), "versions": record.get("versions", {})}
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged: {error}.") from error


def read_run(folder: Path) -> tuple[Checkpoint, TrainConfig]:
    """Return a run's checkpoint and settings.

    Raises: CheckpointError if there is none, or weights without their run.
    """
    checkpoint = read_checkpoint(folder)
    is_run = checkpoint.folder.resolve() == (folder / "checkpoint").resolve()
    if checkpoint.train_config is None or not is_run:
        raise CheckpointError(
            f"{folder}: a model without its run, so there are no curves to show; give the folder "
            f"of a run that `air train` wrote, or use air evaluate {folder}."
        )
    return checkpoint, checkpoint.train_config


def _unused(path: Path) -> Path:
    candidates = [path, *(path.with_name(f"{path.name}-{k}") for k in range(2, 10_000))]
    return next(candidate for candidate in candidates if not candidate.exists())


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl; a half-written last line is left out."""
    path = run / METRICS_FILE
    lines = path.read_text().splitlines() if path.is_file() else []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


class Metrics:
    """Writes a run's metrics, a line at a time, to metrics.jsonl and to TensorBoard."""

    def __init__(self, run: Path, step: int) -> None:
        """Open the log after optimisation step ``step``; later lines, if any, are dropped.

        They stem from steps that an interrupted run took after its last checkpoint, and that the
        resumed run takes again.
        """
        from torch.utils.tensorboard import SummaryWriter

        path = run / METRICS_FILE
        kept = [json.dumps(r) + "\n" for r in read_metrics(run) if r["step"] <= step]
        write_atomically(path, "".join(kept).encode())
        self._file = path.open("a")
        self._events = SummaryWriter(
            str(run / "tensorboard"), purge_step=step + 1 if step else None
        )

    def write(self, record: dict[str, Any]) -> None:
        """Append one record, which has at least ``step``."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        prefix = record.get("split", "train")
        for name, value in record.items():
            if isinstance(value, float):
                self._events.add_scalar(f"{prefix}/{name}", value, record["step"])

    def close(self) -> None:
        """Flush and close both logs."""
        self._file.close()
        self._events.close()


@contextmanager
def metrics_log(run: Path, step: int) -> Iterator[Metrics]:
    """Open a run's metrics for the length of a ``with`` block."""
    metrics = Metrics(run, step)
    try:
        yield metrics
    finally:
        metrics.close()
