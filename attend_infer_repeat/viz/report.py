"""A report: all that there is to see of a run, in one HTML file that needs no network.

What the run's folder holds comes from there: curves, training time, settings, commands. The rest is
measured on held-out images, the test split where there is one: ``report_images.py``. Nothing is
chosen by them: the one thing that is fitted, the temperature of the count probabilities, is fitted
to validation images, and judged on others.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.versions import versions
from ..config import TrainConfig, flat, get_preset, replace
from ..data import Dataset
from ..errors import ConfigError, DataError
from ..storage import write_atomically
from ..training.collapse import collapse_advice, find_collapse
from ..training.data import load_held_out, load_training_data
from ..training.devices import find_device
from ..training.metrics import read_metrics
from ..training.run import load_run, read_provenance
from .pages import render_page
from .plots import curve_figure
from .report_images import confusion_picture, image_sections, quality_numbers
from .report_parts import Number, Picture, picture


def write_report(
    run: str | os.PathLike[str],
    out: Path | None = None,
    *,
    num_samples: int = 20,
    data: str | None = None,
    split: str | None = None,
    device: str = "auto",
) -> Path:
    """Write a run's report.

    Where the run's own images are gone, the report says so and leaves out what needs them.

    Args:
        run: the folder.
        out: the file to write, or to replace; ``report.html`` in the run's folder if None.
        num_samples: K of the importance-weighted count probabilities; 0 leaves them out.
        data: data set or path to look at instead of the run's own.
        split: part of it; by default test, or validation where there is no test.
        device: as in ``train``.
    Returns: the file.
    Raises: CheckpointError if the folder holds no run; ConfigError if an option is out of range;
        DataError if data or a split was asked for that is not there; ShapeError if its images do
        not fit the model.
    """
    folder = Path(run)
    target = folder / "report.html" if out is None else Path(out)
    _check_options(target, num_samples)
    checkpoint, config, air = load_run(folder)
    air = air.to(find_device(device))
    if data is not None:  # whose options may differ
        own = {"canvas": None, "channels": None, "max_count": None, "fingerprints": ()}
        config = replace(config, data=data, **own)
    held_out, notice = _load(config, split, must_exist=data is not None or split is not None)
    records = read_metrics(folder)
    page = _run_sections(folder, checkpoint, records) | {"notice": notice}
    page["collapsed"] = _collapsed(checkpoint, records)
    if held_out is None:
        page |= _sections_without_images(records)
    else:
        page |= image_sections(air, held_out, config, num_samples, checkpoint.step)
    page["headline"].append(_training_time(checkpoint))
    html = render_page("report.html", page)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, html.encode(errors="replace"))
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {error.strerror}.") from error
    return target


def _check_options(target: Path, num_samples: int) -> None:
    if num_samples < 0:
        raise ConfigError(f"samples: must not be negative: {num_samples}.")
    if target.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"out: expected a file that ends in .html, got {target}.")


def _load(
    config: TrainConfig, split: str | None, must_exist: bool
) -> tuple[Dataset | None, str | None]:
    """Return the images to look at, or None and a notice why there are none."""
    try:
        data = load_held_out(config) if split is None else load_training_data(config, split)
    except DataError as error:
        if must_exist:
            raise
        return None, f"The run's images are gone; what needs them is left out. {error}"
    if data.counts is None or (data.counts >= 0).all():
        return data, None
    # Where some counts are known, those images tell the most.
    counted = data.counted()
    return (
        counted if len(counted) else dataclasses.replace(data, counts=None, boxes=None, labels=None)
    ), None


def _run_sections(
    folder: Path, checkpoint: Checkpoint, records: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return what the folder tells."""
    config = checkpoint.train_config
    assert config is not None
    provenance = read_provenance(folder)
    return {
        "name": folder.resolve().name,
        "data": config.dataset.data,
        "step": checkpoint.step,
        "num_steps": config.optimizer.num_steps,
        "curves": _curves(records),
        "training": _training_rows(records, checkpoint),
        "config": _config_rows(config),
        "preset": config.preset,
        "versions": _version_rows(provenance["versions"]),
        "commands": provenance["commands"],
    }


def _sections_without_images(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the last evaluation tells, if the run came that far."""
    evaluations = [record for record in records if "split" in record]
    last = evaluations[-1] if evaluations else None
    return {
        "where": None if last is None else f"{last['split']} split, step {last['step']:,}",
        "headline": [] if last is None else quality_numbers(last),
        "confusion": None if last is None else confusion_picture(last),
        "images": None,
    }


def _collapsed(checkpoint: Checkpoint, records: Sequence[dict[str, Any]]) -> str | None:
    """Return how the training has collapsed, and what to try; None if it has not."""
    config = checkpoint.train_config
    assert config is not None
    evaluations = [r for r in records if r.get("split") == config.output.eval_split]
    reason = find_collapse(evaluations, config.optimizer.num_steps)
    if reason is None:
        return None
    return f"Training has collapsed: {reason}; {collapse_advice(config)}."


def _curves(records: Sequence[dict[str, Any]]) -> list[Picture]:
    curves = []
    for name, label in (("elbo", "ELBO (nats per image)"), ("count_accuracy", "count accuracy")):
        figure = curve_figure(records, name, label)
        if figure is not None:
            lasts = figure.axes[0].get_legend_handles_labels()[1]
            curves.append(picture(figure, f"{label} by training step; at last {', '.join(lasts)}"))
    return curves


def _training_rows(
    records: Sequence[dict[str, Any]], checkpoint: Checkpoint
) -> list[tuple[str, str]]:
    seconds = f"{_duration(checkpoint.seconds)} for {checkpoint.step:,} steps, without evaluation"
    known = (record.get("images_per_second") for record in records)
    rates = [rate for rate in known if rate is not None]
    speed = f"{np.median(rates):,.0f} images/s, median over the run" if rates else "not recorded"
    return [("training", seconds), ("training speed", speed)]


def _training_time(checkpoint: Checkpoint) -> Number:
    config = checkpoint.train_config
    assert config is not None
    optimizer = config.optimizer
    steps = f"{checkpoint.step:,} of {optimizer.num_steps:,} steps of {optimizer.batch_size} images"
    return Number("training time", _duration(checkpoint.seconds), steps)


def _config_rows(config: TrainConfig) -> list[tuple[str, str, str | None]]:
    """Return each setting's name, value, and the preset's value where that differs."""
    preset = flat(get_preset(config.preset))
    return [
        (name, _shown(value), None if value == preset[name] else _shown(preset[name]))
        for name, value in flat(config).items()
    ]


def _version_rows(trained: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, version while training, and version now."""
    now = versions()
    return [(n, _shown(trained.get(n)), _shown(now.get(n))) for n in {**trained, **now}]


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _duration(seconds: float) -> str:
    """Return a length of time for people: ``7.3 s``, ``1 min 12 s`` or ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
