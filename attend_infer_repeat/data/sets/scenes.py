"""The recipe that all generated sets share: a few glyphs, at random places, without overlap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .backgrounds import Background, put_behind

Glyph = NDArray[np.uint8]
"""(h, w) uint8, or (3, h, w) for color."""

Draw = Callable[[np.random.RandomState], tuple[Glyph, int]]
"""Draws the next object from the generator: its glyph, already at its size, and its label."""

MAX_TRIES = 1_000
"""Layouts tried for one scene. The sets as they stand need up to 28; a scene that needs more
than this is too crowded, and without a limit an impossible one would never end."""

CROWDED = 6
"""From so many objects on, a scene is laid out one object after the other: whole layouts of many
objects hardly ever fit."""

MAX_TRIES_OF_ONE = 100
"""Places tried for one more object in such a scene, before the scene is begun anew."""

MAX_BYTES = 4 * 2**30
"""The largest set that is made, in bytes. A mistyped canvas size stops here."""


@dataclass(frozen=True)
class Layout:
    """What all generated sets let one choose.

    Attributes:
        canvas_size: (height, width) in pixels.
        max_count: the largest number of objects in a scene.
        counts: the numbers of objects, all as frequent, in place of 0 to ``max_count``.
        background: put behind the objects.
    """

    canvas_size: tuple[int, int]
    max_count: int
    counts: tuple[int, ...] | None = None
    background: Background = "black"

    @property
    def possible(self) -> tuple[int, ...]:
        """The numbers of objects that a scene may have."""
        return tuple(range(self.max_count + 1)) if self.counts is None else self.counts

    def parameters(self) -> dict[str, int | str]:
        """Return what stands in the name of a set's file."""
        height, width = self.canvas_size
        canvas = height if height == width else f"{height}x{width}"
        named: dict[str, int | str] = {"canvas": canvas}
        if self.counts is None:
            named["max"] = self.max_count
        else:
            named["counts"] = "+".join(map(str, self.counts))
        if max(self.possible) >= CROWDED:
            named["crowded"] = CROWDED
        if self.background != "black":
            named["on"] = self.background
        return named


class SceneArrays(NamedTuple):
    """What ``compose`` makes; the fields are those of ``Dataset``."""

    images: NDArray[np.uint8]
    counts: NDArray[np.int64]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


class _Placed(NamedTuple):
    glyph: Glyph
    label: int
    top: int  # rows above the glyph
    left: int  # columns to its left


def compose(
    draw: Draw,
    *,
    num_scenes: int,
    seed: int,
    layout: Layout,
    channels: int = 1,
) -> SceneArrays:
    """Make scenes of a few objects, added on a black canvas without overlap.

    For each scene:

        count  ~ Uniform(layout.possible)
        repeat for each of the count objects:
            glyph, label = draw(rng)
            top  ~ Uniform{0, ..., canvas height - glyph height - 1}
            left ~ Uniform{0, ..., canvas width - glyph width - 1}
        until the brightness nowhere adds up to more than 255

    where a glyph's brightness is its gray value, or its brightest channel if it has colors. The
    order of the draws, the generator (NumPy's legacy ``RandomState``, whose stream is frozen) and
    the ranges, which leave out the last row and column, are those of the multi-MNIST set in Pyro's
    AIR tutorial: with its glyphs this makes the same pixels. In scenes of ``CROWDED`` objects and
    more, only the object that does not fit is drawn again.

    Args:
        draw: makes one object; its randomness comes from the generator that it is given.
        num_scenes: N.
        seed: of this set's own generator; NumPy's global one is left alone.
        layout: canvas, numbers of objects, and background, which has a generator of its own. The
            largest number is also that of the slots M in boxes and labels.
        channels: 1 or 3; every glyph must match.
    Returns: the scenes; a box is the frame of its glyph, and objects stand in drawing order.
    Raises: DataError if a glyph is as large as the canvas, if the canvas has no room for
        so many objects, or if the set would not fit into memory.
    """
    rng = np.random.RandomState(seed)
    counts, canvas_size = layout.possible, layout.canvas_size
    scenes = _empty(num_scenes, max(counts), canvas_size, channels)
    for n in range(num_scenes):
        count = counts[int(rng.randint(len(counts)))]
        scenes.counts[n] = count
        for slot, (glyph, label, top, left) in enumerate(_layout(draw, rng, count, canvas_size)):
            height, width = glyph.shape[-2:]
            scenes.images[n, ..., top : top + height, left : left + width] += glyph
            scenes.boxes[n, slot] = left, top, left + width, top + height
            scenes.labels[n, slot] = label
    put_behind(scenes.images, layout.background, seed)
    return scenes


def check_memory(num: int, canvas_size: tuple[int, int], channels: int) -> None:
    """Refuse a set that would take more than ``MAX_BYTES``: DataError."""
    size = num * channels * canvas_size[0] * canvas_size[1]
    if size > MAX_BYTES:
        raise DataError(
            f"{num} scenes of {canvas_size[0]} x {canvas_size[1]} pixels would take "
            f"{size / 2**30:.0f} GiB, more than {MAX_BYTES / 2**30:.0f}. Lower canvas_size."
        )


def _empty(num: int, max_count: int, canvas_size: tuple[int, int], channels: int) -> SceneArrays:
    check_memory(num, canvas_size, channels)
    shape = (num, *canvas_size) if channels == 1 else (num, channels, *canvas_size)
    return SceneArrays(
        images=np.zeros(shape, np.uint8),
        counts=np.zeros(num, np.int64),
        boxes=np.full((num, max_count, 4), np.nan, np.float32),
        labels=np.full((num, max_count), -1, np.int64),
    )


def _layout(
    draw: Draw, rng: np.random.RandomState, count: int, canvas_size: tuple[int, int]
) -> list[_Placed]:
    """Draw all objects of one scene, again and again until they do not overlap."""

    def place() -> _Placed:
        return _place(*draw(rng), rng, canvas_size)

    for _ in range(MAX_TRIES):
        if count >= CROWDED:
            fitted = _one_by_one(place, count, canvas_size)
            if fitted is not None:
                return fitted
            continue
        objects = [place() for _ in range(count)]
        if not _overlap(objects, canvas_size):
            return objects
    raise DataError(
        f"Found no room for {count} objects on {canvas_size[0]} x {canvas_size[1]} pixels in "
        f"{MAX_TRIES} tries. Lower max_count or raise canvas_size."
    )


def _one_by_one(
    place: Callable[[], _Placed], count: int, canvas_size: tuple[int, int]
) -> list[_Placed] | None:
    """Draw objects until each one fits beside those before it; None if one finds no place."""
    brightness, objects = np.zeros(canvas_size, np.uint32), []
    for _ in range(count):
        for _ in range(MAX_TRIES_OF_ONE):
            objects.append(place())
            gray, rows, columns = _brightness(objects[-1])
            if (brightness[rows, columns] + gray).max() <= 255:
                brightness[rows, columns] += gray
                break
            objects.pop()
        else:
            return None
    return objects


def _place(
    glyph: Glyph, label: int, rng: np.random.RandomState, canvas_size: tuple[int, int]
) -> _Placed:
    rows, columns = canvas_size
    height, width = glyph.shape[-2:]
    if height >= rows or width >= columns:
        raise DataError(
            f"An object of {height} x {width} pixels needs a canvas of at least {height + 1} x "
            f"{width + 1}, got {rows} x {columns}. Raise canvas_size."
        )
    top = int(rng.randint(0, rows - height))
    left = int(rng.randint(0, columns - width))
    return _Placed(glyph, label, top, left)


def _overlap(objects: list[_Placed], canvas_size: tuple[int, int]) -> bool:
    """Tell whether the objects' brightness adds up to more than a pixel can hold."""
    if len(objects) < 2:
        return False
    brightness = np.zeros(canvas_size, np.uint32)
    for placed in objects:
        gray, rows, columns = _brightness(placed)
        brightness[rows, columns] += gray
    return bool(brightness.max() > 255)


def _brightness(placed: _Placed) -> tuple[NDArray[np.uint8], slice, slice]:
    """Return an object's brightness, and the rows and columns of the canvas that it covers."""
    glyph, _, top, left = placed
    gray = glyph if glyph.ndim == 2 else glyph.max(axis=0)
    return gray, slice(top, top + gray.shape[0]), slice(left, left + gray.shape[1])
