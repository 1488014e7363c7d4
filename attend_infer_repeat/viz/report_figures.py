"""Figures over many images: reliability, effective samples, codes, object sizes and places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import extra
from ..evaluation.calibration import Reliability
from ..evaluation.components import principal_components
from .plots import show_image

with extra("report", "a report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# Probabilities below this, or above 1 - SURE, are drawn there: log-odds have no end.
SURE = 1e-4
PROBABILITIES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
MAP_CELLS = 14
"""Cells of the map of codes along its longer side."""


def reliability_figure(results: Mapping[str, Reliability]) -> Figure:
    """Draw how often what was stated with a probability happened, on axes of log-odds.

    Args:
        results: by name; the first is drawn the strongest.
    """
    figure = Figure(figsize=(4.8, 4.6), layout="constrained")
    ax = figure.subplots()
    ax.plot([SURE, 1 - SURE], [SURE, 1 - SURE], color="0.7", lw=1, label="calibrated")
    for i, (name, result) in enumerate(results.items()):
        # Side by side: a factor of the odds, so that bars of equal bins do not hide each other.
        stated = _shift_odds(_inside([b.stated for b in result.bins]), 1.25**i)
        observed = _inside([b.observed for b in result.bins])
        low, high = _inside([b.interval for b in result.bins]).T
        ax.errorbar(
            stated,
            observed,
            yerr=(observed - low, high - observed),
            fmt="o" if i == 0 else "s",
            color=f"C{i}",
            mfc=f"C{i}" if i == 0 else "w",
            ms=5,
            capsize=2,
            label=name,
        )
    ax.set(
        xscale="logit",
        yscale="logit",
        xlim=(SURE / 2, 1 - SURE / 2),
        ylim=(SURE / 2, 1 - SURE / 2),
        xlabel="stated probability of a count",
        ylabel="share of images with that count",
        aspect="equal",
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(FixedLocator(PROBABILITIES))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right", fontsize=8)
    return figure


def _inside(probs: object) -> NDArray[np.float64]:
    return np.asarray(probs, np.float64).clip(SURE, 1 - SURE)


def _shift_odds(probs: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    odds = factor * probs / (1 - probs)
    return _inside(odds / (1 + odds))


def effective_samples_figure(sizes: NDArray[np.floating], num_samples: int) -> Figure:
    """Draw how many images have which effective sample size.

    Args:
        sizes: (N,), from 1 to ``num_samples``.
        num_samples: K, importance samples per image.
    """
    figure, ax = _small()
    ax.hist(sizes, bins=np.linspace(1, max(num_samples, 2), 21).tolist(), color="C0")
    ax.set(xlabel=f"effective sample size (of {num_samples})", ylabel="images")
    ax.grid(alpha=0.3)
    return figure


def code_positions(codes: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """Project codes onto their first two principal components.

    Args:
        codes: (M, what_dim), M >= 1.
    Returns: positions (M, 2), whose signs make the largest weight of each component positive; and
        the share of the codes' variance that they keep, from 0 to 1.
    """
    if np.ptp(codes, axis=0).max() == 0:  # there is nothing to tell apart
        return np.zeros((len(codes), 2)), 1.0
    pca = principal_components(codes, 2)
    positions = pca.transform(codes)
    share = float(pca.explained_variance_ratio_.sum())
    return np.pad(positions, ((0, 0), (0, 2 - positions.shape[1]))), share


def code_map_figure(positions: NDArray[np.float64], objects: NDArray[np.floating]) -> Figure:
    """Draw objects where their codes lie: in each cell of a grid, the one nearest to its center.

    Args:
        positions: (M, 2), M >= 1. The map ends at the outermost hundredth along each axis.
        objects: (M, channels, h, w), intensity.
    """
    low, high = np.quantile(positions, (0.01, 0.99), axis=0)
    extent = np.maximum(high - low, 1e-12)
    columns, rows = np.maximum(np.ceil(MAP_CELLS * extent / extent.max()), 1).astype(int)
    place = (positions - low) / extent * (columns, rows)  # in cells
    cells = np.minimum(np.floor(place), (columns - 1, rows - 1)).astype(int)
    inside = (place >= 0).all(axis=1) & (place <= (columns, rows)).all(axis=1)
    distance = np.square(place - cells - 0.5).sum(axis=1)
    height, width = np.array(objects.shape[-2:]) + 2  # a margin around each
    canvas = np.ones((objects.shape[1], rows * height, columns * width))
    for i in np.argsort(-distance, kind="stable"):  # the nearest is drawn last, and stays
        if inside[i]:
            top, left = (rows - 1 - cells[i, 1]) * height + 1, cells[i, 0] * width + 1
            canvas[:, top : top + height - 2, left : left + width - 2] = objects[i]
    size = 7 * np.array(canvas.shape[:0:-1]) / max(canvas.shape[1:])  # (width, height), inches
    figure = Figure(figsize=(size[0], size[1]), layout="constrained")
    ax = figure.subplots()
    show_image(ax, canvas)
    ax.set_frame_on(False)
    return figure


def sizes_figure(found: NDArray[np.floating], true: NDArray[np.floating] | None) -> Figure:
    """Draw how many objects have which size, the longer side of their box.

    Args:
        found: (M, 4), boxes in pixels.
        true: (L, 4), likewise; None where unknown.
    """
    figure, ax = _small()
    groups = {"found": _longer_side(found)}
    if true is not None and len(true):
        groups["true"] = _longer_side(true)
    sides = np.concatenate(list(groups.values()))
    width = max(1, round(np.ptp(sides) / 40))  # whole pixels, as true sizes are
    bins = np.arange(np.floor(sides.min()) - 0.5, sides.max() + width, width).tolist()
    for i, (name, sizes) in enumerate(groups.items()):
        label = f"{name}, median {np.median(sizes):.1f}"
        ax.hist(sizes, bins=bins, color=f"C{i}", label=label, histtype=("stepfilled", "step")[i])
    ax.set(xlabel="longer side of the box (pixels)", ylabel="objects")
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)
    return figure


def places_figure(boxes: NDArray[np.floating], canvas_size: tuple[int, int]) -> Figure:
    """Draw where on the canvas the centers of boxes lie, as a map of densities.

    Args:
        boxes: (M, 4), pixels. A center beyond the canvas counts at its edge.
        canvas_size: (height, width) in pixels.
    """
    height, width = canvas_size
    x = ((boxes[:, 0] + boxes[:, 2]) / 2).clip(0, width)
    y = ((boxes[:, 1] + boxes[:, 3]) / 2).clip(0, height)
    cell = max(1.0, max(canvas_size) / 25)
    bins = max(1, round(height / cell)), max(1, round(width / cell))
    density, _, _ = np.histogram2d(y, x, bins=bins, range=((0, height), (0, width)))
    figure, ax = _small()
    shown = ax.imshow(density, cmap="Blues", vmin=0, extent=(0, width, height, 0))
    ax.set(xlabel="x (pixels)", ylabel="y (pixels)")
    figure.colorbar(shown, label="objects")
    return figure


def _longer_side(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])


def _small() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    return figure, figure.subplots()
