"""Does `air train --data FOLDER` work on pictures that the package did not draw?

    python benchmarks/pictures.py run      draw the folders, train, infer, judge; half an hour
    python benchmarks/pictures.py table    print the results as a table

Folders of 2,000 pictures, and 1,000 of the same kind to judge by, drawn here with Pillow:

    shapes   squares, circles, triangles and diamonds in seven colors on black, 96 x 96, of 12 to
             24 pixels, 0 to 4 to a picture, which may cover up to a quarter of each other
    dim      the same in four dim and two bright colors, none of which covers another
    scans    0 to 3 handwritten digits (scikit-learn's; other digits to judge by) in dark ink on
             paper, with noise and JPEG's artifacts, pages of 120 to 199 pixels a side

Each is trained on by `air train --data FOLDER`, without a setting, and the pictures to judge by go
through `air infer --format coco`. Boxes are judged by pycocotools at an IoU of 0.5. Nothing is
chosen by these pictures; the settings of the preset auto were tried out on others of their kinds.

Results: ``benchmarks/results/pictures/KIND-SEED.json``.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image, ImageDraw
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from runs import RESULTS, machine, parse_seeds, read_results, write_result
from sklearn.datasets import load_digits

FOLDER = RESULTS / "pictures"
SIZES = {"train": 2_000, "judge": 1_000}
SEEDS = {"train": 11, "judge": 12}  # of the pictures
COLORS = ("#e63c3c", "#46c85a", "#5078f0", "#f0d246", "#dc5adc", "#5adcdc", "#f0f0f0")

DIM_AND_BRIGHT = ("#782828", "#286e32", "#283c82", "#826e28", "#e63c3c", "#5078f0")

DIGITS = load_digits().images

Scene = tuple[Image.Image, list[tuple[int, int, int, int]]]  # with boxes x0, y0, x1, y1


@dataclass(frozen=True)
class Run:
    """Draw, train, infer and judge what has no result yet."""

    seeds: str = "0-1"
    """Training seeds of each kind."""
    folder: Path = Path("runs/pictures")
    """Folder for pictures, runs and what was found."""
    threads: int = os.cpu_count() or 1
    """Threads of training."""

    def run(self) -> None:
        """Run the command."""
        for kind, draw in KINDS.items():
            data = self.folder / kind
            for part, number in SIZES.items():
                write_folder(data / part, draw, number, np.random.default_rng(SEEDS[part]), part)
        for kind, seed in itertools.product(KINDS, parse_seeds(self.seeds)):
            result = FOLDER / f"{kind}-{seed}.json"
            if not result.exists():
                run = self.folder / f"{kind}-{seed}"
                shutil.rmtree(run, ignore_errors=True)  # of a measurement that was cut
                write_result(result, measure(kind, seed, self.folder / kind, run, self.threads))
                print(result, flush=True)


@dataclass(frozen=True)
class Table:
    """Print the results as Markdown."""

    def run(self) -> None:
        """Run the command."""
        print(table())


def table() -> str:
    """Return the results as Markdown."""
    lines = [
        "| pictures | seed | count accuracy | box AP at 0.5 | training | start to end |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    results = {(r["kind"], r["seed"]): r for r in read_results(FOLDER)}
    order = sorted(results, key=lambda key: (list(KINDS).index(key[0]), key[1]))
    for kind, seed in order:
        result = results[kind, seed]
        lines.append(
            f"| {kind} | {seed} | {result['count_accuracy']:.1%} "
            f"| {result['box_ap50']:.3f} | {result['train_seconds']:.0f} s "
            f"| {result['seconds']:.0f} s |"
        )
    return "\n".join(lines)


def measure(kind: str, seed: int, data: Path, run: Path, threads: int) -> dict[str, Any]:
    """Train on a folder, infer another one, and judge what was found."""
    train = f"train --data {data / 'train'} --seed {seed} --out {run} --quiet"
    infer = f"infer {run} {data / 'judge'} --format coco --no-annotate --quiet --out {run}/found"
    began = time.perf_counter()
    for command in (train, infer):
        subprocess.run(
            [sys.executable, "-m", "attend_infer_repeat.cli", *command.split()],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
    seconds = time.perf_counter() - began
    config = json.loads((run / "config.json").read_text())["config"]
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    truth = data / "judge" / "annotations.json"
    return {
        "kind": kind,
        "seed": seed,
        "commands": [f"air {train}", f"air {infer}"],
        "machine": machine(threads),
        "chosen": config["chosen"],
        "train_seconds": last["seconds"],
        "seconds": seconds,
        "count_accuracy": count_accuracy(run / "found" / "scenes.jsonl", truth),
        "box_ap50": precision(run / "found" / "coco_results.json", truth),
    }


def count_accuracy(lines: Path, truth: Path) -> float:
    """Return the share of pictures whose count is right."""
    content = json.loads(truth.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    counts = dict.fromkeys(names.values(), 0)
    for annotation in content["annotations"]:
        counts[names[annotation["image_id"]]] += 1
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    right = [record["count"] == counts[Path(record["file"]).name] for record in records]
    assert len(right) == len(counts)
    return float(np.mean(right))


def precision(found: Path, truth: Path) -> float:
    """Return COCO's average precision at an IoU of 0.5."""
    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO(str(truth))
        evaluation = COCOeval(true, true.loadRes(str(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1])


# The pictures

MOST_TRIES = 1_000
"""Places that are tried for the objects of a picture: on a small page there may be none left."""


def write_folder(
    folder: Path,
    draw: Callable[[np.random.Generator, str], Scene],
    number: int,
    rng: np.random.Generator,
    part: str,
) -> None:
    """Draw a folder of pictures, with a COCO file beside them, unless it is there."""
    truth = folder / "annotations.json"
    if truth.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i in range(number):
        picture, boxes = draw(rng, part)
        name = f"{i:04d}.png" if picture.mode == "RGB" else f"{i:04d}.jpg"
        picture.save(folder / name, quality=int(rng.integers(40, 81)))
        images.append({"id": i + 1, "file_name": name}
                      | dict(zip(("width", "height"), picture.size, strict=True)))  # fmt: skip
        for x0, y0, x1, y1 in boxes:
            width, height = x1 - x0, y1 - y0
            annotations.append({
                "id": len(annotations) + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0,
                "bbox": [x0, y0, width, height], "area": width * height,
            })  # fmt: skip
    categories = [{"id": 1, "name": "object"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    truth.write_text(json.dumps(content))


def draw_shapes(
    rng: np.random.Generator, part: str, colors: tuple[str, ...] = COLORS, cover: float = 0.25
) -> Scene:
    """Draw 0 to 4 shapes on black, which cover at most that share of each other."""
    picture = Image.new("RGB", (96, 96))
    pen = ImageDraw.Draw(picture)
    boxes: list[tuple[int, int, int, int]] = []
    number = int(rng.integers(5))
    for _ in range(MOST_TRIES):
        if len(boxes) == number:
            break
        size = int(rng.integers(12, 25))
        x, y = (int(at) for at in rng.integers(0, 97 - size, size=2))
        box = x, y, x + size, y + size
        if any(covered(box, other) > cover for other in boxes):
            continue
        boxes.append(box)
        color, right, low = colors[rng.integers(len(colors))], x + size - 1, y + size - 1
        middle = x + size / 2, y + size / 2
        match int(rng.integers(4)):
            case 0:
                pen.rectangle((x, y, right, low), fill=color)
            case 1:
                pen.ellipse((x, y, right, low), fill=color)
            case 2:
                pen.polygon([(x, low), (right, low), (middle[0], y)], fill=color)
            case 3:
                corners = [(middle[0], y), (right, middle[1]), (middle[0], low), (x, middle[1])]
                pen.polygon(corners, fill=color)
    return picture, boxes


def draw_dim_shapes(rng: np.random.Generator, part: str) -> Scene:
    """Draw shapes of which some have five times the energy of others, and none covers another."""
    return draw_shapes(rng, part, DIM_AND_BRIGHT, cover=0.0)


def covered(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    """Return the overlap of two boxes as a share of the smaller one."""
    width, height = (
        max(0, min(first[i + 2], second[i + 2]) - max(first[i], second[i])) for i in (0, 1)
    )
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / min(areas)


def draw_scan(rng: np.random.Generator, part: str) -> Scene:
    """Draw a page with 0 to 3 digits; their boxes are those of their ink."""
    digits = DIGITS[1_400:] if part == "judge" else DIGITS[:1_400]
    height, width = (int(side) for side in rng.integers(120, 200, size=2))
    page = np.full((height, width), rng.normal(242, 4))
    frames: list[tuple[int, int]] = []
    boxes = []
    number = int(rng.integers(4))
    for _ in range(MOST_TRIES):
        if len(boxes) == number:
            break
        size = int(rng.integers(34, 50))
        x, y = int(rng.integers(0, width - size)), int(rng.integers(0, height - size))
        if any(abs(x - u) < 45 and abs(y - v) < 45 for u, v in frames):
            continue
        frames.append((x, y))
        glyph = Image.fromarray((digits[rng.integers(len(digits))] * (255 / 16)).astype(np.uint8))
        ink = np.asarray(glyph.resize((size, size), Image.Resampling.BICUBIC)).astype(float)
        page[y : y + size, x : x + size] -= 0.85 * ink
        rows, columns = (np.flatnonzero((ink > 85).any(axis=axis)) for axis in (1, 0))
        boxes.append(
            (x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1)
        )
    page += rng.normal(0, 5, page.shape)
    return Image.fromarray(page.clip(0, 255).astype(np.uint8)), boxes


KINDS = {"shapes": draw_shapes, "scans": draw_scan, "dim": draw_dim_shapes}


if __name__ == "__main__":
    tyro.cli(Run | Table, config=(tyro.conf.OmitSubcommandPrefixes,)).run()  # type: ignore[arg-type]
