"""The training loop: steps, evaluations, checkpoints, and going on after an interruption."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from ..air import AIR
from ..arrays import as_images
from ..config import PRESETS, ModelConfig, TrainConfig, differences, for_images
from ..data import (
    Dataset,
    default_config,
    find_change,
    fingerprint,
    has_test_part,
    hold_out,
    is_path,
    load_dataset,
)
from ..errors import ConfigError, DataError, Stopped, TrainingError
from ..evaluation import Evaluation, evaluate
from ..files.checkpoints import Checkpoint, save_checkpoint
from ..files.storage import discard_leftovers
from ..objectives import OBJECTIVES, Objective
from ..objectives.processes import Processes
from ..objectives.schedules import Anneal, cosine_decay
from ..state_dicts import first_not_finite, part_of, prefixed
from .auto import choose
from .averaging import RunningMean
from .collapse import advice, collapse
from .devices import tune_process
from .distributed import join_processes
from .progress import Progress
from .run import (
    Metrics,
    check_new,
    is_finished,
    mark_finished,
    metrics_log,
    new_run,
    read_metrics,
    resumable,
    resumed_run,
    write_config,
    writing,
)

logger = logging.getLogger(__name__)

# What a resumed run may change: it moves the end or the reports, not what was learned so far.
RESUMABLE = ("num_steps", "eval_every", "eval_split", "save_every", "progress_every")


START_AGAIN = "start again with a lower --learning-rate."


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
) -> Path:
    """Train an AIR and write a run's folder.

    Under ``torchrun``, all its processes train one model, and the first one writes.

    Args:
        config: the settings; ``model.canvas_size`` and ``model.channels`` are taken from the data.
            A path in ``data`` is kept as an absolute one.
            Of the preset ``auto``, what is as the preset has it is chosen from the pictures. The
            name of a data set or the path of images stands for the settings that ``air train
            --data`` has for it.
        out: the run's folder, new or empty; by default one below ``runs/``.
        resume: go on with the run in this folder instead, from its last checkpoint; from the
            beginning if it was cut before the first.
        device: ``cpu``, ``cuda``, ``cuda:1``, ..., or ``auto`` for a GPU where there is one.
        compiled: run the exact objective compiled, where a compiler is present.
        quiet: show no progress.
        figures: draw the run's figures at the end.
        validate: hold images out and evaluate on them; without it, all are trained on, and there is
            nothing to evaluate, or to draw, unless the data has a test split.
    Returns: the run's folder. Ctrl-C and SIGTERM save a checkpoint and raise KeyboardInterrupt. If
        training collapses, the log warns of it, and the run goes on: see ``collapse.py``.
    Raises: ConfigError, DataError or CheckpointError for what cannot be used; BusyError if another
        process writes to the folder; TrainingError if the ELBO of training or of an evaluation
        stops being a finite number, or the disk refuses to be written to.
    """
    if not isinstance(config, TrainConfig):
        config = default_config(config)
    tune_process()
    processes = join_processes(device)
    with ExitStack() as owner:
        run, finished = _run(
            config, out, resume, processes, owner, compiled, quiet, figures, validate
        )
    processes.leave()
    if not finished:
        raise Stopped
    return run


def _run(
    config: TrainConfig,
    out: str | Path | None,
    resume: str | Path | None,
    processes: Processes,
    owner: ExitStack,
    compiled: bool,
    quiet: bool,
    figures: bool,
    validate: bool,
) -> tuple[Path, bool]:
    """Do what ``train`` does; return the run's folder, and whether it was trained to the end.

    What ``owner`` holds is the folder: the first process writes to it, and no other.
    """
    checkpoint = None
    given = None if out is None else Path(out)
    if resume is not None:
        run = Path(resume)
        if given is not None:
            raise ConfigError(
                "out: a resumed run stays in its folder; leave --out or --resume out."
            )
        going_on = resumed_run(run)
        settings, checkpoint = (
            owner.enter_context(going_on) if processes.is_first else resumable(run)
        )
        sizes = settings.model
        config = for_images(config, sizes.canvas_size, sizes.channels)
        config = _check_resumable(
            run, settings, config, 0 if checkpoint is None else checkpoint.step
        )
    elif given is not None and processes.is_first:  # the check may take the folder's lock
        check_new(given)
    if config.preset == "auto" and not config.chosen and resume is None:
        own = (change.split(":")[0] for change in differences(PRESETS["auto"], config))
        config = choose(config, given=tuple(own))
    config = _findable(config)
    with processes.first_goes_first():  # generated and downloaded data are kept
        data = _load(config, "train", fitted=checkpoint is not None)
        has_test = has_test_split(config)
        config = for_images(config, data.canvas_size, data.channels)
        config = _with_fingerprints(config, data, has_test, resumed=resume is not None)
        held_out: Dataset | None = None
        if validate:
            data, held_out = hold_out(data)
    if resume is None:
        made = owner.enter_context(new_run(config, given)) if processes.is_first else Path()
        run = processes.from_first(made)
    state = _start(config, data, processes, checkpoint, compiled)
    if processes.is_first:
        write_config(run, config)
    if config.eval_split == "test" and validate:
        held_out = load_training_data(config, "test")
    with Progress(config, state.step, run, quiet or not processes.is_first) as progress:
        finished = _train(state, run, held_out, progress)
        if finished and processes.is_first:
            test = None
            if has_test:
                is_loaded = held_out is not None and held_out.split == "test"
                test = held_out if is_loaded else load_training_data(config, "test")
            _finish(state, run, held_out, test, progress, figures)
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
    if split == "validation":
        whole = _load(config, "train", fitted, options)
        _warn_of_change(config, whole)
        if is_path(config.data) and config.fingerprints is None:
            logger.warning(
                "%s: the run does not tell which of these images it was trained on; the validation "
                "split may hold some of them.",
                config.data,
            )
        return hold_out(whole)[1]
    data = _load(config, split, fitted, options)
    _warn_of_change(config, data)
    return data


def _load(
    config: TrainConfig, split: str, fitted: bool = True, options: Mapping[str, Any] | None = None
) -> Dataset:
    given = dict(options or {})
    if not is_path(config.data):
        return load_dataset(config.data, split, **(config.data_options() | given))
    canvas = config.model.canvas_size if fitted else config.canvas
    channels = config.model.channels if fitted else config.channels
    own = path_options(config.model, config.strict) | {"canvas_size": canvas, "channels": channels}
    return load_dataset(config.data, split, **(own | given))


def _warn_of_change(config: TrainConfig, data: Dataset) -> None:
    change = find_change(data, config.fingerprints or ())
    if change is not None:
        logger.warning(
            "%s: the %s images have changed since the run was trained (%s).",
            *(config.data, data.split, change),
        )


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
    return load_training_data(config, "test" if has_test_split(config) else "validation")


def has_test_split(config: TrainConfig) -> bool:
    """Tell whether a run's data set has a test split; the user's own images need not have one.

    A warning tells of a folder ``test`` that holds no images.
    """
    return not is_path(config.data) or has_test_part(config.data)


def _findable(config: TrainConfig) -> TrainConfig:
    """Make the path of the user's own images absolute, to be found from other folders."""
    return replace(config, data=os.path.abspath(config.data)) if is_path(config.data) else config


def _with_fingerprints(
    config: TrainConfig, data: Dataset, has_test: bool, resumed: bool
) -> TrainConfig:
    """Note what the user's own images are or, of a resumed run, see that they are the same.

    Raises: DataError if they are not.
    """
    if not is_path(config.data):
        return config
    if not resumed:
        parts = [data, _load(config, "test")] if has_test else [data]
        return replace(config, fingerprints=tuple(fingerprint(part) for part in parts))
    if config.fingerprints is None:
        logger.warning(
            "%s: the run does not tell what these images were when it began; it goes on with what "
            "they are now, and may hold out others.",
            config.data,
        )
    change = find_change(data, config.fingerprints or ())
    if change is not None:
        raise DataError(
            f"resume: the images in {config.data} have changed since the run began ({change}); "
            "bring those back, or start a new run with --out."
        )
    return config


@dataclass
class TrainingState:
    """All that changes while training."""

    config: TrainConfig
    objective: Objective
    mean: RunningMean
    step: int
    seconds: float
    evaluations: list[dict[str, Any]]  # their records so far, of the split --eval-split
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
    run: Path, settings: TrainConfig, config: TrainConfig, step: int
) -> TrainConfig:
    """Refuse to go on after ``step`` if settings contradict the run's, or nothing is left to do.

    The place of the user's own images may be another one: their fingerprints tell whether they are
    the same.

    Returns: the settings to go on with, which have the fingerprints of the run's.
    """
    config = replace(config, fingerprints=settings.fingerprints)
    if is_path(settings.data) and is_path(config.data):
        same_place = os.path.realpath(settings.data) == os.path.realpath(config.data)
        if same_place or settings.fingerprints:
            settings = replace(settings, data=config.data)
    changed = [
        change for change in differences(settings, config) if change.split(":")[0] not in RESUMABLE
    ]
    if changed:
        raise ConfigError(
            f"resume: the run was made with other settings ({'; '.join(changed)}); "
            "leave those options out, or start a new run with --out."
        )
    if step > config.num_steps or (step == config.num_steps and is_finished(run, step)):
        raise ConfigError(
            f"resume: the run has taken all of its {step} steps; ask for more with -n {2 * step}."
        )
    return config


def _start(
    config: TrainConfig,
    data: Dataset,
    processes: Processes,
    checkpoint: Checkpoint | None,
    compiled: bool,
) -> TrainingState:
    """Make the model and its objective, new from the seed or as the checkpoint left them."""
    if checkpoint is not None:  # whose sizes are checked before any memory is taken
        model, tensors = checkpoint.weights(AIR), checkpoint.tensors("training")
    images = as_images(data.images, config.model).to(processes.device)
    torch.manual_seed(config.seed)
    air = AIR(config.model).to(processes.device)
    mean = RunningMean(air, config.ema_decay)
    objective = OBJECTIVES[config.objective](air, images, config, processes, compiled)
    if checkpoint is None:
        return TrainingState(config, objective, mean, step=0, seconds=0.0, evaluations=[])
    mean.air.load_state_dict(model)
    air.load_state_dict(part_of(tensors, "weights"))
    objective.restore(part_of(tensors, "objective"))
    _restore_generators(part_of(tensors, "generator"), processes.device)
    return TrainingState(config, objective, mean, checkpoint.step, checkpoint.seconds, [])


def _train(state: TrainingState, run: Path, held_out: Dataset | None, progress: Progress) -> bool:
    """Take the remaining steps; evaluate, where there is something to, report and save on the way.

    Returns: whether all steps were taken; False if someone asked for an end.
    """
    config, processes = state.config, state.processes
    anneal = count_prior_schedule(config)
    elbos: list[Tensor] = []
    reported = state.seconds
    log = metrics_log(run, state.step) if processes.is_first else nullcontext()
    with log as metrics, _stop_on_signal(patient=processes.size > 1) as stop:
        if metrics is not None:
            _recall(state, metrics)
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
            progress.advance(state.step)
            # Several processes stop at the same step: they ask each other when they report.
            asks = processes.size == 1 or report
            stopping = asks and processes.any(stop.requested) and not last

            if report:
                if not math.isfinite(elbo):
                    raise _diverged(state, run, f"the ELBO is {elbo}; {START_AGAIN}")
                rate = len(elbos) * state.objective.batch_size / (state.seconds - reported)
                elbos, reported = [], state.seconds
                if metrics is not None:
                    metrics.write(_record(state, images_per_second=rate, elbo=elbo))
                progress.update(state.step, rate, elbo)
            evaluates = last or _is_due(state.step, config.eval_every)
            if metrics is not None and held_out is not None and evaluates:
                evaluation = _evaluate(state, run, held_out)
                _judge(state, evaluation)
                write_evaluation(metrics, state, evaluation)
                progress.evaluated(state.step, state.seconds, evaluation)
            if metrics is not None and (last or stopping or _is_due(state.step, config.save_every)):
                metrics.sync()
                _save(state, run)
            if stopping:
                progress.stopped(state.step, run)
                return False
    return True


def _finish(
    state: TrainingState,
    run: Path,
    held_out: Dataset | None,
    test: Dataset | None,
    progress: Progress,
    figures: bool,
) -> None:
    """Evaluate once on the test split, where there is one, and draw the figures.

    A run that was cut here goes on here: what is done already is not done again.
    """
    tested = any(
        record.get("split") == "test" and record["step"] == state.step
        for record in read_metrics(run)
    )
    if test is not None and not tested:
        evaluation = _evaluate(state, run, test)
        with metrics_log(run, state.step) as metrics:
            write_evaluation(metrics, state, evaluation)
        progress.evaluated(state.step, state.seconds, evaluation)
    shown = held_out if test is None else test
    if figures and shown is not None:
        from ..viz.plots import plot_run

        with writing(run):
            paths = plot_run(run, shown)
            for path in paths:
                discard_leftovers(path)  # of a run that was killed while it drew them
        mark_finished(run, state.step)
        progress.finished(run, paths)
    if state.collapsed is not None:
        logger.warning("The model in %s is dead: %s.", run, _told(state))


def _evaluate(state: TrainingState, run: Path, data: Dataset) -> Evaluation:
    try:
        return evaluate(state.air, data)
    except DataError as error:
        raise _diverged(state, run, f"{data.split} split: {error}") from error


def _diverged(state: TrainingState, run: Path, what: str) -> TrainingError:
    return TrainingError(
        f"step {state.step}: {what} {run} still holds the last sound checkpoint, if any."
    )


def _recall(state: TrainingState, metrics: Metrics) -> None:
    """Take in the evaluations that a resumed run has already had."""
    split = state.config.eval_split
    state.evaluations = [record for record in metrics.kept if record.get("split") == split]
    state.collapsed = collapse(state.evaluations, state.config.num_steps)


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
    if first_not_finite(state.air.state_dict()) is not None:
        raise _diverged(state, run, f"some weights are not finite; {START_AGAIN}")
    with writing(run):
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
