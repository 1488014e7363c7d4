"""An animation of AIR at work on one image: attend, infer, draw, repeat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..air import AIR
from ..errors import extra
from ..spatial import MIN_SCALE, image_to_object, window_boxes
from ..storage import replacing
from .colors import GRAY, INK, readable_color
from .plots import approximately, plural, show_box, show_code, show_image, symbol
from .steps import Array, Step, read_steps

with extra("plots", "an animation"):
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

SIZE = 720, 424
"""Width and height in pixels, if it is not scaled."""
SIDE, GAP, TOP = 204, 30, 52
"""Of the three panels: side, space to the left of each, and space above, in pixels."""
TITLE, TEXT = 25, 23
"""Heights of letters in pixels: legible at half the size, on a phone."""
PAUSE = 3_000
"""Milliseconds for which the end stands still."""
ALMOST_WHITE = 245
"""A palette's near whites, from here on, become the paper's."""


@dataclass(frozen=True)
class Moment:
    """What a frame shows: three panels, what is below them, and a sentence."""

    seen: Array  # (channels, height, width), left: what the guide looks at
    drawn: Array  # (channels, height, width), right: the objects so far
    limit: float  # a bar of this height in the code reaches the edge
    code: Array | None = None  # (what_dim,), below the middle
    window: Array | None = None  # (channels, h, w), middle
    count_probs: Array | None = None  # (T + 1,), in the window's place
    presence: float | None = None  # below the left
    boxes: tuple[tuple[str, Array], ...] = ()  # on the left: colors and pixels (4,)
    glimpse: Array | None = None  # (4,), pixels, likewise
    titles: tuple[str, str, str] = ("attend", "infer", "draw")
    active: int | None = None  # the panel where something happens
    color: str = INK  # of the step
    caption: str = ""
    milliseconds: int | None = None  # None: a frame of a movement


def save_inference_animation(
    air: AIR,
    image: NDArray[np.generic] | Tensor,
    path: str | PathLike[str],
    *,
    width: int = SIZE[0],
    frame_ms: int = 60,
) -> None:
    """Save an animated GIF of how the guide reads an image; it starts again after a pause.

    Args:
        air: the model.
        image: (height, width) or (channels, height, width); uint8, or floats in [0, 1].
        path: the file.
        width: in pixels.
        frame_ms: milliseconds from frame to frame of a movement; more make fewer frames.
    Raises: ShapeError if the image does not fit the model.
    """
    moments = _story(air, image, frame_ms)
    screen = _Screen(width)
    frames = _with_one_palette([screen.render(moment) for moment in moments])
    durations = [moment.milliseconds or frame_ms for moment in moments]
    options = {"save_all": True, "append_images": frames[1:], "duration": durations, "loop": 0}
    with replacing(path) as file:
        frames[0].save(file, "GIF", **options)


# The story: each act goes on from a moment and returns those that follow it.


def _story(air: AIR, image: NDArray[np.generic] | Tensor, frame_ms: int) -> list[Moment]:
    scenes, steps = read_steps(air, image)
    x = steps[0].seen
    start = Moment(
        seen=x,
        drawn=np.zeros_like(x),
        limit=max(float(np.abs(step.z_what).max()) for step in steps),
        caption="How many objects, where, and what?",
        milliseconds=800,
    )
    story = [start]
    for step in steps:
        story += _decide(story[-1], step, frame_ms)
        if step.present:
            story += _attend(story[-1], step, x, frame_ms)
            story += _infer(story[-1], step, frame_ms)
            story += _draw(story[-1], step, frame_ms, loses=air.guide.look.sees_residual)
    return story + _end(story[-1], steps, scenes.count_probs[0], frame_ms)


def _decide(moment: Moment, step: Step, frame_ms: int) -> list[Moment]:
    """Ask whether there is one more object."""
    moment = replace(
        moment,
        seen=step.seen,
        code=None,
        window=None,
        boxes=(),
        glimpse=step.glimpse,
        active=0,
        color=readable_color(step.t),
        caption=f"Step {step.t + 1}: is anything not yet drawn?",
        milliseconds=None,
    )
    story = [replace(moment, presence=share * step.presence) for share in _shares(400, frame_ms)]
    probability = rf"$q({symbol('pres', step.t)} = 1 \mid x)$ {approximately(step.presence)}"
    caption = f"{probability}: {'one more' if step.present else 'stop'}"
    return [*story, replace(story[-1], caption=caption, milliseconds=700)]


def _attend(moment: Moment, step: Step, x: Array, frame_ms: int) -> list[Moment]:
    """Move the window from the whole image, (channels, height, width), to its place."""
    caption = "Attend: move a window there"
    moment = replace(moment, glimpse=None, caption=caption, milliseconds=None)
    canvas = torch.from_numpy(x)
    poses = _poses_towards(step.z_where, _shares(900, frame_ms)).to(canvas)
    boxes = window_boxes(poses, (x.shape[-2], x.shape[-1])).numpy()
    story = [replace(moment, boxes=((moment.color, box),)) for box in boxes]
    if step.window is not None:
        size = step.window.shape[-2], step.window.shape[-1]
        windows = image_to_object(poses, canvas.expand(len(poses), *x.shape), size).numpy()
        story = [replace(m, window=window) for m, window in zip(story, windows, strict=True)]
    return [*story, replace(story[-1], milliseconds=250)]


def _infer(moment: Moment, step: Step, frame_ms: int) -> list[Moment]:
    """Read the code, whose bars grow."""
    caption = f"Infer: what is it? The code ${symbol('what', step.t)}$"
    moment = replace(moment, active=1, caption=caption, milliseconds=None)
    story = [replace(moment, code=share * step.z_what) for share in _shares(450, frame_ms)]
    return [*story, replace(story[-1], milliseconds=550)]


def _draw(moment: Moment, step: Step, frame_ms: int, loses: bool) -> list[Moment]:
    """Draw the decoded object, which what is looked at loses, if it ``loses`` any."""
    caption = "Draw it, and take it away" if loses else "Draw it"
    moment = replace(moment, active=2, caption=caption, milliseconds=None, window=step.decoded)
    story = []
    for share in _shares(600, frame_ms):
        drawn = moment.drawn + share * (step.canvas - moment.drawn)
        seen = moment.seen + share * (step.residual - moment.seen) if loses else moment.seen
        story.append(replace(moment, drawn=drawn, seen=seen))
    return [*story, replace(story[-1], caption="Repeat: look again", milliseconds=550)]


def _end(moment: Moment, steps: list[Step], count_probs: Array, frame_ms: int) -> list[Moment]:
    """Show what was found, and the probability of each count."""
    count = int(count_probs.argmax())
    moment = replace(
        moment,
        seen=steps[0].seen,
        boxes=tuple((readable_color(step.t), step.box) for step in steps if step.present),
        code=None,
        window=None,
        presence=None,
        glimpse=None,
        titles=("image", r"$q(n \mid x)$", "drawn again"),
        active=None,
        color=INK,
        caption=f"{plural(count, 'object')}, probability {approximately(count_probs[count])}",
        milliseconds=None,
    )
    story = [replace(moment, count_probs=share * count_probs) for share in _shares(450, frame_ms)]
    return [*story, replace(story[-1], milliseconds=PAUSE)]


def _shares(milliseconds: int, frame_ms: int) -> Array:
    """Return how much of a movement is done at each of its frames: slowly off, slowly in, to 1."""
    done = np.linspace(0, 1, max(round(milliseconds / frame_ms), 1) + 1)[1:]
    return done**2 * (3 - 2 * done)


def _poses_towards(z_where: Array, shares: Array) -> Tensor:
    """Return poses (F, 3) whose windows move evenly from the whole image to that of z_where (3,).

    A window's half width is 1 / s, and its center lies at -(x, y) / s.
    """
    scale = max(float(z_where[0]), MIN_SCALE)
    half = 1 + shares * (1 / scale - 1)
    center = shares[:, None] * (z_where[1:] / scale)
    return torch.from_numpy(np.column_stack((1 / half, center / half[:, None])))


# The picture


class _Screen:
    """Draws moments, each in the place of the one before."""

    def __init__(self, width: int) -> None:
        self.figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100 * width / SIZE[0])
        self.canvas = FigureCanvasAgg(self.figure)
        left, middle, right = (GAP + i * (SIDE + GAP) for i in range(3))
        self.panels = [self._axes(x, TOP, SIDE, SIDE) for x in (left, middle, right)]
        self.count_probs = self._axes(middle, TOP, SIDE, SIDE)
        self.presence = self._axes(left, TOP + SIDE + 16, SIDE, 18)
        self.code = self._axes(middle, TOP + SIDE + 16, SIDE, 64)
        where = 0.5, 26 / SIZE[1]
        self.caption = self.figure.text(*where, "", ha="center", color=INK, fontsize=_points(TEXT))

    def render(self, moment: Moment) -> Image.Image:
        for ax in self.figure.axes:
            for artist in (*ax.images, *ax.patches, *ax.lines):
                artist.remove()
        self._show_titles(moment)
        self._show_images(moment)
        self._show_numbers(moment)
        self.caption.set_text(moment.caption)
        self.canvas.draw()
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")

    def _show_titles(self, moment: Moment) -> None:
        for i, (ax, title) in enumerate(zip(self.panels, moment.titles, strict=True)):
            color, weight = (moment.color, "bold") if i == moment.active else (GRAY, "normal")
            size, pad = _points(TITLE), _points(10)
            ax.set_title(title, fontsize=size, color=color, fontweight=weight, pad=pad)

    def _show_images(self, moment: Moment) -> None:
        seen, middle, drawn = self.panels
        show_image(seen, moment.seen)
        for color, box in moment.boxes:
            show_box(seen, box, color, lw=2.5)
        if moment.glimpse is not None:
            show_box(seen, moment.glimpse, moment.color, lw=1.5, ls="--")
        if moment.window is not None:
            show_image(middle, moment.window)
        empty = moment.window is None
        middle.spines[:].set(color="0.8" if empty else INK, visible=moment.count_probs is None)
        show_image(drawn, moment.drawn)

    def _show_numbers(self, moment: Moment) -> None:
        self.presence.set_visible(moment.presence is not None)
        if moment.presence is not None:
            self.presence.barh(0, 1, color="0.9")
            self.presence.barh(0, moment.presence, color=moment.color)
            self.presence.set(xlim=(0, 1), ylim=(-0.4, 0.4))
            self.presence.set_axis_off()
        self.code.set_visible(moment.code is not None)
        if moment.code is not None:
            show_code(self.code, moment.code, moment.color, moment.limit)
        self.count_probs.set_visible(moment.count_probs is not None)
        if moment.count_probs is not None:
            _show_count_probs(self.count_probs, moment.count_probs)

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return axes at a place in pixels of ``SIZE``, from the upper left corner."""
        across, down = SIZE
        bottom = down - top - height
        place = left / across, bottom / down, width / across, height / down
        ax = self.figure.add_axes(place, xticks=[], yticks=[])
        ax.patch.set_visible(False)
        return ax


def _show_count_probs(ax: Axes, count_probs: Array) -> None:
    counts = np.arange(len(count_probs))
    ax.bar(counts, count_probs, color=INK)
    ax.set(xticks=counts, ylim=(0, 1.05))
    ax.tick_params(length=0, labelsize=_points(TEXT), labelcolor=INK)
    ax.spines[["top", "left", "right"]].set_visible(False)


def _points(pixels: float) -> float:
    """Return a length in points, of pixels of ``SIZE``."""
    return 0.72 * pixels


def _with_one_palette(frames: list[Image.Image]) -> list[Image.Image]:
    """Reduce all frames to the same colors, so that what stands still does not flicker."""
    some = frames[:: max(len(frames) // 12, 1)] + frames[-1:]
    montage = Image.fromarray(np.vstack([np.asarray(frame) for frame in some]))
    palette = montage.quantize(256, Image.Quantize.MAXCOVERAGE)
    colors = np.array(palette.getpalette())
    palette.putpalette(np.where(colors > ALMOST_WHITE, 255, colors).tolist())
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
