"""`air codes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..config.annotations import Positional, arg
from ..errors import ConfigError
from .command import Command, require_at_least
from .loading import load_data, load_model


@dataclass(frozen=True)
class Codes(Command):
    """Measure what the codes z_what tell about the objects' classes, which training never sees.

    A linear probe predicts the class from the codes of found objects, and k-means clusters them;
    the pixels of the same windows are the baseline for both. The data must have boxes and labels.
    Probes are fitted on the training split, without the scenes that are held out for validation.

    Examples:
      air codes runs/mnist
      air codes runs/mnist --split validation --json
      air codes runs/mnist --data digits --num-images 2000
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    data: str | None = None
    """Data set or path; the one that the model was trained on if not given."""
    split: str = "test"
    """Split to test the probes on, and to cluster: validation or test."""
    num_images: int = 10_000
    """Training images to fit the probes on, or all if there are fewer."""
    json: bool = False
    """Print one JSON object instead of a table."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from ..data import hold_out
        from ..evaluation.codes import evaluate_codes
        from ..files.records import to_json

        if self.split == "train":
            raise ConfigError("split: the probes are fitted on train; take validation or test.")
        require_at_least(1, num_images=self.num_images)
        air = load_model(self.model, self.device)
        test = load_data(self.model, air, self.data, self.split)
        data = hold_out(load_data(self.model, air, self.data, "train"))[0][: self.num_images]
        evaluation = evaluate_codes(air, data, test=test)
        print(to_json(evaluation.to_dict()) if self.json else evaluation.table())
