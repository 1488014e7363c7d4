"""What does each choice of the fast preset contribute?

Trains the preset, and the preset without one choice at a time, for 500 steps, and measures the
validation split (the last 2,000 training scenes), by which the preset's settings were chosen.

    python benchmarks/ablation.py run --data multi-mnist sprites --seeds 0-1
    python benchmarks/ablation.py table

Results: ``benchmarks/results/ablation/<data>-<variant>-<seed>.json``.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import tyro
from runs import RESULTS, Task, parse_seeds, read_results, run_all

FOLDER = RESULTS / "ablation"
VARIANTS = {
    "fast": ("the preset", ""),
    "no-glimpse": ("no proposal, no glimpse: the tutorial's improved guide", "--guide improved"),
    "no-composites": ("no copy-paste composites", "--composite-weight 0"),
    "cosine": ("the learning rate falls to 0 along a cosine", "--lr-schedule cosine"),
    "no-mean": ("the last weights, not their moving average", "--ema-decay 0"),
    "no-exploration": ("the guide's count never explores", "--explore 0"),
    "no-annealing": ("objects cost the same from the start", "--anneal-prior none"),
    "every-step": ("composites are made at every step, not every fourth", "--composite-every 1"),
    "large-window": ("window 20 x 20, not 16 x 16", "--window-size 20"),
    "large-networks": (
        "networks twice as wide, LSTM of 256",
        "--encoder-net 400 --decoder-net 400 --predict-net 400 --rnn-hidden-size 256",
    ),
    "small-batches": ("batches of 64 at half the learning rate", "-b 64 -lr 1.5e-3"),
    "relu": ("ReLU in place of SiLU", "--non-linearity ReLU"),
    "tutorial-scale": (
        "the scale prior of the tutorial's command, 3 ± 0.2",
        "--scale-prior-mean 3 --scale-prior-sd 0.2",
    ),
    "loose-scale": ("a looser scale prior, 2.6 ± 0.3", "--scale-prior-sd 0.3"),
    "costly-objects": ("objects cost 3.9 nats at the end, not 1.2", "--z-pres-prior 0.02"),
}


@dataclass(frozen=True)
class Run:
    """Train every variant and seed that has no result yet."""

    data: tuple[str, ...] = ("multi-mnist", "sprites")
    """Data sets."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Variants of the preset."""
    seeds: str = "0-1"
    """Seeds, such as 0-1 or 3,5,8."""
    steps: int = 500
    """Training steps."""
    jobs: int = 2
    """Runs side by side; they share the cores."""
    work: Path = Path("runs/ablation")
    """Folder of the runs."""

    def run(self) -> None:
        """Run the command."""
        tasks = [
            self._task(data, variant, seed)
            for seed in parse_seeds(self.seeds)
            for data in self.data
            for variant in self.variants
        ]
        run_all(tasks, self.jobs)

    def _task(self, data: str, variant: str, seed: int) -> Task:
        name = f"{data}-{variant}-{seed}"
        return Task(
            options=f"--data {data} --seed {seed} -n {self.steps} {VARIANTS[variant][1]}".strip(),
            run=self.work / name,
            result=FOLDER / f"{name}.json",
            labels={"data": data, "variant": variant, "seed": seed},
        )


@dataclass(frozen=True)
class Table:
    """Print all results as a Markdown table: every seed, the worst included."""

    def run(self) -> None:
        """Run the command."""
        results = read_results(FOLDER)
        for data in sorted({result["data"] for result in results}):
            print(f"**{data}**, validation split\n")
            print("| variant | seeds | count accuracy, every seed | ELBO, mean |")
            print("| --- | --- | --- | --- |")
            for variant, (text, _) in VARIANTS.items():
                ends = [
                    [e for e in result["evaluations"] if e["split"] == "validation"][-1]
                    for result in sorted(results, key=lambda result: result["seed"])
                    if (result["data"], result["variant"]) == (data, variant)
                ]
                if ends:
                    accuracies = ", ".join(f"{end['count_accuracy']:.2%}" for end in ends)
                    elbo = statistics.mean(end["elbo"] for end in ends)
                    print(f"| {text} | {len(ends)} | {accuracies} | {elbo:.1f} |")
            print()


if __name__ == "__main__":
    tyro.cli(Run | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
