"""What a person sees while a model trains."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from ..config import TrainConfig
from ..console import spinner
from ..evaluation import Evaluation


class Progress:
    """A bar with steps, images/s, ELBO, held-out accuracy and time left; a line per evaluation.

    Without a terminal, as in a log, only the lines are written. Everything goes to standard
    error, so that standard output is left to results.
    """

    def __init__(self, config: TrainConfig, step: int, run: Path, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, markup=False)
        self._bar = RichProgress(
            spinner(),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} images/s"),
            TextColumn("ELBO {task.fields[elbo]}"),
            TextColumn("accuracy {task.fields[accuracy]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task(
            "training",
            total=config.optimizer.num_steps,
            completed=step,
            rate="-",
            elbo="-",
            accuracy="-",
        )
        for line in config.chosen if not step else ():
            self._console.print(f"Chosen {line}", soft_wrap=True)
        verb = f"Resuming at step {step}" if step else "Training"
        self._console.print(
            f"{verb}: preset {config.preset}, data {config.dataset.data}, "
            f"{config.optimizer.num_steps} steps of {config.optimizer.batch_size} images, "
            f"seed {config.seed}; writing to {run}",
            soft_wrap=True,
        )

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar; it is drawn ten times a second, however often it moves."""
        if not self._bar.disable:
            self._bar.update(self._task, completed=step)

    def update(self, step: int, rate: float, elbo: float) -> None:
        """Show the rate, in images/s, and the ELBO, in nats per image."""
        self._bar.update(self._task, completed=step, rate=f"{rate:,.0f}", elbo=f"{elbo:.1f}")

    def evaluated(self, step: int, seconds: float, evaluation: Evaluation) -> None:
        """Write a line about an evaluation."""
        accuracy = _percent(evaluation.count_accuracy)
        self._bar.update(self._task, accuracy=accuracy)
        self._console.print(
            f"step {step:>6}  {seconds:6.0f} s  {evaluation.split} ELBO {evaluation.elbo:7.1f}"
            f"  count accuracy {accuracy}",
            soft_wrap=True,
        )

    def stopped(self, step: int, run: Path) -> None:
        """Say how to go on after an interruption."""
        self._bar.stop()
        self._console.print(
            f"Stopped at step {step}; go on with: air train --resume {run}", soft_wrap=True
        )

    def finished(self, run: Path, figures: list[Path]) -> None:
        """Name the run and the first of its figures, the one to look at."""
        self._bar.stop()
        self._console.print(f"Saved {run}", soft_wrap=True)
        if figures:
            self._console.print(f"Open {figures[0]}", soft_wrap=True)


def say(line: str, quiet: bool = False) -> None:
    """Write a line to standard error, before there is a run to show the progress of."""
    console = Console(stderr=True, quiet=quiet, highlight=False, markup=False)
    console.print(line, soft_wrap=True)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
