"""Train the weights that come with the package, and write their cards.

    python benchmarks/weights.py            train what has no run, and install all three
    python benchmarks/weights.py --name digits

Each is trained by the command on its card, ``attend_infer_repeat/weights/NAME/README.md``, whose
figures are measured here on the test split, which chooses nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from attend_infer_repeat import AIR, evaluate, load_dataset
from attend_infer_repeat.calibration import reliability
from attend_infer_repeat.checkpoints import WEIGHTS, read_checkpoint, save_checkpoint
from attend_infer_repeat.runs import read_provenance

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
- It has seen 0 to 2 digits and can count to 3. Of scenes with three it has seen none.
- Digits that touch or overlap are counted worse than those that do not.
- Its boxes are windows, of the size of a digit's frame with its margin, not bounds of ink.""",
    "digits": """\
- It has seen scikit-learn's 8 x 8 digits, enlarged to about 12 to 20 pixels, bright on black, on
  50 x 50 pixels: soft strokes of few writers.
- It has seen 0 to 2 digits and can count to 3.
- Digits that touch or overlap are counted worse than those that do not.""",
    "sprites": """\
- It has seen grey squares, circles and triangles of 10 to 17 pixels on black, on 50 x 50 pixels,
  without overlap. Other shapes are drawn as the nearest of these.
- It has seen 0 to 3 shapes and can count no further.""",
}


@dataclass(frozen=True)
class Weights:
    """Train and install weights."""

    name: tuple[str, ...] = tuple(OPTIONS)
    """Which."""
    folder: Path = Path("runs/weights")
    """Folder of the runs."""

    def run(self) -> None:
        """Run the command."""
        for name in self.name:
            run = self.folder / name
            if not (run / "figures").exists():
                command = f"train --data {name} {OPTIONS[name]} --out {run}"
                subprocess.run(
                    [sys.executable, "-m", "attend_infer_repeat.cli", *command.split()], check=True
                )
            install(name, run)
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
    (WEIGHTS / name / "README.md").write_text(card(name, air, checkpoint.seconds, made_with))


def card(name: str, air: AIR, seconds: float, made_with: dict[str, Any]) -> str:
    """Return a model's card."""
    data = load_dataset(name, "test")
    found = evaluate(air, data)
    assert data.counts is not None
    calibration = reliability(air.infer(data.images).count_probs, data.counts)
    checkpoint = read_checkpoint(WEIGHTS / name)
    file = f"model-{checkpoint.sha256['model'][:16]}.safetensors"
    size = (WEIGHTS / name / file).stat().st_size
    numbers = sum(parameter.numel() for parameter in air.parameters())
    header = (
        "| true \\ inferred | " + " | ".join(map(str, range(air.config.model_steps + 1))) + " |"
    )
    rows = [f"| {n} | " + " | ".join(map(str, row)) + " |" for n, row in enumerate(found.confusion)]
    rule = "| --- " * (air.config.model_steps + 2) + "|"
    confusion = "\n".join([header, rule, *rows])
    return f"""\
# {name}: a trained AIR

Counts, locates and describes the {PIECES[name]} in grey pictures: `air infer {name} picture.png`,
or `attend_infer_repeat.AIR.load("{name}")`. It has seen no label.

**Data.** The training split of `{name}`, without its last 2,000 scenes.

**Command.** `air train --data {name} {OPTIONS[name]}`, seed 0: {seconds:.0f} s
of training on one core of an AMD EPYC; torch {made_with["torch"]}, commit {made_with["commit"]}.

**File.** `{file}`: {numbers:,} parameters, {size / 2**20:.1f} MiB. Its SHA-256,
`{checkpoint.sha256["model"]}`,
is checked whenever it is loaded. `state.json` holds the settings.

**Measured** on the test split, {found.num_images:,} scenes that decided nothing:

| | |
| --- | --- |
| counts right | {found.count_accuracy:.2%} |
| ELBO | {found.elbo:.1f} nats per image |
| median IoU of found and true boxes | {found.box_iou:.3f} |
| average precision of boxes at an IoU of 0.5 (COCO) | {found.box_ap50:.3f} |
| calibration error (ECE) of q(n given x) | {calibration.ece:.4f} |

{confusion}

**Limits.**

{LIMITS[name]}
"""


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    tyro.cli(Weights, description=__doc__).run()
