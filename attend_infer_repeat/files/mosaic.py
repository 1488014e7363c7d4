"""From the scenes of a picture's tiles to those of the picture.

An object is of the tile in whose core its center lies. Two tiles may disagree about where that is,
by a pixel or two, so that both claim an object close to the edge of their cores, or neither does:
of what they found close to the edge, pairs at one place are one object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.pictures.canvas.framing import Frame, Tile
from ..scenes import Scene, SceneObject
from .counts import shifted, sum_of
from .records import Record, check_finite, check_scene, object_record, picture_record, rounded

CLOSE = 0.25
"""How far from the edge of a core, in sides of its box, an object may be another tile's."""

MIN_SHARE = 0.05
"""Probability of a tile's count, as a share of the likeliest one's, below which it is a guess: over
thousands of tiles, such add up to many objects that nobody would find."""

SAME_PLACE = 0.35
"""Distance of centers, in sides of their boxes, below which two tiles found one object."""


class Found(NamedTuple):
    """An object, and where it lies in the scaled picture."""

    thing: SceneObject
    frame: Frame  # of its tile
    z_where: NDArray[np.float64]  # (3,), relative to the whole picture
    tile: int  # its number in the picture
    step: int  # in its tile, from 1
    center: NDArray[np.float64]  # (2,), x and y in the scaled picture's pixels
    side: float
    margin: float  # from the core's edge: below 0 outside of it


class Claims(NamedTuple):
    """What some of a picture's tiles show in their cores, or close to them."""

    found: list[Found]
    count_probs: NDArray[np.float64]  # (most + 1,), of the number of objects in the cores


class Whole(NamedTuple):
    """What the tiles of a picture show together."""

    found: list[Found]
    count_probs: NDArray[np.float64]  # (most + 1,)


class TileScene(NamedTuple):
    """What was found on a tile."""

    scene: Scene
    boxes: NDArray[np.float64]  # (T, 4), canvas pixels, of all steps, there or not


def claims_of(
    tiles: Sequence[Tile], scenes: Sequence[TileScene], count_probs: Sequence[NDArray[np.floating]]
) -> Claims:
    """Return what tiles of a picture claim.

    Args:
        tiles: of the picture, all or some.
        scenes: of the tiles.
        count_probs: (T + 1,) of each tile, over the number of its first steps that are there.
    """
    claimed, core_probs = [], []
    for tile, (scene, boxes), probs in zip(tiles, scenes, count_probs, strict=True):
        centers, sides = (
            (boxes[:, :2] + boxes[:, 2:]) / 2,
            (boxes[:, 2:] - boxes[:, :2]).max(axis=1),
        )
        x0, x1, y0, y1 = tile.core
        edges = [centers[:, 0] - x0, x1 - centers[:, 0], centers[:, 1] - y0, y1 - centers[:, 1]]
        margins = np.min(edges, axis=0)
        core_probs.append(_in_core(_without_guesses(probs), margins >= 0))
        for step, thing in enumerate(scene.objects):
            side, margin = float(sides[step]), float(margins[step])
            if margin >= -CLOSE * side:
                center = centers[step] - np.array(tile.frame.offset)
                pose = _of_whole(thing.z_where, tile)
                own = Found(
                    _alone(thing), tile.frame, pose, tile.number, step + 1, center, side, margin
                )
                claimed.append(own)
    return Claims(claimed, sum_of(core_probs))


def joined(parts: Sequence[Claims]) -> Whole:
    """Join what all tiles of a picture claim.

    Returns: the objects, tile by tile, and the distribution of their number: the sum over tiles,
        taken as independent, of the number of objects in each one's core.
    """
    claimed = [found for part in parts for found in part.found]
    found = _without_doubles(claimed)
    in_cores = sum(own.margin >= 0 for own in claimed)
    count_probs = sum_of([part.count_probs for part in parts])
    return Whole(found, shifted(count_probs, len(found) - in_cores))


def _alone(thing: SceneObject) -> SceneObject:
    """Return an object that keeps nothing of the other objects of its scenes in memory."""
    box, z_where, z_what = map(np.array, (thing.box, thing.z_where, thing.z_what))
    return SceneObject(thing.score, box, z_where, z_what)


def _without_guesses(probs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Leave out what is less probable than the guide can tell."""
    told = np.where(probs >= MIN_SHARE * probs.max(), probs, 0.0)
    return told / told.sum()


def _in_core(probs: NDArray[np.floating], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distribution of how many of the objects that are there lie in the core."""
    first = np.concatenate(([0], inside.cumsum()))  # of the first n steps
    steps = np.minimum(np.arange(len(probs)), len(inside))
    return np.bincount(first[steps], weights=probs).astype(np.float64)


def _without_doubles(claimed: list[Found]) -> list[Found]:
    """Keep what lies in a core, and what two tiles found just outside of theirs; each once."""
    kept: list[Found] = []
    edge: list[Found] = []  # what another tile may have found, too
    for found in claimed:
        (edge if found.margin < CLOSE * found.side else kept).append(found)
    edge.sort(key=lambda found: -found.margin)
    grid: dict[tuple[int, int], list[Found]] = {}
    size = max((found.side for found in edge), default=1.0)
    taken: set[int] = set()
    for found in edge:
        column, row = (int(v // size) for v in found.center)
        near = [
            other
            for x in (column - 1, column, column + 1)
            for y in (row - 1, row, row + 1)
            for other in grid.get((x, y), ())
            if other.tile != found.tile
            and np.hypot(*(found.center - other.center)) < SAME_PLACE * min(found.side, other.side)
        ]
        grid.setdefault((column, row), []).append(found)
        if any(id(other) in taken for other in near):
            continue
        if found.margin >= 0 or near:
            kept.append(found)
            taken.add(id(found))
    return sorted(kept, key=lambda found: (found.tile, found.step))


class Part(NamedTuple):
    """What some of a picture's tiles show, and what importance samples add to that."""

    claims: Claims
    weighted: Claims | None = None
    effective_size: float = 0.0
    samples: int = 0


def part_of(name: str, tiles: Sequence[Tile], found: Sequence[tuple[TileScene, Record]]) -> Part:
    """Return what tiles of a picture show together.

    Args:
        name: of the picture.
        tiles: of the picture, all or some.
        found: the scene of each, and what importance samples add to its record.
    Raises: NotFiniteError if a value is not finite.
    """
    scenes = [scene for scene, _ in found]
    for scene, added in found:
        check_scene(name, scene.scene)
        check_finite(name, *added.get("importance", {}).values())
    claims = claims_of(tiles, scenes, [scene.count_probs for scene, _ in scenes])
    sampled = [added["importance"] for _, added in found if added]
    if not sampled:
        return Part(claims)
    weighted = claims_of(tiles, scenes, [np.array(own["count_probs"]) for own in sampled])
    size = min(own["effective_sample_size"] for own in sampled)
    return Part(claims, weighted, size, sampled[0]["samples"])


def mosaic_record(name: str, frame: Frame, parts: Sequence[Part], spread: float = 0.0) -> Record:
    """Return the record of a picture of several tiles.

    Objects are numbered tile by tile, and their ``z_where`` is relative to the whole picture. The
    count is their number, and ``count_probs`` reaches as far, though it may be improbable: many
    objects that are each barely probable are all listed.

    Args:
        name: of the picture.
        frame: of any of its tiles.
        parts: what its tiles show, in any order.
    """
    whole = joined([part.claims for part in parts])
    objects = [
        object_record(own.frame, number, own.thing) | {"z_where": rounded(own.z_where)}
        for number, own in enumerate(whole.found, 1)
    ]
    probs = np.pad(whole.count_probs, (0, max(len(objects) + 1 - len(whole.count_probs), 0)))
    record = picture_record(name, frame, len(objects), probs, objects, spread)
    weighted = [part.weighted for part in parts if part.weighted is not None]
    if weighted:
        counts = joined(weighted)
        record["importance"] = {
            "count": int(counts.count_probs.argmax()),
            "count_probs": rounded(counts.count_probs),
            "effective_sample_size": min(part.effective_size for part in parts),
            "samples": parts[0].samples,
        }
    return record


def _of_whole(z_where: NDArray[np.floating], tile: Tile) -> NDArray[np.float64]:
    """Return a pose (s, x, y) relative to the whole picture, as if that were the canvas.

    A window's center lies at -(x, y) / s, in coordinates from -1 to 1, and its width is 2 / s.
    """
    scale, shifts = float(z_where[0]), np.asarray(z_where[1:], np.float64)
    canvas = np.array(tile.canvas.shape[:0:-1], np.float64)  # width, height
    frame = tile.frame
    size = np.array([round(n * z) for n, z in zip(frame.size, frame.zoom, strict=True)], np.float64)
    center = (1 - shifts / scale) * canvas / 2 - np.array(frame.offset)  # scaled pixels
    own = scale * size[0] / canvas[0]
    return np.concatenate(([own], -own * (2 * center / size - 1)))


def drawn(tiles: Sequence[Tile], scenes: Sequence[TileScene]) -> NDArray[np.float32]:
    """Return the scene of a picture, drawn again: its tiles' scenes, each in the tile's core.

    Args:
        tiles: all of the picture.
        scenes: of the tiles.
    Returns: (channels, height, width), intensity, of the scaled picture.
    """
    frame = tiles[0].frame
    width, height = (round(n * z) for n, z in zip(frame.size, frame.zoom, strict=True))
    whole = np.zeros((len(tiles[0].canvas), height, width), np.float32)
    for tile, (scene, _) in zip(tiles, scenes, strict=True):
        place, part = [], []
        limits = (tile.core[2:], tile.core[:2])  # y, x
        for axis, (core, side) in enumerate(
            zip(limits, scene.reconstruction.shape[1:], strict=True)
        ):
            start = -int(tile.frame.offset[1 - axis])
            low = max(int(np.ceil(max(core[0], 0))), -start, 0)
            high = min(int(np.ceil(min(core[1], side))), whole.shape[1 + axis] - start)
            part.append(slice(low, high))
            place.append(slice(start + low, start + high))
        whole[:, place[0], place[1]] = scene.reconstruction[:, part[0], part[1]]
    return whole
