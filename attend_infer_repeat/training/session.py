"""A run from its settings to its last figure: what ``train`` does, but for drawing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from ..air import reproducible
from ..config import PRESETS, TrainConfig, differences, for_images
from ..data import Dataset, is_path
from ..errors import ConfigError, Stopped
from ..evaluation.doubts import color_shares, doubts_about
from ..evaluation.spread import count_spread
from ..objectives import Execution
from ..objectives.processes import Processes
from ..storage import discard_leftovers
from .data import RunData, load_run_data
from .distributed import join_processes
from .loop import evaluate_run, explain_collapse, report_evaluation, take_steps
from .metrics import metrics_log, read_metrics
from .progress import Progress
from .resume import check_resumable
from .run import check_new, mark_finished, new_run, resumable, resumed_run, write_config, writing
from .state import SavedState, TrainingState
from .tensorboard import can_write_events
from .trials import settle

logger = logging.getLogger(__name__)

DrawFigures = Callable[[Path, Dataset], list[Path]]
"""Draws a run's figures, given its folder and images to show; returns the files."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out, beside its settings: see ``train``."""

    device: str = "auto"
    compiled: bool = False
    quiet: bool = False
    validate: bool = True
    tensorboard: bool = False
    draw_figures: DrawFigures | None = None
    graphs: bool = True
    given: Collection[str] | None = None

    def execution(self, device: torch.device) -> Execution:
        """Say how steps run on a device."""
        if self.compiled:
            return "compiled"
        return "recorded" if self.graphs and device.type == "cuda" else "plain"


def carry_out(
    config: TrainConfig, out: str | Path | None, resume: str | Path | None, options: RunOptions
) -> Path:
    """Carry out a run; see ``train`` for the arguments, the folder returned, and the errors."""
    if resume is not None and out is not None:
        raise ConfigError("out: a resumed run stays in its folder; leave --out or --resume out.")
    processes = join_processes(options.device)
    with ExitStack() as owner:
        session = _Session(options, processes, owner)
        if resume is None:
            run, finished = session.begin(config, None if out is None else Path(out))
        else:
            run, finished = session.go_on(config, Path(resume))
    processes.leave()
    if not finished:
        raise Stopped
    return run


@dataclass(frozen=True)
class _Session:
    """One process's part in a run."""

    options: RunOptions
    processes: Processes
    owner: ExitStack
    """Holds the run's folder: the first process writes to it, and no other."""

    def begin(self, config: TrainConfig, out: Path | None) -> tuple[Path, bool]:
        """Carry out a new run; return its folder, and whether it was trained to the end."""
        if out is not None and self.processes.is_first:  # the check may take the folder's lock
            check_new(out)
        if config.preset == "auto" and not config.chosen:
            given = self.options.given
            if given is None:
                changes = differences(PRESETS["auto"], config)
                given = tuple(change.split(":")[0] for change in changes)
            config = settle(config, given, self.processes, self.options.quiet)
        with self.processes.first_goes_first():  # generated and downloaded data are kept
            data = load_run_data(config, validate=self.options.validate)
        made = Path()
        if self.processes.is_first:
            made = self.owner.enter_context(new_run(data.config, out))
        run = self.processes.from_first(made)
        return run, self._train(run, data, None)

    def go_on(self, config: TrainConfig, run: Path) -> tuple[Path, bool]:
        """Go on with a run; return its folder, and whether it was trained to the end."""
        if self.processes.is_first:
            settings, checkpoint = self.owner.enter_context(resumed_run(run))
        else:
            settings, checkpoint = resumable(run)
        step = 0 if checkpoint is None else checkpoint.step
        config = for_images(config, settings.model.canvas_size, settings.model.channels)
        config = check_resumable(run, settings, config, step)
        saved = None if checkpoint is None else SavedState.read(checkpoint)
        with self.processes.first_goes_first():
            data = load_run_data(
                config, resumed=True, fitted=saved is not None, validate=self.options.validate
            )
        return run, self._train(run, data, saved)

    def _train(self, run: Path, data: RunData, saved: SavedState | None) -> bool:
        """Train from the seed, or from what was saved; return whether it came to the end."""
        config, options, is_first = data.config, self.options, self.processes.is_first
        with reproducible(config.seed, self.processes.device):
            execution = options.execution(self.processes.device)
            state = TrainingState.new(run, config, data.train, self.processes, execution)
            if saved is not None:
                state.restore(saved)
            if is_first:
                write_config(run, config)
            held_out = data.held_out
            tensorboard = options.tensorboard and is_first and can_write_events()
            with Progress(config, state.step, run, options.quiet or not is_first) as progress:
                finished = take_steps(state, held_out, progress, tensorboard)
                if finished and is_first:
                    _measure(state, data)
                    _test(state, data, progress, tensorboard)
                    _doubt(state, data)
                    self._draw(state, data, progress)
        if finished and is_first and state.collapsed is not None:
            logger.warning("The model in %s is dead: %s.", run, explain_collapse(state))
        return finished

    def _draw(self, state: TrainingState, data: RunData, progress: Progress) -> None:
        """Draw the figures and note that the run is done, where there is something to show."""
        run, draw_figures = state.run, self.options.draw_figures
        shown = data.test if data.has_test else data.held_out
        if draw_figures is None or shown is None:
            return
        with writing(run):
            paths = draw_figures(run, shown)
            for path in paths:
                discard_leftovers(path)  # of a run that was killed while it drew them
        mark_finished(run, state.step)
        progress.finished(run, paths)


ENOUGH_HELD_OUT = 16
"""Images that are held out, from which they are measured with."""


def _measure(state: TrainingState, data: RunData) -> None:
    """Measure, of the user's own pictures, how far counts stray, and which colors there are."""
    if not is_path(data.config.dataset.data):
        return
    # Few parts of a picture tell little; in the mirror, those trained on are new as well.
    held_out, train = data.held_out, data.train
    seen = train if held_out is None or len(held_out.images) < ENOUGH_HELD_OUT else held_out
    state.note(
        trained_colors=color_shares(train.images),
        count_spread=round(count_spread(state.air, seen.images), 4),
    )


def _doubt(state: TrainingState, data: RunData) -> None:
    """Say what speaks against the model on images that it was not trained on, if there are any."""
    seen = data.train if data.held_out is None else data.held_out
    for line in doubts_about(state.air, seen.images):
        logger.warning("Doubtful: %s.", line)


def _test(state: TrainingState, data: RunData, progress: Progress, tensorboard: bool) -> None:
    """Evaluate on the test split, where there is one, unless the run was cut after that."""
    tested = any(
        record.get("split") == "test" and record["step"] == state.step
        for record in read_metrics(state.run)
    )
    if data.has_test and not tested:
        evaluation = evaluate_run(state, data.test)
        with metrics_log(state.run, state.step, tensorboard) as metrics:
            report_evaluation(state, evaluation, metrics, progress)
