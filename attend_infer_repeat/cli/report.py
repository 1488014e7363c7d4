"""`air report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..config.annotations import Positional, arg
from ..errors import extra
from .command import Command
from .process import tune_process


@dataclass(frozen=True)
class Report(Command):
    """Write a run's report: one HTML file with figures, errors, reliability, codes, settings.

    The file needs no network. If the run's images are gone, it is written without them.

    Examples:
      air report runs/mnist
      air report runs/mnist --out mnist.html --samples 0      without importance weighting
      air report runs/mnist --data scans/ --split train       the model on other images
    """

    folder: Positional[Annotated[Path, arg(metavar="RUN")]]
    """A run's folder."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """HTML file to write; report.html in the run's folder if not given."""
    samples: int = 20
    """Samples per image for the importance-weighted count probabilities; 0 skips them."""
    data: str | None = None
    """Data set or path; the one that the model was trained on if not given."""
    split: str | None = None
    """Split of the data; test if not given, or validation if there is no test split."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from rich.console import Console

        with extra("report", "air report"):
            from ..viz.report import write_report

        tune_process()
        with Console(stderr=True).status("looking at the images ..."):
            path = write_report(
                self.folder,
                self.out,
                num_samples=self.samples,
                data=self.data,
                split=self.split,
                device=self.device,
            )
        print(f"Open {path}")
