"""`air evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ..config.annotations import Positional, arg
from .command import Command, require_at_least
from .loading import load_data, load_model


@dataclass(frozen=True)
class Evaluate(Command):
    """Measure count accuracy and ELBO of a model on held-out scenes.

    Examples:
      air evaluate runs/mnist
      air evaluate runs/mnist --split validation --json
      air evaluate runs/mnist --data digits
      air evaluate runs/mnist --counts 3                  scenes of three objects
      air evaluate runs/mnist --importance-samples 100
    """

    essential: ClassVar = ("model", "data", "split", "importance_samples", "json")

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    data: str | None = None
    """Data set or path; the one that the model was trained on if not given."""
    split: str = "test"
    """Part of the data set: train, validation or test."""
    max_count: Annotated[int | None, arg(aliases=("--max-digits",))] = None
    """Most objects in a generated scene, to test on more than in training."""
    counts: tuple[int, ...] | None = None
    """Numbers of objects in generated scenes, such as 3, or 6 7 8; 0 to the most if not given."""
    importance_samples: int = 0
    """Samples per image for the importance-weighted bound and counts; 0 skips both."""
    json: bool = False
    """Print one JSON object instead of a table."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from ..evaluation import evaluate
        from ..files.records import to_json

        require_at_least(0, importance_samples=self.importance_samples)
        air = load_model(self.model, self.device)
        asked = {"max_count": self.max_count, "counts": self.counts}
        given = {name: value for name, value in asked.items() if value is not None}
        data = load_data(self.model, air, self.data, self.split, **given)
        evaluation = evaluate(air, data, importance_samples=self.importance_samples)
        print(to_json(evaluation.to_dict()) if self.json else evaluation.table())
