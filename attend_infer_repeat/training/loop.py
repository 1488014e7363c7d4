"""The training loop: steps, and on the way reports, evaluations and checkpoints."""

from __future__ import annotations

import logging
import math
import time
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ..data import Dataset
from ..errors import DataError
from ..evaluation import Evaluation, evaluate
from .collapse import collapse_advice, find_collapse
from .metrics import Metrics, metrics_log
from .progress import Progress
from .signals import stop_on_signal
from .state import LOWER_RATE, TrainingState

logger = logging.getLogger(__name__)

NOT_MEASURED = ("data", "importance_bound", "importance_count_accuracy")
"""Fields of an ``Evaluation`` that metrics.jsonl has not: training does not measure them."""


def take_steps(
    state: TrainingState, held_out: Dataset | None, progress: Progress, tensorboard: bool = False
) -> bool:
    """Take the remaining steps; evaluate, where images are held out, report and save on the way.

    Returns: whether all steps were taken; False if someone asked for an end.
    """
    config, processes = state.config, state.processes
    elbos: list[Tensor] = []
    reported = state.seconds
    is_first = processes.is_first
    log = metrics_log(state.run, state.step, tensorboard) if is_first else nullcontext()
    with log as metrics, stop_on_signal(patient=processes.size > 1) as stop:
        if metrics is not None:
            _recall_evaluations(state, metrics)
        while state.step < config.optimizer.num_steps:
            began = time.perf_counter()
            elbos.append(state.take_step())
            last = state.step == config.optimizer.num_steps
            report = last or state.step % config.output.progress_every == 0
            if report:
                elbo = processes.mean(torch.stack(elbos).mean()).item()  # waits for the device
            state.seconds += time.perf_counter() - began
            progress.advance(state.step)
            # Several processes stop at the same step: they ask each other when they report.
            asks = processes.size == 1 or report
            stopping = asks and processes.any(stop.made) and not last

            if report:
                if not math.isfinite(elbo):
                    raise state.diverged(f"the ELBO is {elbo}; {LOWER_RATE}")
                rate = len(elbos) * state.objective.batch_size / (state.seconds - reported)
                elbos, reported = [], state.seconds
                if metrics is not None:
                    metrics.write(_record(state, images_per_second=rate, elbo=elbo))
                progress.update(state.step, rate, elbo)
            if metrics is not None:
                if held_out is not None and (last or _is_due(state.step, config.output.eval_every)):
                    evaluation = evaluate_run(state, held_out)
                    _look_for_collapse(state, evaluation)
                    report_evaluation(state, evaluation, metrics, progress)
                if last or stopping or _is_due(state.step, config.output.save_every):
                    metrics.sync()
                    state.save()
            if stopping:
                progress.stopped(state.step, state.run)
                return False
    return True


def evaluate_run(state: TrainingState, data: Dataset) -> Evaluation:
    """Evaluate the model as it is.

    Raises: TrainingError if the ELBO is not finite.
    """
    try:
        return evaluate(state.air, data)
    except DataError as error:
        raise state.diverged(f"{data.split} split: {error}") from error


def report_evaluation(
    state: TrainingState, evaluation: Evaluation, metrics: Metrics, progress: Progress
) -> None:
    """Write an evaluation's figures to a run's metrics and to the terminal."""
    figures = evaluation.to_dict()
    parts = figures.pop("parts")
    measured = {k: v for k, v in (figures | parts).items() if k not in NOT_MEASURED}
    metrics.write(_record(state, **measured, collapsed=state.collapsed is not None))
    progress.evaluated(state.step, state.seconds, evaluation)


def explain_collapse(state: TrainingState) -> str:
    """Return what shows that a run has collapsed, and what to try."""
    return f"{state.collapsed}; {collapse_advice(state.config)}"


def _recall_evaluations(state: TrainingState, metrics: Metrics) -> None:
    """Take in the evaluations that a resumed run has already had."""
    split = state.config.output.eval_split
    state.evaluations = [record for record in metrics.kept if record.get("split") == split]
    state.collapsed = find_collapse(state.evaluations, state.config.optimizer.num_steps)


def _look_for_collapse(state: TrainingState, evaluation: Evaluation) -> None:
    """Warn, once, if the evaluations show that the training has collapsed."""
    state.evaluations.append({"step": state.step, **evaluation.to_dict()})
    before, num_steps = state.collapsed, state.config.optimizer.num_steps
    state.collapsed = find_collapse(state.evaluations, num_steps)
    if state.collapsed is not None and before is None and state.step < num_steps:
        logger.warning("Step %d: training has collapsed: %s.", state.step, explain_collapse(state))


def _record(state: TrainingState, **figures: Any) -> dict[str, Any]:
    return {"step": state.step, "seconds": round(state.seconds, 3), **figures}


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
