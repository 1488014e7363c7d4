"""The training loop: steps, evaluations, checkpoints, and going on after an interruption."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from .air import AIR
from .arrays import as_images
from .auto import choose
from .averaging import RunningMean
from .checkpoints import (
    Checkpoint,
    load_weights,
    part_of,
    prefixed,
    read_checkpoint,
    save_checkpoint,
)
from .collapse import advice, collapse
from .config import PRESETS, ModelConfig, TrainConfig, differences, for_images
from .data import Dataset, hold_out, is_path, load_dataset
from .devices import tune_process
from .errors import AirError, CheckpointError, ConfigError, DataError
from .evaluation import Evaluation, evaluate
from .objectives import OBJECTIVES, Objective
from .processes import Processes, join
from .progress import Progress
from .runs import Metrics, check_new, metrics_log, new_run, read_metrics, write_config
from .schedules import Anneal, cosine_decay

logger = logging.getLogger(__name__)

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
    compiled: bool = False,
    quiet: bool = False,
    figures: bool = True,
) -> Path:
    """Train an AIR and write a run's folder.

    Under ``torchrun``, all its processes train one model, and the first one writes.

    Args:
        config: the settings; ``model.canvas_size`` and ``model.channels`` are taken from the data.
            Of the preset ``auto``, what is as the preset has it is chosen from the pictures.
        out: the run's folder, new or empty; by default one below ``runs/``.
        resume: go on with the run in this folder instead, from its last checkpoint.
        device: ``cpu``, ``cuda``, ``cuda:1``, ..., or ``auto`` for a GPU where there is one.
        compiled: run the exact objective compiled, where a compiler is present.
        quiet: show no progress.
        figures: draw the run's figures at the end.
    Returns: the run's folder. Ctrl-C and SIGTERM save a checkpoint and raise KeyboardInterrupt. If
        training collapses, the log warns of it, and the run goes on: see ``collapse.py``.
    Raises: ConfigError, DataError or CheckpointError for what cannot be used; TrainingError if
        the ELBO stops being a finite number.
    """
    tune_process()
    processes = join(device)
    run, finished = _run(config, out, resume, processes, compiled, quiet, figures)
    processes.leave()
    if not finished:
        raise KeyboardInterrupt
    return run


def _run(
    config: TrainConfig,
    out: str | Path | None,
    resume: str | Path | None,
    processes: Processes,
    compiled: bool,
    quiet: bool,
    figures: bool,
) -> tuple[Path, bool]:
    """Do what ``train`` does; return the run's folder, and whether it was trained to the end."""
    checkpoint = None if resume is None else read_checkpoint(resume)
    if config.preset == "auto" and not config.chosen and checkpoint is None:
        own = (change.split(":")[0] for change in differences(PRESETS["auto"], config))
        config = choose(config, given=tuple(own))
    given = None if out is None else Path(out)
    if checkpoint is None:
        check_new(given)
    else:
        sizes = checkpoint.model_config
        config = for_images(config, sizes.canvas_size, sizes.channels)
        _check_resumable(Path(resume), checkpoint, config, out)  # type: ignore[arg-type]
    with processes.first_goes_first():  # generated and downloaded data are kept
        loaded = load_training_data(config, fitted=checkpoint is not None)
        data, held_out = hold_out(loaded)
    config = for_images(config, data.canvas_size, data.channels)
    if checkpoint is None:
        run = processes.from_first(new_run(config, given) if processes.is_first else Path())
    else:
        run = Path(resume)  # type: ignore[arg-type]
    state = _start(config, data, processes, checkpoint, compiled)
    if processes.is_first:
        if checkpoint is not None:
            _recall(state, run)
        write_config(run, config)
    if config.eval_split == "test":
        held_out = load_training_data(config, "test")
    with Progress(config, state.step, run, quiet or not processes.is_first) as progress:
        finished = _train(state, run, held_out, progress)
        if finished and processes.is_first:
            _finish(state, run, held_out, progress, figures)
    return run, finished


def load_training_data(
    config: TrainConfig, split: str = "train", *, fitted: bool = True, **options: Any
) -> Dataset:
    """Load a split of a run's data set, with the options that the run was given, or with others.

    Args:
        config: the run's settings.
        split: of the data set.
        fitted: whether the model has its sizes from the pictures, and other pictures take theirs
            from the model.
        **options: of a generated set.
    """
    if is_path(config.data):
        canvas = config.model.canvas_size if fitted else config.canvas
        channels = config.model.channels if fitted else config.channels
        own = path_options(config.model, config.strict)
        return load_dataset(
            config.data, split, **(own | {"canvas_size": canvas, "channels": channels} | options)
        )
    return load_dataset(config.data, split, **(config.data_options() | options))


def path_options(model: ModelConfig, strict: bool = False) -> dict[str, Any]:
    """Return the options with which pictures are loaded for a model."""
    return {
        "canvas_size": model.canvas_size,
        "channels": model.channels,
        "resize": model.resize,
        "zoom": model.zoom,
        "invert": model.invert,
        "strict": strict,
    }


def load_held_out(config: TrainConfig) -> Dataset:
    """Load the test split of a run's data set, or the validation split where there is no test.

    Raises: DataError if there is neither: the data is gone.
    """
    try:
        return load_training_data(config, "test")
    except DataError:  # a folder without a test part
        return load_training_data(config, "validation")


@dataclass
class TrainingState:
    """All that changes while training."""

    config: TrainConfig
    objective: Objective
    mean: RunningMean
    step: int
    seconds: float
    evaluations: list[dict[str, Any]]  # the records so far, but for the test split's at the end
    collapsed: str | None = None  # why, if it has

    @property
    def air(self) -> AIR:
        """The model as it is evaluated and saved."""
        return self.mean.air

    @property
    def processes(self) -> Processes:
        """Those that train together."""
        return self.objective.processes


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
    config: TrainConfig,
    data: Dataset,
    processes: Processes,
    checkpoint: Checkpoint | None,
    compiled: bool,
) -> TrainingState:
    """Make the model and its objective, new from the seed or as the checkpoint left them."""
    images = as_images(data.images, config.model).to(processes.device)
    torch.manual_seed(config.seed)
    air = AIR(config.model).to(processes.device)
    mean = RunningMean(air, config.ema_decay)
    objective = OBJECTIVES[config.objective](air, images, config, processes, compiled)
    if checkpoint is None:
        return TrainingState(config, objective, mean, step=0, seconds=0.0, evaluations=[])
    load_weights(mean.air, checkpoint)
    tensors = checkpoint.tensors("training")
    air.load_state_dict(part_of(tensors, "weights"))
    objective.restore(part_of(tensors, "objective"))
    _restore_generators(part_of(tensors, "generator"), processes.device)
    return TrainingState(config, objective, mean, checkpoint.step, checkpoint.seconds, [])


def _train(state: TrainingState, run: Path, held_out: Dataset, progress: Progress) -> bool:
    """Take the remaining steps; evaluate, report and save on the way.

    Returns: whether all steps were taken; False if someone asked for an end.
    """
    config, processes = state.config, state.processes
    anneal = count_prior_schedule(config)
    elbos: list[Tensor] = []
    reported = state.seconds
    log = metrics_log(run, state.step) if processes.is_first else nullcontext()
    with log as metrics, _stop_on_signal(patient=processes.size > 1) as stop:
        while state.step < config.num_steps:
            began = time.perf_counter()
            state.objective.air.model.success.fill_(anneal(state.step))
            elbos.append(state.objective.step(state.step, _lr_factor(config, state.step)))
            state.mean.update(state.step)
            state.step += 1
            last = state.step == config.num_steps
            report = last or state.step % config.progress_every == 0
            if report:
                elbo = processes.mean(torch.stack(elbos).mean()).item()  # waits for the device
            state.seconds += time.perf_counter() - began
            # Several processes stop at the same step: they ask each other when they report.
            asks = processes.size == 1 or report
            stopping = asks and processes.any(stop.requested) and not last

            if report:
                if not math.isfinite(elbo):
                    raise TrainingError(
                        f"step {state.step}: the ELBO is {elbo}; start again with a lower "
                        f"--learning-rate. {run} still holds the last sound checkpoint, if any."
                    )
                rate = len(elbos) * state.objective.batch_size / (state.seconds - reported)
                elbos, reported = [], state.seconds
                if metrics is not None:
                    metrics.write(_record(state, images_per_second=rate, elbo=elbo))
                progress.update(state.step, rate, elbo)
            if metrics is not None and (last or _is_due(state.step, config.eval_every)):
                evaluation = evaluate(state.air, held_out)
                _judge(state, evaluation)
                write_evaluation(metrics, state, evaluation)
                progress.evaluated(state.step, state.seconds, evaluation)
            if processes.is_first and (last or stopping or _is_due(state.step, config.save_every)):
                _save(state, run)
            if stopping:
                progress.stopped(state.step, run)
                return False
    return True


def _finish(
    state: TrainingState, run: Path, held_out: Dataset, progress: Progress, figures: bool
) -> None:
    """Evaluate once on the test split, where there is one, and draw the figures."""
    try:
        test = load_training_data(state.config, "test")
    except DataError:  # a folder without a test part
        test = None
    if test is not None and state.config.eval_split != "test":
        evaluation = evaluate(state.air, test)
        with metrics_log(run, state.step) as metrics:
            write_evaluation(metrics, state, evaluation)
        progress.evaluated(state.step, state.seconds, evaluation)
    if figures:
        from .plots import plot_run

        progress.finished(run, plot_run(run, held_out if test is None else test))
    if state.collapsed is not None:
        logger.warning("The model in %s is dead: %s.", run, _told(state))


def _recall(state: TrainingState, run: Path) -> None:
    """Take in the evaluations that a resumed run has already had."""
    split, step = state.config.eval_split, state.step
    records = [r for r in read_metrics(run) if r.get("split") == split and r["step"] <= step]
    state.evaluations = records
    state.collapsed = collapse(records, state.config.num_steps)


def _judge(state: TrainingState, evaluation: Evaluation) -> None:
    """Take in an evaluation; say so, once, if it shows that the training has collapsed."""
    state.evaluations.append({"step": state.step, **evaluation.to_dict()})
    before, num_steps = state.collapsed, state.config.num_steps
    state.collapsed = collapse(state.evaluations, num_steps)
    if state.collapsed is not None and before is None and state.step < num_steps:
        logger.warning("Step %d: training has collapsed: %s.", state.step, _told(state))


def _told(state: TrainingState) -> str:
    return f"{state.collapsed}; {advice(state.config)}"


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
    told = {k: v for k, v in (figures | parts).items() if k not in absent}
    metrics.write(_record(state, **told, collapsed=state.collapsed is not None))


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
def _stop_on_signal(patient: bool) -> Iterator[_Stop]:
    """Let Ctrl-C and SIGTERM ask for an end after the step under way; a second one ends at once.

    Unless ``patient``: torchrun passes on to its processes what the terminal has sent them already.
    """
    stop = _Stop()

    def request(signum: int, frame: FrameType | None) -> None:
        if stop.requested and not patient:
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
