"""``train``: what ``air train`` does, from Python. The training itself is in ``training/``."""

from __future__ import annotations

from collections.abc import Collection
from os import PathLike
from pathlib import Path

from .config import TrainConfig
from .data import Dataset, default_config
from .errors import MissingError, warn_once
from .training.session import RunOptions, carry_out


def train(
    config: TrainConfig | str | PathLike[str],
    out: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    device: str = "auto",
    compiled: bool = False,
    quiet: bool = False,
    figures: bool = True,
    validate: bool = True,
    tensorboard: bool = False,
    graphs: bool = True,
    given: Collection[str] | None = None,
) -> Path:
    """Train an AIR and write a run's folder.

    Under ``torchrun``, all its processes train one model, and the first one writes. Random
    generators, settings of torch and Pyro, and signal handlers are as before when it ends.

    Args:
        config: the settings; ``model.canvas_size`` and ``model.channels`` are taken from the data.
            A path in ``data`` is kept as an absolute one. With the preset ``auto``, all settings
            that are still the preset's are chosen from the pictures. The name of a data set or the
            path of images stands for the settings that ``air train --data`` has for it.
        out: the run's folder, new or empty; by default one below ``runs/``.
        resume: go on with the run in this folder instead, from its last checkpoint; from the
            beginning if it was cut before the first.
        device: ``cpu``, ``cuda``, ``cuda:1``, ..., or ``auto`` for a GPU where there is one.
        compiled: run the exact objective compiled, where a compiler is present.
        quiet: show no progress.
        figures: draw the run's figures at the end.
        validate: hold images out and evaluate on them; without it, all are trained on, and there is
            nothing to evaluate, or to draw, unless the data has a test split.
        tensorboard: write the metrics as TensorBoard's events, too, where its package is installed.
        graphs: on a GPU, record the steps of the exact objective as CUDA graphs, with a
            bound and one process.
        given: names of the settings that the preset ``auto`` keeps, such as ``window_size``; if
            None, those that are no longer the preset's.
    Returns: the run's folder. Ctrl-C and SIGTERM save a checkpoint and raise KeyboardInterrupt. If
        training collapses, the log warns of it, and the run goes on: see ``training/collapse.py``.
    Raises: ConfigError, DataError or CheckpointError for what cannot be used; BusyError if another
        process writes to the folder; TrainingError if the ELBO of training or of an evaluation
        stops being a finite number, or the disk refuses to be written to.
    """
    if not isinstance(config, TrainConfig):
        config = default_config(config)
    draw = _plot_run if figures else None
    options = RunOptions(device, compiled, quiet, validate, tensorboard, draw, graphs, given)
    return carry_out(config, out, resume, options)


def _plot_run(run: Path, data: Dataset) -> list[Path]:
    """Draw the figures; none without Matplotlib, of which a warning tells."""
    try:
        from .viz.plots import plot_run  # and with it Matplotlib, which takes a while
    except MissingError as error:
        warn_once(f"Left out: {error}")
        return []
    return plot_run(run, data)
