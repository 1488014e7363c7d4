"""`air plot`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..config.annotations import Positional, arg
from .command import Command
from .process import tune_process


@dataclass(frozen=True)
class Plot(Command):
    """Draw a run's figures again: reconstructions, samples, curves, confusion matrix.

    Examples:
      air plot runs/mnist
    """

    folder: Positional[Annotated[Path, arg(metavar="RUN")]]
    """A run's folder."""

    def run(self) -> None:
        """Run the command."""
        from ..viz.plots import plot_run

        tune_process()
        for path in plot_run(self.folder):
            print(path)
