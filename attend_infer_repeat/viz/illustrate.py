"""Pictures of how AIR works: a scene drawn step by step, and an image read step by step.

Symbols are the paper's (Eslami et al. 2016), with the step t = 1..T as an index.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..air import AIR, reproducible
from ..errors import extra
from ..spatial import window_boxes
from .animation import save_inference_animation
from .colors import GRAY, INK, readable_color
from .plots import (
    approximately,
    plural,
    show_box,
    show_code,
    show_image,
    show_probability,
    symbol,
)
from .steps import Array, Step, read_steps

with extra("plots", "a figure"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import ConnectionPatch, Rectangle

__all__ = ["generation_figure", "inference_figure", "save_inference_animation"]

CELL = 1.25
"""Side of an image in a figure, in inches."""


# A scene drawn


def generation_figure(air: AIR, count: int | None = None, seed: int = 0) -> Figure:
    """Show how the model draws a scene: a column for each object, then the image.

    Args:
        air: the model.
        count: the number of objects, in 0..T; T if None.
        seed: of the draws.
    Raises: ShapeError if ``count`` does not fit.
    """
    count = air.config.count.shown_steps if count is None else count
    scene = air.sample(1, counts=[count], seed=seed)
    figure, axes = _grid(count + 1, 4, heights=(0.55, 1, 1, 1))
    if count:
        behind = scene.z_background[0]
        objects = scene.z_where[0, :count], scene.z_what[0, :count]
        _show_objects(axes[:, :count], air, *objects, behind)
        labels = (
            f"code\n${symbol('what')}$",
            "decoded\nwindow",
            f"painted at\n${symbol('where')}$: $y_t$",
            "sum so far",
        )
        for ax, label in zip(axes[:, 0], labels, strict=True):
            _label_row(ax, label)
        for ax, following in zip(axes[3], axes[3, 1:], strict=False):
            _arrow(figure, ax, following)
    _show_image_drawn(axes[:, count], air, scene.reconstruction, count, seed)
    figure.suptitle(
        f"A scene of {plural(count, 'object')}, drawn from $p(x, z)$", fontsize=11, color=INK
    )
    return figure


def _show_objects(
    axes: NDArray[np.object_],
    air: AIR,
    z_where: Array,
    z_what: Array,
    z_background: Array | None,
) -> None:
    """Fill a column for each object: code, window, the object on its canvas, the sum so far.

    Args:
        axes: (4, n).
        air: the model.
        z_where: (n, 3).
        z_what: (n, what_dim).
        z_background: (latent_size,), of what is behind them; None: black.
    """
    where, what = (torch.from_numpy(z).to(air.model.z_where_loc) for z in (z_where, z_what))
    behind = None if z_background is None else torch.from_numpy(z_background).to(where)
    with torch.no_grad():
        windows, objects = air.model.decoder(what), air.model.draw(where, what)
        sums = air.model.partial_canvases(where, what, behind)[1:]
    boxes = window_boxes(where, air.config.canvas_size)
    for t, column in enumerate(axes.T):
        color = readable_color(t)
        _title(column[0], f"step {t + 1}", f"${symbol('pres', t)} = 1$", color)
        show_code(column[0], z_what[t], color, float(np.abs(z_what).max()), aspect=0.5)
        for ax, image in zip(column[1:], (windows[t], objects[t], sums[t]), strict=True):
            show_image(ax, image.cpu().numpy())
        show_box(column[2], boxes[t].cpu().numpy(), color)
        rounded = z_where[t].round(1) + 0.0  # no -0.0
        place = ", ".join(f"{value:.1f}".replace("-", "\N{MINUS SIGN}") for value in rounded)
        for ax, label in zip(column, ("↓", f"↓ ({place})", "↓"), strict=False):
            ax.set_xlabel(label, fontsize=9, color=GRAY)


def _show_image_drawn(
    column: NDArray[np.object_], air: AIR, canvas: Array, count: int, seed: int
) -> None:
    """Show a canvas, (1, channels, height, width), with pixel noise, below why nothing follows."""
    with reproducible(seed + 1, air.device):  # not the draws that made the objects
        x = air.model.x_dist(torch.from_numpy(canvas).to(air.device)).sample()[0].cpu()
    show_image(column[-1], x.numpy())
    noise = f"noise of sd {float(torch.as_tensor(air.model.likelihood.sd).detach()):.2g}"
    _title(column[-1], "image $x$", noise, GRAY)
    for ax in column[:-1]:
        _hide(ax)
    if count < air.model.count_prior.max_count:
        _title(column[0], "stop", f"${symbol('pres', count)} = 0$", GRAY)


# An image read


def inference_figure(air: AIR, image: NDArray[np.generic] | Tensor) -> Figure:
    """Show how the guide reads an image: a row for each object, then the step that stops, faded.

    Args:
        air: the model.
        image: (height, width) or (channels, height, width); uint8, or floats in [0, 1].
    Raises: ShapeError if the image does not fit the model.
    """
    scenes, steps = read_steps(air, image)
    figure, axes = _grid(6, len(steps), widths=(1, 0.8, 1, 1, 1, 1))
    seen = "residual, $r_t$" if air.guide.look.sees_residual else "image, $x$"
    titles = (
        ("attend", seen),
        ("one more?", rf"$q({symbol('pres')} = 1 \mid x)$"),
        ("infer", "window" if air.guide.reading.sees_window else "from $h_t$"),
        ("code", f"${symbol('what')}$"),
        ("draw", "decoded window"),
        ("repeat", "sum so far"),
    )
    for ax, (title, subtitle) in zip(axes[0], titles, strict=True):
        _title(ax, title, subtitle, INK)
    limit = max(float(np.abs(step.z_what).max()) for step in steps)
    for row, step in zip(axes, steps, strict=True):
        _show_step(row, step, limit)
    count = int(scenes.counts[0])
    probability = f"$q(n = {count} \\mid x)$ {approximately(scenes.count_probs[0, count])}"
    figure.suptitle(f"{plural(count, 'object')} found, {probability}", fontsize=11, color=INK)
    return figure


def _show_step(row: NDArray[np.object_], step: Step, limit: float) -> None:
    """Fill a row of six axes; codes reach from -limit to limit."""
    color = readable_color(step.t)
    _label_row(row[0], f"step {step.t + 1}" if step.present else f"step {step.t + 1}:\nstop", color)
    show_image(row[0], step.seen)
    show_box(row[0], step.box, color)
    if step.glimpse is not None:
        show_box(row[0], step.glimpse, color, lw=1, ls="--")
    show_probability(row[1], step.presence, color, aspect=1 / 0.8)
    show_code(row[3], step.z_what, color, limit, aspect=1)
    pictures = step.window, step.decoded, step.canvas if step.present else None
    for ax, picture in zip(row[[2, 4, 5]], pictures, strict=True):
        _hide(ax) if picture is None else show_image(ax, picture)
    if not step.present:
        for ax in row[[0, 2, 3, 4]]:
            _fade(ax)


# Parts


def _grid(
    columns: int, rows: int, widths: Sequence[float] = (), heights: Sequence[float] = ()
) -> tuple[Figure, NDArray[np.object_]]:
    """Return a figure and its axes, (rows, columns), of relative sizes, all alike by default."""
    widths, heights = widths or (1.0,) * columns, heights or (1.0,) * rows
    size = CELL * sum(widths) + 0.9, CELL * sum(heights) + 1.0
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.08))
    ratios = {"width_ratios": widths, "height_ratios": heights}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=ratios)
    for ax in axes.flat:
        ax.set_anchor("N")  # titles above pictures of unlike shapes stay in line
    return figure, axes


def _title(ax: Axes, title: str, subtitle: str, color: str) -> None:
    """Write two lines, whose baselines are the same above all axes of a row."""
    for text, height, size in ((title, 22, 11), (subtitle, 7, 9)):
        ax.annotate(
            text,
            (0.5, 1),
            (0, height),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            fontsize=size,
            color=color,
        )


def _label_row(ax: Axes, label: str, color: str = INK) -> None:
    ax.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=8, fontsize=10, color=color)


def _hide(ax: Axes) -> None:
    """Leave a place empty, but for its title."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _fade(ax: Axes) -> None:
    """Lay a veil over an image, and over its edges."""
    veil = Rectangle((-0.01, -0.01), 1.02, 1.02, facecolor="w", alpha=0.65, zorder=9)
    veil.set(transform=ax.transAxes, clip_on=False)
    ax.add_patch(veil)


def _arrow(figure: Figure, start: Axes, end: Axes) -> None:
    """Point from one image to the next one on its right."""
    arrow = ConnectionPatch(
        (1.03, 0.5),
        (-0.03, 0.5),
        coordsA=start.transAxes,
        coordsB=end.transAxes,
        arrowstyle="-|>",
        color=GRAY,
    )
    arrow.set_in_layout(False)
    figure.add_artist(arrow)
