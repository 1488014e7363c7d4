"""Draw the documentation's diagrams: ``python docs/diagrams.py`` writes docs/images/*.svg.

It also makes the README's animation, inference.gif. ``python docs/diagrams.py house`` draws the
house alone, from the table in architecture.md.

Each diagram is a function of the small images that it embeds, and is laid out on a grid of its own.
Everything that depends on the trained weights is inside those images.
"""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import attend_infer_repeat as air
from attend_infer_repeat.viz.animation import save_inference_animation
from attend_infer_repeat.viz.colors import readable_color
from attend_infer_repeat.viz.steps import Step, read_steps

IMAGES = Path(__file__).parent / "images"
SCENE = 113
"""Of the test scenes of up to three digits: three that lie apart, and are all found."""
ANIMATED = 82
"""Of the same scenes: two digits."""
STEPS = 3
WIDTH = 760
ZOOM = 3
"""Pixels to a pixel of an image with a box, so that the box is thin."""

SUB_DROP = 4
"""Of a subscript's baseline, in pixels."""

MARKUP = re.compile(r"(\w)_\{(.+?)\}|\{(\w)\}|([^{}]+?)(?=\w_\{|\{|$)")
"""A symbol and its subscript, or a symbol alone, or words up to the next of them."""

DARK, GRAY, EXTRA = "#24292f", "#6b7480", "#a5651a"
EXTRA_LINE = "extra-line"
STYLE = f"""
text {{ font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif; font-size: 15px; fill: {DARK}; }}
.name {{ font-size: 20px; font-weight: 600; }}
.math {{ font-size: 17px; }}
.note {{ font-size: 14px; fill: {GRAY}; }}
.large {{ font-size: 17px; }}
.part {{ font-size: 16px; font-weight: 600; }}
.extra-note {{ font-size: 14px; fill: {EXTRA}; }}
.var {{ font-style: italic; font-family: Georgia, "Times New Roman", Times, serif;
  font-size: 1.1em; }}
.sub {{ font-size: 0.74em; }}
.card {{ fill: #ffffff; stroke: #dfe3e8; }}
.box {{ fill: #f3f5f7; stroke: {GRAY}; stroke-width: 1.25; }}
.extra {{ fill: #fcf3e4; stroke: {EXTRA}; stroke-width: 1.25; }}
.group {{ fill: #f7f8fa; stroke: none; }}
.line {{ fill: none; stroke: {DARK}; stroke-width: 1.5; marker-end: url(#dark); }}
.extra-line {{ fill: none; stroke: {EXTRA}; stroke-width: 1.5; marker-end: url(#extra); }}
.dashed {{ stroke-dasharray: 5 4; }}
.plain {{ marker-end: none; }}
.gap {{ fill: none; stroke: #ffffff; stroke-width: 7; }}
.dot {{ fill: {EXTRA}; }}
.pixels {{ image-rendering: pixelated; }}
"""


class Pictures(NamedTuple):
    """The images that diagrams embed, as data URIs; a list has one for each step."""

    image: str  # x
    residual: list[str]  # r_t
    attended: list[str]  # r_t with the window's box
    glimpses: list[str]  # of r_t
    windows: list[str]  # of x
    codes: list[str]  # z_what_t, as bars
    poses: list[str]  # z_where_t, as a box on an empty canvas
    objects: list[str]  # y_t
    canvas: list[str]  # y_1 + .. + y_t


class Point(NamedTuple):
    """A point of the drawing, in pixels from its upper left corner."""

    x: float
    y: float

    def by(self, x: float = 0, y: float = 0) -> Point:
        """Return the point that lies so much further right and down."""
        return Point(self.x + x, self.y + y)


# Parts


def document(height: int, title: str, description: str, parts: Sequence[str]) -> str:
    """Return an SVG file: a white card that holds the parts."""
    markers = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
        f' markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.5L8 4L0 7.5z" fill="{color}"/>'
        "</marker>"
        for name, color in (("dark", DARK), ("extra", EXTRA))
    )
    lines = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-labelledby="title desc">',
        f'<title id="title">{title}</title>',
        f'<desc id="desc">{description}</desc>',
        f"<style>{STYLE}</style>",
        f"<defs>{markers}</defs>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="12"/>',
        *parts,
        "</svg>",
    )
    return "\n".join(lines) + "\n"


def label(at: Point, text: str, kind: str = "", anchor: str = "middle", color: str = "") -> str:
    """Return a line of text, whose baseline is at a point; ``z_{what}`` is set as mathematics."""
    fill = f' style="fill:{color}"' if color else ""
    place = f'x="{at.x:g}" y="{at.y:g}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}{fill}>{typeset(text)}</text>'


def typeset(text: str) -> str:
    """Set each ``a_{b}`` in italics with a subscript, and each ``{a}`` in italics."""
    spans, lift = "", ""
    for name, sub, alone, words in MARKUP.findall(text):
        kind = "" if words else ' class="var"'
        spans += f"<tspan{kind}{lift}>{words or name or alone}</tspan>"
        lift = f' dy="{-SUB_DROP}"' if sub else ""
        if sub:
            spans += f'<tspan class="sub" dy="{SUB_DROP}">{sub}</tspan>'
    return spans


def box(center: Point, width: float, height: float, text: str, kind: str, color: str = "") -> str:
    """Return a rounded box with a symbol in its middle."""
    stroke = f' style="fill:#ffffff;stroke:{color}"' if color else ""
    corner = center.by(-width / 2, -height / 2)
    rect = (
        f'<rect class="{kind}" x="{corner.x:g}" y="{corner.y:g}" width="{width:g}"'
        f' height="{height:g}" rx="8"{stroke}/>'
    )
    return rect + label(center.by(y=5), text, "math")


def disc(center: Point, radius: float, text: str, kind: str) -> str:
    """Return a circle with a symbol in its middle."""
    circle = f'<circle class="{kind}" cx="{center.x:g}" cy="{center.y:g}" r="{radius:g}"/>'
    return circle + label(center.by(y=5), text, "math")


def picture(
    center: Point, width: float, uri: str, color: str = GRAY, height: float | None = None
) -> str:
    """Return an image, square by default, with a thin frame."""
    height = width if height is None else height
    x, y = center.by(-width / 2, -height / 2)
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    frame = f'fill="none" stroke="{color}" stroke-width="1.5"'
    kind = "pixels" if height == width else "bars"
    image = f'<image class="{kind}" {place} preserveAspectRatio="none" href="{uri}"/>'
    return f'{image}<rect {place} rx="1" {frame}/>'


def arrow(*points: Point, kind: str = "line", radius: float = 8) -> str:
    """Return an arrow along points, with rounded corners."""
    path = f"M{points[0].x:g} {points[0].y:g}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = towards(corner, before, radius), towards(corner, after, radius)
        path += f"L{start.x:g} {start.y:g}Q{corner.x:g} {corner.y:g} {end.x:g} {end.y:g}"
    return f'<path class="{kind}" d="{path}L{points[-1].x:g} {points[-1].y:g}"/>'


def towards(start: Point, end: Point, distance: float) -> Point:
    """Return the point at a distance from the start on the way to the end."""
    length = float(np.hypot(end.x - start.x, end.y - start.y))
    share = min(distance / length, 0.5)
    return start.by(share * (end.x - start.x), share * (end.y - start.y))


# The guide, unrolled


class Rows:
    """Heights in the guide's diagram, from the top."""

    x, state, proposal, glimpse = 40, 96, 176, 254
    pres, where, what = 336, 388, 440
    objects, residual, legend = 536, 636, 722


class Lanes:
    """Distances from a step's left edge in the guide's diagram."""

    width = 240
    track, residual, x, attention, corridor = 10, 36, 36, 90, 129
    decide, pres, where, end = 184, 198, 184, 231


WINDOW_SIDE, CANVAS_SIDE = 56, 62
"""Sides of windows and canvases in the guide's diagram."""


def guide(pictures: Pictures) -> str:
    """Draw the guide pursuit, unrolled: the docstring of guide/base.py as a graph."""
    parts = []
    for t in range(STEPS):
        left = Point(20 + Lanes.width * t, 0)
        parts += [*belt(left, t, pictures), *attention(left, t, pictures)]
        parts += [*latents(left, t, pictures), *recurrence(left, t)]
    return document(
        812,
        "The guide, unrolled for three steps",
        "In each step the LSTM state h reads the image x and the last step's latents; a pose p is"
        " sought in the residual r; a glimpse of r and x around p, and h, decide z_pres and"
        " z_where; a window of x at z_where gives z_what; the object y is rendered and subtracted"
        " from r. Arrows into the proposal and the glimpse, and from the proposal, carry no"
        " gradient. Residual, proposal, glimpse and rendering are not in the tutorial's improved"
        " guide.",
        [*parts, *guide_legend()],
    )


def recurrence(left: Point, t: int) -> list[str]:
    """Draw the LSTM's state and what it reads: the image, the last state and the last latents."""
    state = left.by(Lanes.decide, Rows.state)
    half = 46
    parts = [
        label(left.by(4, Rows.x + 6), f"step {t + 1}", "name", "start", readable_color(t)),
        disc(Point(state.x, Rows.x), 13, "{x}", "box"),
        arrow(Point(state.x, Rows.x + 13), state.by(y=-18)),
        box(state, 2 * half, 36, f"h_{{{t + 1}}}", "box"),
    ]
    if t + 1 < STEPS:
        following = state.by(Lanes.width - half)
        turn = Lanes.width + 1
        parts += [
            arrow(state.by(half, -7), following.by(y=-7)),
            arrow(
                left.by(Lanes.end, Rows.where),
                left.by(turn, Rows.where),
                left.by(turn, Rows.state + 8),
                following.by(y=8),
            ),
        ]
    return parts


def belt(left: Point, t: int, pictures: Pictures) -> list[str]:
    """Draw the residual, and how the step's object is taken away from it."""
    here, minus = left.by(Lanes.residual, Rows.residual), left.by(Lanes.where, Rows.residual)
    name = "r_{1} = {x}" if t == 0 else f"r_{{{t + 1}}}"
    parts = [
        picture(here, CANVAS_SIDE, pictures.residual[t], EXTRA),
        label(here.by(y=CANVAS_SIDE / 2 + 20), name, "math"),
    ]
    if t + 1 < STEPS:
        parts += [
            disc(minus, 12, "\N{MINUS SIGN}", "extra"),
            arrow(
                left.by(Lanes.where, Rows.objects + CANVAS_SIDE / 2),
                minus.by(y=-12),
                kind=EXTRA_LINE,
            ),
            arrow(here.by(CANVAS_SIDE / 2), minus.by(-12), kind=EXTRA_LINE),
            arrow(minus.by(12), here.by(Lanes.width - CANVAS_SIDE / 2), kind=EXTRA_LINE),
        ]
    return parts


def attention(left: Point, t: int, pictures: Pictures) -> list[str]:
    """Draw how a step proposes a pose, takes a glimpse there and decides."""
    proposal = left.by(Lanes.attention, Rows.proposal)
    glimpse = left.by(Lanes.attention, Rows.glimpse)
    decide = left.by(Lanes.decide, Rows.glimpse)
    track, state = left.by(Lanes.track), left.by(Lanes.decide, Rows.state + 18)
    dashed = f"{EXTRA_LINE} dashed"
    seen = glimpse.by(WINDOW_SIDE / 2), decide.by(-46)
    x = left.by(Lanes.x, Rows.glimpse + 42)
    return [
        arrow(
            x.by(y=-12),
            x.by(y=-26),
            Point(glimpse.x - WINDOW_SIDE / 2, x.y - 26),
            kind=dashed,
        ),
        # The residual and the proposal are data: no gradient.
        arrow(
            track.by(y=Rows.residual - CANVAS_SIDE / 2),
            track.by(y=proposal.y),
            proposal.by(-22),
            kind=dashed,
        ),
        arrow(track.by(y=glimpse.y), glimpse.by(-WINDOW_SIDE / 2), kind=dashed),
        f'<circle class="dot" cx="{track.x:g}" cy="{glimpse.y:g}" r="3"/>',
        arrow(proposal.by(y=18), glimpse.by(y=-WINDOW_SIDE / 2), kind=dashed),
        arrow(
            proposal.by(22, 8),
            left.by(Lanes.corridor, proposal.y + 8),
            left.by(Lanes.corridor, Rows.where - 8),
            left.by(Lanes.where - 42, Rows.where - 8),
            kind=dashed,
        ),
        arrow(*seen, kind="gap"),
        arrow(*seen, kind=EXTRA_LINE),
        arrow(state, decide.by(y=-18)),
        box(proposal, 44, 36, f"p_{{{t + 1}}}", "extra"),
        disc(x, 12, "{x}", "box"),
        picture(glimpse, WINDOW_SIDE, pictures.glimpses[t], EXTRA),
        label(glimpse.by(y=WINDOW_SIDE / 2 + 17), "glimpse", "extra-note"),
        box(decide, 92, 36, f"a_{{{t + 1}}}", "box"),
    ]


def latents(left: Point, t: int, pictures: Pictures) -> list[str]:
    """Draw the latents of a step, the window that z_what is read from, and the rendered object."""
    color = readable_color(t)
    below = Rows.glimpse + 18
    where = left.by(Lanes.where, Rows.where)
    what, window = left.by(Lanes.where, Rows.what), left.by(Lanes.attention, Rows.what)
    rendered = left.by(Lanes.where, Rows.objects)
    x = left.by(Lanes.x, Rows.what)
    group = left.by(Lanes.where - 47, Rows.pres - 29)
    return [
        f'<rect x="{group.x:g}" y="{group.y:g}" width="94" height="{Rows.what - Rows.pres + 58}"'
        f' rx="10" fill="{color}" fill-opacity="0.13"/>',
        arrow(left.by(Lanes.pres, below), left.by(Lanes.pres, Rows.pres - 17)),
        arrow(left.by(155, below), left.by(155, Rows.where - 17)),
        arrow(where.by(-42, 8), Point(window.x, where.y + 8), window.by(y=-WINDOW_SIDE / 2)),
        arrow(x.by(12), window.by(-WINDOW_SIDE / 2)),
        arrow(window.by(WINDOW_SIDE / 2), what.by(-42)),
        arrow(what.by(y=29), rendered.by(y=-CANVAS_SIDE / 2), kind=EXTRA_LINE),
        box(left.by(Lanes.pres, Rows.pres), 60, 34, f"z_{{pres,{t + 1}}}", "box", color),
        box(where, 84, 34, f"z_{{where,{t + 1}}}", "box", color),
        box(what, 84, 34, f"z_{{what,{t + 1}}}", "box", color),
        disc(x, 12, "{x}", "box"),
        picture(window, WINDOW_SIDE, pictures.windows[t], DARK),
        label(window.by(y=WINDOW_SIDE / 2 + 17), "window", "note"),
        picture(rendered, CANVAS_SIDE, pictures.objects[t], EXTRA),
        label(rendered.by(-CANVAS_SIDE / 2 - 8, 6), f"y_{{{t + 1}}}", "math", "end"),
    ]


def guide_legend() -> list[str]:
    """Explain the lines, the color and the letters."""
    solid, dashed, extra = (Point(x, Rows.legend) for x in (24, 240, 486))
    swatch = extra.by(20)
    letters = (
        "h_{t} LSTM · p_{t} proposal · a_{t} decision · y_{t} object, rendered · r_{t} residual"
    )
    proposal = "The proposal is not learned: it is where a window holds most of the residual."
    return [
        arrow(solid, solid.by(38)),
        label(solid.by(46, 5), "gradients flow back", "note", "start"),
        arrow(dashed, dashed.by(38), kind="line dashed"),
        label(dashed.by(46, 5), "a value only, no gradient", "note", "start"),
        box(swatch, 38, 18, "", "extra"),
        label(extra.by(46, 5), "not in the improved guide", "extra-note", "start"),
        label(solid.by(0, 38), letters, "note", "start"),
        label(solid.by(0, 64), proposal, "note", "start"),
    ]


# The loop


def loop(pictures: Pictures) -> str:
    """Draw attend, infer, draw, repeat as a ring, with the first step's pictures."""
    center, radius, side = Point(380, 274), 172, 124
    top, right = center.by(y=-radius), center.by(radius)
    bottom, left = center.by(y=radius), center.by(-radius)
    gap, inward, beside = side / 2 + 8, 20, side / 2 + 18
    return document(
        552,
        "Attend, infer, repeat",
        "A ring of four. Repeat: is there one more object? If not, stop. Attend: move a window to"
        " the object. Infer: read its code from the window. Draw the object and take it away from"
        " the image. Then ask again.",
        [
            quarter(top.by(gap, inward), right.by(-inward, -gap), radius),
            quarter(right.by(-inward, gap), bottom.by(gap, -inward), radius),
            quarter(bottom.by(-gap, -inward), left.by(inward, gap), radius),
            quarter(left.by(inward, -gap), top.by(-gap, inward), radius),
            picture(top, side, pictures.attended[0]),
            caption(top.by(beside, -42), "attend", "where is it?", "z_{where}"),
            *inferred(right, side, pictures),
            caption(right.by(beside - 14, -18), "infer", "what is it?", "z_{what}"),
            picture(bottom, side, pictures.canvas[0]),
            caption(bottom.by(beside, 22), "draw", "and take it away", "{y}"),
            picture(left, side, pictures.residual[1]),
            caption(left.by(-beside, -18), "repeat?", "look at the residual", "z_{pres}", "end"),
            label(center.by(-84, -76), "z_{pres} = 1: go on", "math", "start"),
            label(center.by(y=22), "steps {t} = 1, 2, 3, …", "math"),
            *way_in_and_out(left, side, pictures),
        ],
    )


def caption(at: Point, name: str, text: str, symbol: str, anchor: str = "start") -> str:
    """Return a name over two lines that explain it."""
    lines = ((0, name, "name"), (24, text, "note large"), (48, symbol, "math"))
    return "".join(label(at.by(y=down), words, kind, anchor) for down, words, kind in lines)


def inferred(center: Point, side: float, pictures: Pictures) -> list[str]:
    """Draw a window over its code, together as high as the other pictures."""
    strip = 34
    window = side - strip - 4
    return [
        picture(center.by(y=-(strip + 4) / 2), window, pictures.windows[0]),
        picture(center.by(y=(side - strip) / 2), window, pictures.codes[0], height=strip),
    ]


def way_in_and_out(question: Point, side: float, pictures: Pictures) -> list[str]:
    """Draw the image that enters at the question, and the exit from there."""
    size, gate = 84, question.by(-side / 4)
    image = Point(90, 74)
    end = Point(gate.x, question.y + side / 2 + 84)
    return [
        picture(image, size, pictures.image),
        label(image.by(y=size / 2 + 20), "image {x}", "note large"),
        arrow(image.by(size / 2 + 6), Point(gate.x, image.y), gate.by(y=-side / 2 - 4), radius=30),
        arrow(gate.by(y=side / 2 + 4), end),
        label(end.by(y=24), "z_{pres} = 0: stop", "math"),
    ]


def quarter(start: Point, end: Point, radius: float) -> str:
    """Return an arrow along a quarter of a circle, clockwise."""
    path = f"M{start.x:g} {start.y:g}A{radius:g} {radius:g} 0 0 1 {end.x:g} {end.y:g}"
    return f'<path class="line" d="{path}"/>'


# The autoencoder


class Columns:
    """Distances from the left edge in the autoencoder's diagram."""

    image, trunk, state, latents, objects, total, mean = 78, 160, 216, 380, 546, 610, 690


LATENTS = 194, 84
"""Width and height of a step's latents in the autoencoder's diagram."""


def vae(pictures: Pictures) -> str:
    """Draw inference network and generative model side by side, with the latents between."""
    rows = [152 + 108 * t for t in range(STEPS)]
    middle, bottom = rows[1], rows[-1] + 66
    image, mean = Point(Columns.image, middle), Point(Columns.mean, middle)
    half_width, half_height = LATENTS[0] / 2, LATENTS[1] / 2
    parts = [
        side_panel(14, 266, bottom, "inference network", "{q}({z} | {x}), read from left to right"),
        side_panel(494, 746, bottom, "generative model", "{p}({x}, {z}), drawn from left to right"),
        label(Point(Columns.latents, 38), "latents", "name"),
        label(Point(Columns.latents, 60), "z_{t}, a row for each step", "note"),
        picture(image, 104, pictures.image),
        label(image.by(y=76), "image {x}", "note"),
        picture(mean, 96, pictures.canvas[-1]),
        label(mean.by(y=72), "mean of {x}", "note"),
    ]
    for x, name in ((-75, "z_{pres}"), (-18, "z_{where}"), (50, "z_{what}")):
        parts.append(label(Point(Columns.latents + x, rows[0] - half_height - 12), name, "math"))
    total = Point(Columns.total, middle)
    for t, y in enumerate(rows):
        state, latents = Point(Columns.state, y), Point(Columns.latents, y)
        rendered = Point(Columns.objects, y)
        read = [Point(Columns.trunk, middle), Point(Columns.trunk, y), state.by(-30)]
        add = [rendered.by(34), Point(total.x, y), total.by(y=12 if y > middle else -12)]
        parts += [
            arrow(image.by(52), *(read if t != 1 else read[-1:])),
            box(state, 60, 40, f"h_{{{t + 1}}}", "box"),
            arrow(state.by(30), latents.by(-half_width)),
            *latent_cells(latents, t, pictures),
            arrow(latents.by(half_width), rendered.by(-34)),
            picture(rendered, 68, pictures.objects[t], readable_color(t)),
            arrow(*(add if t != 1 else [rendered.by(34), total.by(-12)])),
            label(rendered.by(y=51), f"y_{{{t + 1}}}", "math"),
        ]
        if t + 1 < STEPS:
            low, high = latents.by(y=half_height), latents.by(y=108 - half_height)
            turn = (low.y + high.y) / 2
            parts += [
                arrow(state.by(-8, 20), state.by(-8, 88)),
                arrow(low.by(-76), Point(low.x - 76, turn), Point(state.x + 12, turn),
                      state.by(12, 88)),
                arrow(low.by(76), high.by(76)),
            ]  # fmt: skip
    parts += [disc(total, 12, "+", "box"), arrow(total.by(12), mean.by(-48))]
    goal = "learned together: E_{q} [ log {p}({x}, {z}) − log {q}({z} | {x}) ] as large as possible"
    return document(
        bottom + 56,
        "AIR as a sequential variational autoencoder",
        "On the left the inference network reads the image x in three steps with an LSTM, h; each"
        " step gives latents z_pres, z_where and z_what, which the next step reads. On the right"
        " the generative model draws an object y for each step's latents; their sum is the mean of"
        " the image.",
        [*parts, label(Point(WIDTH / 2, bottom + 32), goal, "note large")],
    )


def side_panel(left: float, right: float, bottom: float, name: str, text: str) -> str:
    """Return a pale panel with a heading."""
    middle = (left + right) / 2
    rect = (
        f'<rect class="group" x="{left}" y="14" width="{right - left}" height="{bottom - 14}"'
        ' rx="10"/>'
    )
    return rect + label(Point(middle, 38), name, "name") + label(Point(middle, 60), text, "note")


def latent_cells(center: Point, t: int, pictures: Pictures) -> list[str]:
    """Draw the latents of a step: present, where and what."""
    color = readable_color(t)
    x, y = center.by(-LATENTS[0] / 2, -LATENTS[1] / 2)
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{LATENTS[0]}" height="{LATENTS[1]}" rx="10"'
        f' fill="{color}" fill-opacity="0.13"/>',
        box(center.by(-68), 32, 56, "1", "box", color),
        picture(center.by(-18), 56, pictures.poses[t], color),
        picture(center.by(50), 68, pictures.codes[t], color, height=56),
    ]


# The house


class Part(NamedTuple):
    """A folder of the package, or a module beside the folders."""

    floor: int
    name: str  # as it is imported
    label: str
    text: str


PART = re.compile(r"^\| (\d+) \| \[?`((\w+)(?:/|\.py))`\S* \| (.+) \|$", re.MULTILINE)
FLOOR = 62
"""Height of a floor in the drawing of the house."""


def read_parts() -> list[Part]:
    """Return the parts of the house, from the top, as the table in architecture.md has them."""
    rows = PART.findall((Path(__file__).parent / "architecture.md").read_text(encoding="utf-8"))
    return [
        Part(int(floor), name, label, re.sub(r"[\\`]", "", text))
        for floor, label, name, text in rows
    ]


def house(parts: Sequence[Part]) -> str:
    """Draw the folders of the package, floor by floor."""
    floors = sorted({part.floor for part in parts}, reverse=True)
    drawn, above = [], []
    for row, floor in enumerate(floors):
        here = [part for part in parts if part.floor == floor]
        width = (WIDTH - 76 - 12 * (len(here) - 1)) / len(here)
        middles = [
            Point(56 + width / 2 + (width + 12) * i, 44 + FLOOR * row) for i in range(len(here))
        ]
        drawn.append(label(Point(34, middles[0].y + 5), str(floor), "note"))
        for middle, part in zip(middles, here, strict=True):
            drawn += [
                box(middle, width, 48, "", "box"),
                label(middle.by(y=-4), part.label, "part"),
                label(middle.by(y=15), part.text, "note"),
            ]
        for x in (m.x for m in max(above, middles, key=len) if above):
            gap = Point(x, middles[0].y - FLOOR + 24)
            drawn.append(arrow(gap, gap.by(y=FLOOR - 48)))
        above = middles
    return document(
        28 + FLOOR * len(floors),
        "The house",
        "The folders of the package, in floors. A module imports only from lower floors."
        f" From the top: {', '.join(part.label for part in parts)}.",
        drawn,
    )


# The pictures


def pictures_of(model: air.AIR, image: NDArray[np.uint8]) -> Pictures:
    """Read an image, (height, width), and return what the diagrams show of that."""
    steps = read_steps(model, image)[1]
    blank = np.zeros_like(steps[0].canvas)
    before = [blank, *(step.canvas for step in steps)]
    limit = max(float(np.abs(step.z_what).max()) for step in steps)
    return Pictures(
        image=embed(gray(steps[0].seen)),
        residual=[embed(gray(step.seen)) for step in steps],
        attended=[embed(boxed(step.seen, step)) for step in steps],
        glimpses=[embed(gray(step.seen).crop(around(step.glimpse))) for step in steps],
        windows=[embed(gray(step.window)) for step in steps],
        codes=[embed(bars(step.z_what / limit, readable_color(step.t))) for step in steps],
        poses=[embed(boxed(blank, step)) for step in steps],
        objects=[embed(gray(step.canvas - b)) for step, b in zip(steps, before, strict=False)],
        canvas=[embed(gray(step.canvas)) for step in steps],
    )


def around(pixels: NDArray[np.floating]) -> tuple[int, int, int, int]:
    """Return a box (4,) in whole pixels."""
    x0, y0, x1, y1 = (round(edge) for edge in pixels.tolist())
    return x0, y0, x1, y1


def gray(picture: NDArray[np.floating]) -> Image.Image:
    """Return intensities (1, height, width) as a picture."""
    return Image.fromarray(np.round(255 * picture[0].clip(0, 1)).astype(np.uint8))


def boxed(picture: NDArray[np.floating], step: Step) -> Image.Image:
    """Return intensities (1, height, width), enlarged, with the box of a step."""
    small = gray(picture)
    shown = small.resize((ZOOM * small.width, ZOOM * small.height), Image.Resampling.NEAREST)
    shown = shown.convert("RGB")
    window, color = around(ZOOM * step.box), readable_color(step.t)
    ImageDraw.Draw(shown).rectangle(window, outline=color, width=ZOOM)
    return shown.quantize(32)


def bars(code: NDArray[np.floating], color: str, height: int = 41, step: int = 3) -> Image.Image:
    """Return a code (what_dim,), within [-1, 1], as bars."""
    shown = Image.new("RGB", (step * len(code), height), "white")
    draw, middle = ImageDraw.Draw(shown), height // 2
    draw.line((0, middle, shown.width, middle), fill="#c5cbd3")
    for i, value in enumerate(code.tolist()):
        low, high = sorted((middle, middle - round(value * middle)))
        draw.rectangle((step * i, low, step * i + step - 1, high), fill=color)
    return shown.quantize(8)


def embed(shown: Image.Image) -> str:
    """Return a picture as a data URI."""
    buffer = io.BytesIO()
    shown.save(buffer, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


DIAGRAMS: dict[str, Callable[[Pictures], str]] = {"guide": guide, "loop": loop, "vae": vae}


def main() -> None:
    """Write the files, or that of the house alone."""
    (IMAGES / "house.svg").write_text(house(read_parts()), encoding="utf-8")
    if sys.argv[1:] == ["house"]:
        return
    data = air.load_dataset("digits", split="test", max_count=STEPS)
    model = air.AIR.load("digits")
    pictures = pictures_of(model, data.images[SCENE])
    for name, draw in DIAGRAMS.items():
        (IMAGES / f"{name}.svg").write_text(draw(pictures), encoding="utf-8")
    save_inference_animation(model, data.images[ANIMATED], IMAGES / "inference.gif")


if __name__ == "__main__":
    main()
