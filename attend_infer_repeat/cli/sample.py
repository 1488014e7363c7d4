"""`air sample`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..config.annotations import Positional, arg
from ..errors import ConfigError
from .command import Command, require_at_least
from .loading import load_model


@dataclass(frozen=True)
class Sample(Command):
    """Draw scenes from a model's prior: what it has learned about images.

    Scenes of 1 to T objects are drawn equally often, since the count prior p(n) of most models
    favors empty scenes; --from-prior draws the number from p(n).

    Examples:
      air sample runs/mnist
      air sample runs/mnist -n 64 --out prior.png --seed 1
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    num_scenes: Annotated[int, arg(aliases=("-n",))] = 16
    """Number of scenes."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("samples.png")
    """PNG file to write."""
    seed: int = 0
    """Seed of the draws."""
    from_prior: bool = False
    """Draw the number of objects from the count prior as well."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        require_at_least(1, num_scenes=self.num_scenes)
        if self.out.suffix.lower() != ".png":
            raise ConfigError(f"out: expected a file that ends in .png, got {self.out}.")
        from ..viz.plots import samples_figure, save_figure

        air = load_model(self.model, self.device)
        figure = samples_figure(air, self.num_scenes, self.seed, self.from_prior)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, self.out)
        print(f"Open {self.out}")
