"""How do the two presets compare at equal time on the same machine?

Trains the command that was published with Pyro's tutorial, shortened to 20,000 of its 200,000
steps, and the fast preset, one thread each, and draws accuracy and ELBO on the validation split
against seconds of training.

    python benchmarks/compare.py run       # about an hour
    python benchmarks/compare.py figure    # docs/images/compare.png

Results: ``benchmarks/results/compare/<preset>.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from matplotlib.figure import Figure
from runs import RESULTS, Task, read_results, run_all

FOLDER = RESULTS / "compare"
FIGURE = Path(__file__).parent.parent / "docs" / "images" / "compare.png"
PUBLISHED = (
    "-blr 0.1 --z-pres-prior 0.01 --scale-prior-sd 0.2 --predict-net 200 --bl-predict-net 200 "
    "--decoder-output-use-sigmoid --decoder-output-bias -2 --seed 287710"
)
OPTIONS = {
    "tutorial": f"--preset tutorial -n 20000 {PUBLISHED} --eval-every 500",
    "fast": "--data multi-mnist -n 10000 --eval-every 500",
}


@dataclass(frozen=True)
class Run:
    """Train both presets."""

    jobs: int = 2
    """Runs side by side; they share the cores."""
    work: Path = Path("runs/compare")
    """Folder of the runs."""

    def run(self) -> None:
        """Run the command."""
        tasks = [
            Task(options, self.work / name, FOLDER / f"{name}.json", {"preset": name})
            for name, options in OPTIONS.items()
        ]
        run_all(tasks, self.jobs)


@dataclass(frozen=True)
class Draw:
    """Draw the figure from the results."""

    def run(self) -> None:
        """Run the command."""
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots(1, 2)
        for result in read_results(FOLDER):
            points = [e for e in result["evaluations"] if e["split"] == "validation"]
            seconds = [point["seconds"] for point in points]
            for ax, name in zip(axes, ("count_accuracy", "elbo"), strict=True):
                ax.plot(seconds, [point[name] for point in points], label=result["preset"])
        for ax, label in zip(axes, ("count accuracy", "ELBO (nats per image)"), strict=True):
            ax.set(xscale="log", xlabel="seconds of training, one core", ylabel=label)
            ax.grid(alpha=0.3)
            ax.legend()
        figure.savefig(FIGURE, dpi=120)
        print(f"Open {FIGURE}")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"run": Run, "figure": Draw}).run()
