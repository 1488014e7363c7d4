"""`air benchmark`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ..config.annotations import Positional, arg
from ..errors import ConfigError, nearest
from .command import Command

BENCHMARKS = (
    *("throughput", "before", "latency", "scaling", "objects", "breakdown"),
    *("streaming", "serve"),
)


@dataclass(frozen=True)
class Benchmark(Command):
    """Measure how fast this machine trains and infers; the scripts come with a checkout.

    throughput sets training and inference beside one step of Pyro's tutorial, before sets training
    beside an older commit, latency times the first answer and those after it, scaling varies batch,
    canvas and steps, objects the number of objects in an image, breakdown shows where the time
    goes, streaming infers 100,000 files, serve asks the page's server from 50 clients at once. What
    follows the name goes to the script: air benchmark throughput --help.

    Examples:
      air benchmark throughput
      air benchmark throughput --table      the last result, as a table
      air benchmark scaling --threads 1
    """

    passes_on: ClassVar = True

    name: Positional[str]
    """throughput, before, latency, scaling, objects, breakdown, streaming or serve."""
    options: Positional[Annotated[tuple[str, ...], arg(metavar="OPTIONS...")]] = ()
    """Options of the benchmark."""

    def run(self) -> None:
        """Run the command."""
        if self.name not in BENCHMARKS:
            raise ConfigError(
                f"unknown benchmark '{self.name}', known are {', '.join(BENCHMARKS)}."
                f"{nearest(self.name, BENCHMARKS)}"
            )
        script = Path(__file__).parents[2] / "benchmarks" / f"{self.name}.py"
        if not script.is_file():
            raise ConfigError(
                f"{script}: not there; benchmarks are run from a checkout of the code."
            )
        code = subprocess.run([sys.executable, str(script), *self.options]).returncode
        if code:
            raise SystemExit(code)
