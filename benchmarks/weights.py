"""Train the weights that come with the package, and write their cards.

    python benchmarks/weights.py train      train what has no run, and install all three
    python benchmarks/weights.py measure    measure what is installed, and write the cards

Each is trained by the command on its card, ``attend_infer_repeat/weights/NAME/README.md``, whose
figures are measured here on the test split, which chooses nothing. Results:
``benchmarks/results/weights/NAME.json``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from runs import RESULTS, machine, read_result, train, write_result

from attend_infer_repeat import AIR, evaluate, load_dataset
from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from attend_infer_repeat.checkpoints.find import WEIGHTS
from attend_infer_repeat.evaluation.calibration import EDGES, reliability
from attend_infer_repeat.training.run import read_provenance

FOLDER = RESULTS / "weights"

OPTIONS = {
    "multi-mnist": "-n 10000 --lr-schedule cosine",
    "digits": "-n 10000 --lr-schedule cosine --boxes ink",
    "sprites": "-n 10000 --lr-schedule cosine --boxes ink",
}
PIECES = {"multi-mnist": "digits", "digits": "digits", "sprites": "shapes"}
LIMITS = {
    "multi-mnist": """\
- It has seen MNIST digits in frames of about 18 to 27 pixels, upright, bright on black, on
  50 x 50 pixels. Pictures of other sizes are scaled to that; digits that are then much larger or
  smaller are split, missed or joined.
- Its pictures have 0 to 2 digits, and it can count to 3. The scenes of three digits that it was
  trained on are composites: sums of three pictures in which it saw one digit each.
- Digits that touch or overlap are counted worse than those that do not.
- Its boxes are windows, of the size of a digit's frame with its margin, not bounds of ink.""",
    "digits": """\
- It has seen scikit-learn's 8 x 8 digits, enlarged to about 12 to 20 pixels, bright on black, on
  50 x 50 pixels: soft strokes of few writers.
- Its pictures have 0 to 2 digits, and it can count to 3. The scenes of three digits that it was
  trained on are composites: sums of three pictures in which it saw one digit each.
- Digits that touch or overlap are counted worse than those that do not.""",
    "sprites": """\
- It has seen gray squares, circles and triangles of 10 to 17 pixels on black, on 50 x 50 pixels,
  without overlap. Other shapes are drawn as the nearest of these.
- It has seen 0 to 3 shapes and can count no further.""",
}


@dataclass(frozen=True)
class Train:
    """Train weights, install them and measure them."""

    name: tuple[str, ...] = tuple(OPTIONS)
    """Which."""
    folder: Path = Path("runs/weights")
    """Folder of the runs."""

    def run(self) -> None:
        """Run the command."""
        for name in self.name:
            run = self.folder / name
            train(f"--data {name} {OPTIONS[name]}", run, threads=1, quiet=False)
            install(name, run)
        Measure(self.name).run()


@dataclass(frozen=True)
class Measure:
    """Measure the installed weights on the test split and write their cards."""

    name: tuple[str, ...] = tuple(OPTIONS)
    """Which."""

    def run(self) -> None:
        """Run the command."""
        for name in self.name:
            write_result(FOLDER / f"{name}.json", measure(name))
            (WEIGHTS / name / "README.md").write_text(card(name))
            print(WEIGHTS / name)


def install(name: str, run: Path) -> None:
    """Put a run's model, without what only training needs, into the package, with its card."""
    checkpoint, air = read_checkpoint(run), AIR.load(run)
    save_checkpoint(
        WEIGHTS / name,
        air,
        train_config=checkpoint.train_config,
        step=checkpoint.step,
        seconds=checkpoint.seconds,
    )
    made_with = read_provenance(run)["versions"]
    state = WEIGHTS / name / "state.json"
    content = json.loads(state.read_text()) | {"versions": made_with}  # not those that copied it
    state.write_text(json.dumps(content, indent=2) + "\n")


def measure(name: str) -> dict[str, Any]:
    """Return what installed weights reach on the test split."""
    air, data = AIR.load(name), load_dataset(name, "test")
    found = evaluate(air, data).to_dict()
    assert data.counts is not None
    calibration = reliability(air.infer(data.images).count_probs, data.counts)
    figures = ("num_images", "count_accuracy", "elbo", "box_iou", "box_ap50", "confusion")
    return {
        "command": f"python benchmarks/weights.py measure --name {name}",
        "machine": machine(1),
        "sha256": read_checkpoint(WEIGHTS / name).sha256["model"],
        "num_parameters": sum(parameter.numel() for parameter in air.parameters()),
        **{figure: found[figure] for figure in figures},
        "ece": calibration.ece,
        "ece_edges": EDGES,
    }


def card(name: str) -> str:
    """Return the card of installed weights, with their measured figures."""
    found, checkpoint = read_result(FOLDER / f"{name}.json"), read_checkpoint(WEIGHTS / name)
    made_with = json.loads((WEIGHTS / name / "state.json").read_text())["versions"]
    file = f"model-{checkpoint.sha256['model'][:16]}.safetensors"
    size = (WEIGHTS / name / file).stat().st_size
    steps = checkpoint.model_config.count.model_steps
    header = "| true \\ inferred | " + " | ".join(map(str, range(steps + 1))) + " |"
    rows = [f"| {n} | " + " | ".join(map(str, r)) + " |" for n, r in enumerate(found["confusion"])]
    edges = ", ".join(f"{edge:g}" for edge in found["ece_edges"])
    confusion = "\n".join([header, "| --- " * (steps + 2) + "|", *rows])
    return f"""\
# {name}: a trained AIR

Counts, locates and describes the {PIECES[name]} in gray pictures: `air infer {name} picture.png`,
or `attend_infer_repeat.AIR.load("{name}")`. It was trained without labels; the settings of its
preset were chosen by the count accuracy on labeled validation scenes.

**Data.** The training split of `{name}`, without its last 2,000 scenes.

**Command.** `air train --data {name} {OPTIONS[name]}`, seed 0: {checkpoint.seconds:.0f} s
of training on one core of an AMD EPYC; torch {made_with["torch"]}, commit {made_with["commit"]}.

**File.** `{file}`: {found["num_parameters"]:,} parameters, {size / 2**20:.1f} MiB. Its SHA-256,
`{checkpoint.sha256["model"]}`,
is checked whenever it is loaded. `state.json` holds the settings.

**Measured** on the test split, {found["num_images"]:,} scenes that decided nothing:

| | |
| --- | --- |
| count accuracy | {found["count_accuracy"]:.2%} |
| ELBO | {found["elbo"]:.1f} nats per image |
| median IoU of found and true boxes | {found["box_iou"]:.3f} |
| average precision of boxes at an IoU of 0.5 (COCO) | {found["box_ap50"]:.3f} |
| calibration error (ECE) of q(n given x), in bins with edges {edges} | {found["ece"]:.4f} |

{confusion}

**Limits.**

{LIMITS[name]}
"""


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    tyro.cli(Train | Measure, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
