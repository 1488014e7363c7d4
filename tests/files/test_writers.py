"""Whatever writes a file leaves the old one, whole, if the disk refuses the new one."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exact import TINY, make_air
from matplotlib.figure import Figure

from attend_infer_repeat import AirError, TrainConfig
from attend_infer_repeat.checkpoints.checkpoint import save_checkpoint
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.training.metrics import Metrics
from attend_infer_repeat.training.run import mark_finished, write_config
from attend_infer_repeat.viz.animation import save_inference_animation
from attend_infer_repeat.viz.plots import save_figure
from attend_infer_repeat.viz.report import write_report


def make_run(folder: Path) -> TrainConfig:
    """Write a run as far as a report needs it."""
    np.savez(folder / "noise.npz", images=np.zeros((20, *TINY.canvas_size), np.uint8))
    config = replace(TrainConfig(), data=str(folder / "noise.npz"), model=TINY)
    save_checkpoint(folder / "run" / "checkpoint", make_air(), train_config=config)
    return config


def write_checkpoint(folder: Path, seed: int) -> None:
    make_air(seed=seed).save(folder / "model")


def write_configuration(folder: Path, seed: int) -> None:
    write_config(folder, replace(TrainConfig(), seed=seed))
    mark_finished(folder, seed)


def open_metrics(folder: Path, seed: int) -> None:
    log = Metrics(folder, step=4 * (seed - 1))
    for step in range(4 * (seed - 1) + 1, 9):
        log.write({"step": step, "elbo": step / 3, "seconds": step / 7})
    log.close()


def write_a_figure(folder: Path, seed: int) -> None:
    figure = Figure(figsize=(1, 1))
    figure.text(0, 0.5, str(seed))
    save_figure(figure, folder / "figure.png")


def write_samples(folder: Path, seed: int) -> None:
    write = f"sample {folder / 'run'} -n 2 --seed {seed} --out {folder / 'samples.png'}"
    if main(write.split()):
        raise OSError


def write_a_report(folder: Path, seed: int) -> None:
    write_report(folder / "run", folder / "report.html", num_samples=0)


def write_an_animation(folder: Path, seed: int) -> None:
    image = np.full(TINY.canvas_size, 40 * seed, np.uint8)
    save_inference_animation(make_air(), image, folder / "x.gif", width=90, frame_ms=900)


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "checkpoint": write_checkpoint,
    "config.json": write_configuration,
    "metrics.jsonl": open_metrics,
    "figure": write_a_figure,
    "samples": write_samples,
    "report": write_a_report,
    "animation": write_an_animation,
}


@contextmanager
def nothing_reaches_the_disk() -> Iterator[None]:
    """Fill the disk when all of a file is written: a disk may say so no sooner."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        yield


@contextmanager
def half_reaches_the_disk() -> Iterator[None]:
    """Let no file grow beyond some bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def snapshot(folder: Path) -> dict[Path, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "tfevents" not in path.name)
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize("disk", [nothing_reaches_the_disk, half_reaches_the_disk])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_disk_that_refuses_a_new_file_leaves_the_old_one_and_nothing_else(
    write: Callable[[Path, int], None], disk: Callable[[], Iterator[None]], tmp_path: Path
) -> None:
    make_run(tmp_path)
    write(tmp_path, 1)
    before = snapshot(tmp_path)
    with disk(), pytest.raises((OSError, AirError)):
        write(tmp_path, 2)
    assert snapshot(tmp_path) == before
