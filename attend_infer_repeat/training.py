"""The training loop: steps, evaluations, checkpoints, and going on after an interruption."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from .air import AIR
from .arrays import as_images
from .averaging import RunningMean
from .checkpoints import Checkpoint, part_of, prefixed, read_checkpoint, save_checkpoint
from .config import TrainConfig, differences, for_images
from .data import Dataset, hold_out, load_dataset
from .devices import find_device
from .errors import AirError, CheckpointError, ConfigError, DataError
from .evaluation import Evaluation, evaluate
from .objectives import OBJECTIVES, Objective
from .progress import Progress
from .runs import Metrics, metrics_log, new_run, write_config
from .schedules import Anneal, cosine_decay

# What a resumed run may change: it moves the end or the reports, not what was learned so far.
RESUMABLE = ("num_steps", "eval_every", "eval_split", "save_every", "progress_every")


class TrainingError(AirError):
    """Training cannot go on."""


def train(
    config: TrainConfig,
    out: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """Train an AIR and write a run's folder.

    Args:
        config: the settings; ``model.canvas_size`` and ``model.channels`` are taken from the data.
        out: the run's folder, new or empty; by default one below ``runs/``.
        resume: go on with the run in this folder instead, from its last checkpoint.
        device: ``cpu``, ``cuda``, ``cuda:1``, ..., or ``auto`` for a GPU where there is one.
        quiet: show no progress.
    Returns: the run's folder. Ctrl-C and SIGTERM save a checkpoint and raise KeyboardInterrupt.
    Raises: ConfigError, DataError or CheckpointError for what cannot be used; TrainingError if
        the ELBO stops being a finite number.
    """
    trained_on = find_device(device)
    checkpoint = None if resume is None else read_checkpoint(resume)
    data, held_out = hold_out(load_training_data(config))
    config = for_images(config, data.canvas_size, data.channels)
    if checkpoint is None:
        run = new_run(config, None if out is None else Path(out))
    else:
        run = Path(resume)  # type: ignore[arg-type]
        _check_resumable(run, checkpoint, config, out)
    state = _start(config, data, trained_on, checkpoint)
    write_config(run, config)
    if config.eval_split == "test":
        held_out = load_training_data(config, "test")
    with Progress(config, state.step, run, quiet) as progress:
        _train(state, run, held_out, progress)
        _finish(state, run, progress)
    return run


def load_training_data(config: TrainConfig, split: str = "train", **options: int) -> Dataset:
    """Load a split of a run's data set, with the options that the run was given, or with others."""
    own = {
        "canvas_size": config.canvas,
        "channels": config.channels,
        "max_count": config.max_count,
    }
    given = {name: value for name, value in own.items() if value is not None}
    return load_dataset(config.data, split, **(given | options))


@dataclass
class TrainingState:
    """All that changes while training."""

    config: TrainConfig
    objective: Objective
    mean: RunningMean
    step: int
    seconds: float

    @property
    def air(self) -> AIR:
        """The model as it is evaluated and saved."""
        return self.mean.air


def _check_resumable(
    run: Path, checkpoint: Checkpoint, config: TrainConfig, out: Path | str | None
) -> None:
    if out is not None:
        raise ConfigError("out: a resumed run stays in its folder; leave --out or --resume out.")
    if checkpoint.train_config is None:
        raise CheckpointError(f"{checkpoint.folder}: a model without a run; nothing to resume.")
    changed = [
        change
        for change in differences(checkpoint.train_config, config)
        if change.split(":")[0] not in RESUMABLE
    ]
    if changed:
        raise ConfigError(
            f"resume: the run was made with other settings ({'; '.join(changed)}); "
            "leave those options out, or start a new run with --out."
        )
    finished = (run / "figures").exists()  # they come last
    if checkpoint.step > config.num_steps or (checkpoint.step == config.num_steps and finished):
        raise ConfigError(
            f"resume: the run has taken all of its {checkpoint.step} steps; "
            f"ask for more with -n {2 * checkpoint.step}."
        )


def _start(
    config: TrainConfig, data: Dataset, device: torch.device, checkpoint: Checkpoint | None
) -> TrainingState:
    """Make the model and its objective, new from the seed or as the checkpoint left them."""
    images = as_images(data.images, config.model).to(device)
    torch.manual_seed(config.seed)
    air = AIR(config.model).to(device)
    objective = OBJECTIVES[config.objective](air, images, config)
    mean = RunningMean(air, config.ema_decay)
    if checkpoint is None:
        return TrainingState(config, objective, mean, step=0, seconds=0.0)
    mean.air.load_state_dict(checkpoint.tensors("model"))
    tensors = checkpoint.tensors("training")
    air.load_state_dict(part_of(tensors, "weights"))
    objective.restore(part_of(tensors, "objective"))
    _restore_generators(part_of(tensors, "generator"), device)
    return TrainingState(config, objective, mean, checkpoint.step, checkpoint.seconds)


def _train(state: TrainingState, run: Path, held_out: Dataset, progress: Progress) -> None:
    """Take the remaining steps; evaluate, report and save on the way."""
    config = state.config
    anneal = count_prior_schedule(config)
    elbos: list[Tensor] = []
    reported = state.seconds
    with metrics_log(run, state.step) as metrics, _stop_on_signal() as stop:
        while state.step < config.num_steps:
            began = time.perf_counter()
            state.objective.air.model.success.fill_(anneal(state.step))
            elbos.append(state.objective.step(state.step, _lr_factor(config, state.step)))
            state.mean.update(state.step)
            state.step += 1
            state.seconds += time.perf_counter() - began
            last = state.step == config.num_steps

            if last or state.step % config.progress_every == 0:
                elbo = torch.stack(elbos).mean().item()  # waits for the device
                if not math.isfinite(elbo):
                    raise TrainingError(
                        f"step {state.step}: the ELBO is {elbo}; start again with a lower "
                        f"--learning-rate. {run} still holds the last sound checkpoint, if any."
                    )
                rate = len(elbos) * state.objective.batch_size / (state.seconds - reported)
                elbos, reported = [], state.seconds
                metrics.write(_record(state, images_per_second=rate, elbo=elbo))
                progress.update(state.step, rate, elbo)
            if last or _is_due(state.step, config.eval_every):
                evaluation = evaluate(state.air, held_out)
                write_evaluation(metrics, state, evaluation)
                progress.evaluated(state.step, state.seconds, evaluation)
            if last or stop.requested or _is_due(state.step, config.save_every):
                _save(state, run)
            if stop.requested and not last:
                progress.stopped(state.step, run)
                raise KeyboardInterrupt


def _finish(state: TrainingState, run: Path, progress: Progress) -> None:
    """Evaluate once on the test split, where there is one, and draw the figures."""
    from .plots import plot_run

    try:
        test = load_training_data(state.config, "test")
    except DataError:  # a folder without a test part
        test = None
    if test is not None and state.config.eval_split != "test":
        evaluation = evaluate(state.air, test)
        with metrics_log(run, state.step) as metrics:
            write_evaluation(metrics, state, evaluation)
        progress.evaluated(state.step, state.seconds, evaluation)
    progress.finished(run, plot_run(run))


def count_prior_schedule(config: TrainConfig) -> Anneal:
    """Return the success probability of the count prior as a function of the step."""
    final = config.model.z_pres_prior
    start, to = config.anneal_prior_from, config.anneal_prior_to
    if config.anneal_prior == "none":
        start = to = None
    return Anneal(
        config.anneal_prior,
        final if start is None else start,
        final if to is None else to,
        config.anneal_prior_begin,
        config.anneal_prior_duration,
    )


def write_evaluation(metrics: Metrics, state: TrainingState, evaluation: Evaluation) -> None:
    """Add an evaluation to a run's metrics."""
    figures = evaluation.to_dict()
    parts = figures.pop("parts")
    absent = {"data", "importance_bound", "importance_count_accuracy"}  # never measured in training
    metrics.write(_record(state, **{k: v for k, v in (figures | parts).items() if k not in absent}))


def _record(state: TrainingState, **figures: Any) -> dict[str, Any]:
    return {"step": state.step, "seconds": round(state.seconds, 3), **figures}


def _lr_factor(config: TrainConfig, step: int) -> float:
    return cosine_decay(step, config.num_steps) if config.lr_schedule == "cosine" else 1.0


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _save(state: TrainingState, run: Path) -> None:
    if not all(torch.isfinite(p).all() for p in state.air.parameters()):
        raise TrainingError(
            f"step {state.step}: some weights are not finite; start again with a lower "
            f"--learning-rate. {run} still holds the last sound checkpoint, if any."
        )
    save_checkpoint(
        run / "checkpoint",
        state.air,
        train_config=state.config,
        step=state.step,
        seconds=state.seconds,
        training=prefixed("weights", state.objective.air.state_dict())
        | prefixed("objective", state.objective.state())
        | prefixed("generator", _generators(state.air.device)),
    )


def _generators(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the random generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_generators(tensors: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(tensors["cpu"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)


class _Stop:
    """Whether the user has asked for an end."""

    requested = False


@contextmanager
def _stop_on_signal() -> Iterator[_Stop]:
    """Let Ctrl-C and SIGTERM ask for an end after the step under way; a second one ends at once."""
    stop = _Stop()

    def request(signum: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        previous = [signal.signal(number, request) for number in signals]
    except ValueError:  # not in the main thread: whoever called handles signals
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)
