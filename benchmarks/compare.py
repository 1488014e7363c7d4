"""How do the two presets compare at equal time on the same machine?

Trains the command that was published with Pyro's tutorial, shortened to 20,000 of its 200,000
steps, and draws its accuracy and ELBO on the validation split against seconds of training, beside
those of the fast preset's long run (``reproduce.py hour``). One thread each.

    python benchmarks/compare.py run       # about 50 minutes
    python benchmarks/compare.py figure    # docs/images/compare.png

Result: ``benchmarks/results/compare/tutorial.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from matplotlib.figure import Figure
from reproduce import HOUR
from runs import RESULTS, Task, read_result, run_all

from attend_infer_repeat.training.collapse import PUBLISHED_FLAGS

FOLDER = RESULTS / "compare"
FIGURE = Path(__file__).parent.parent / "docs" / "images" / "compare.png"
TUTORIAL = Task(
    options=f"--preset tutorial -n 20000 {PUBLISHED_FLAGS} --seed 287710 --eval-every 500",
    run=Path("runs/compare/tutorial"),
    result=FOLDER / "tutorial.json",
    labels={"preset": "tutorial"},
)


@dataclass(frozen=True)
class Run:
    """Train the tutorial's preset on half of the cores, as the long run of the fast one is."""

    def run(self) -> None:
        """Run the command."""
        run_all([TUTORIAL], jobs=2)


@dataclass(frozen=True)
class Draw:
    """Draw the figure from the results."""

    def run(self) -> None:
        """Run the command."""
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots(1, 2)
        for preset, result in (
            ("tutorial", read_result(TUTORIAL.result)),
            ("fast", read_result(HOUR / "multi-mnist-0.json")),
        ):
            points = [e for e in result["evaluations"] if e["split"] == "validation"]
            seconds = [point["seconds"] for point in points]
            for ax, name in zip(axes, ("count_accuracy", "elbo"), strict=True):
                ax.plot(seconds, [point[name] for point in points], label=preset)
        for ax, label in zip(axes, ("count accuracy", "ELBO (nats per image)"), strict=True):
            ax.set(xscale="log", xlabel="seconds of training, one core", ylabel=label)
            ax.grid(alpha=0.3)
            ax.legend()
        figure.savefig(FIGURE, dpi=120)
        print(f"Open {FIGURE}")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"run": Run, "figure": Draw}).run()
