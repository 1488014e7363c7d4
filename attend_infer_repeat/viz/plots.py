"""Figures of a run, drawn from what its folder holds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..air import AIR
from ..data import Dataset
from ..errors import extra
from ..storage import write_atomically
from ..training.data import load_held_out
from ..training.metrics import read_metrics
from ..training.run import load_run
from .colors import GRAY, INK, step_color

with extra("plots", "a figure"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

LINE_COLORS = {"train": "0.65", "validation": "C0", "test": "C3"}


def plot_run(run: Path, data: Dataset | None = None) -> list[Path]:
    """Draw all the figures of a run into its ``figures/`` folder.

    Args:
        run: the folder.
        data: held-out images to show; loaded if None.
    Returns: the files; first the one that shows what the model sees.
    Raises: CheckpointError if the folder holds no run; DataError if its data is gone.
    """
    _, config, air = load_run(run)
    data = load_held_out(config) if data is None else data
    records = read_metrics(run)
    figures = {
        "reconstructions": reconstructions_figure(air, data[first_not_blank(data, 10)]),
        "samples": samples_figure(air, 8 * air.config.count.shown_steps),
        "elbo": curve_figure(records, "elbo", "ELBO (nats per image)"),
        "count_accuracy": curve_figure(records, "count_accuracy", "count accuracy"),
        "confusion": confusion_figure(records),
    }
    folder = run / "figures"
    folder.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            paths.append(folder / f"{name}.png")
            save_figure(figure, paths[-1])
    return paths


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, which is there whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_atomically(path, content.getvalue())


def reconstructions_figure(air: AIR, data: Dataset) -> Figure:
    """Show images over their reconstructions, with the boxes of step 1, 2, 3 in red, green, blue.

    Args:
        air: the model.
        data: about ten images, a column each.
    """
    scenes = air.infer(data.images)
    figure, axes = _grid(2, len(data))
    for i in range(len(data)):
        for row, image in enumerate((data.images[i], scenes.reconstruction[i])):
            show_image(axes[row][i], image)
            show_boxes(axes[row][i], scenes.boxes[i])
        truth = "" if data.counts is None else f" / {data.counts[i]}"
        axes[0][i].set_title(f"{scenes.counts[i]}{truth}", fontsize=9)
    axes[0][0].set_ylabel("image", fontsize=9)
    axes[1][0].set_ylabel("reconstruction", fontsize=9)
    numbers = "objects found" if data.counts is None else "objects found / true number"
    figure.suptitle(f"{data.name}, {data.split}: {numbers}")
    return figure


def samples_figure(air: AIR, num_scenes: int, seed: int = 0, from_prior: bool = False) -> Figure:
    """Show scenes that the model draws.

    Args:
        air: the model.
        num_scenes: how many.
        seed: of the draws.
        from_prior: draw the numbers of objects from p(n), too. Otherwise they are 1..T in equal
            shares, since a prior that makes objects costly draws hardly any.
    """
    steps = air.config.count.shown_steps
    counts = None if from_prior else [1 + i * steps // num_scenes for i in range(num_scenes)]
    scenes = air.sample(num_scenes, counts=counts, seed=seed)
    figure = images_figure(scenes.reconstruction)
    numbers = "n from p(n)" if from_prior else f"n = 1 to {steps} objects"
    figure.suptitle(f"samples from the prior, {numbers}")
    return figure


def images_figure(images: NDArray[np.generic], columns: int = 8) -> Figure:
    """Show images in a grid.

    Args:
        images: (N, height, width) or (N, channels, height, width), intensity.
        columns: of the grid.
    """
    columns = min(columns, len(images))
    figure, axes = _grid(-(-len(images) // columns), columns)
    for i, ax in enumerate(ax for row in axes for ax in row):
        if i < len(images):
            show_image(ax, images[i])
        else:
            ax.set_axis_off()
    return figure


def curve_figure(records: Sequence[dict[str, Any]], name: str, label: str) -> Figure | None:
    """Draw a metric against training steps, a line per split; None if no record has it."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    found = False
    for split, color in LINE_COLORS.items():
        points = [
            (r["step"], r[name])
            for r in records
            if r.get("split", "train") == split and r.get(name) is not None
        ]
        if points:
            found = True
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) == 1 else None
            ax.plot(steps, values, color=color, marker=marker, label=f"{split} ({values[-1]:.4g})")
    if not found:
        return None
    ax.set(xlabel="step", ylabel=label)
    ax.grid(alpha=0.3)
    ax.legend()
    return figure


def confusion_figure(records: Sequence[dict[str, Any]]) -> Figure | None:
    """Draw the last evaluation's counts, true against inferred; None if counts are unknown."""
    evaluations = [record for record in records if record.get("confusion")]
    if not evaluations:
        return None
    last = evaluations[-1]
    matrix = np.array(last["confusion"])
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    ax = figure.subplots()
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(matrix):
        ax.text(
            j, i, str(count), ha="center", va="center", color="w" if shares[i, j] > 0.5 else "k"
        )
    ax.set(
        xlabel="inferred count",
        ylabel="true count",
        xticks=range(matrix.shape[1]),
        yticks=range(matrix.shape[0]),
        title=f"{last['split']}, step {last['step']}: {last['count_accuracy']:.2%} right",
    )
    return figure


def show_image(ax: Axes, image: NDArray[np.generic]) -> None:
    """Show (height, width) or (channels, height, width), uint8 or intensity, without axes.

    Pixel edges lie at whole numbers, as in ``Scenes.boxes``.
    """
    pixels = image.astype(float) / (255 if image.dtype == np.uint8 else 1)
    if pixels.ndim == 3:
        pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    height, width = pixels.shape[:2]
    ax.imshow(
        pixels.clip(0, 1),
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(0, width, height, 0),
        interpolation="nearest",
    )
    ax.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))


def show_boxes(ax: Axes, boxes: NDArray[np.float32]) -> None:
    """Draw the boxes (T, 4) of each step in its color; NaN rows are absent."""
    for t, box in enumerate(boxes):
        if not np.isnan(box[0]):
            show_box(ax, box, step_color(t))


def show_box(ax: Axes, box: NDArray[np.floating], color: str, **style: Any) -> None:
    """Draw one box (4,), pixels x0, y0, x1, y1, in the style of matplotlib's patches."""
    x0, y0, x1, y1 = box.tolist()
    style = {"lw": 1.5} | style
    ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, **style))


def approximately(probability: float) -> str:
    """Return ``= 0.123``, or that it is above 0.999 or below 0.001: no probability is 0 or 1."""
    if probability > 0.999:
        return "> 0.999"
    return "< 0.001" if probability < 0.001 else f"= {probability:.3f}"


def show_code(
    ax: Axes, code: NDArray[np.floating], color: str, limit: float, aspect: float | None = None
) -> None:
    """Show a code, (what_dim,), as bars.

    Args:
        ax: where.
        code: the bars' heights.
        color: of the bars.
        limit: a bar of this height, or of its negative, reaches the edge.
        aspect: height / width; as the axes are if None.
    """
    limit = limit or 1.0
    ax.bar(np.arange(len(code)), code, width=1.0, color=color)
    ax.axhline(0, color=GRAY, lw=0.5)
    ax.set(xlim=(-0.5, len(code) - 0.5), ylim=(-limit, limit), xticks=[], yticks=[])
    ax.set_box_aspect(aspect)
    ax.spines[:].set_color("0.8")


def show_probability(ax: Axes, probability: float, color: str, aspect: float | None = None) -> None:
    """Show a probability as a number over a bar, in axes of height / width ``aspect``."""
    ax.barh(0, 1, height=0.3, color="0.9")
    ax.barh(0, probability, height=0.3, color=color)
    number = approximately(probability).removeprefix("= ")
    ax.text(0.5, 0.3, number, ha="center", va="bottom", color=INK)
    ax.set(xlim=(0, 1), ylim=(-1, 1))
    ax.set_box_aspect(aspect)
    ax.set_axis_off()


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 image``, ``2,000 images``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def symbol(name: str, t: int | None = None) -> str:
    """Return z_name of step t (from 0), or of any step, for use between the dollars of mathtext."""
    return rf"z_{{\mathrm{{{name}}},{'t' if t is None else t + 1}}}"


def first_not_blank(data: Dataset, num: int) -> NDArray[np.intp]:
    """Return where the first images are that show anything, or the first ones if none does."""
    pixels = data.images.reshape(len(data), -1)
    blank = pixels.min(axis=1) == pixels.max(axis=1)
    return np.flatnonzero(~blank)[:num] if not blank.all() else np.arange(min(num, len(data)))


def _grid(rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(1.2 * columns + 0.4, 1.25 * rows + 0.5), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()
