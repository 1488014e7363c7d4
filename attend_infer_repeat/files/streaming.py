"""Pictures in, scenes out, one after the other.

Pictures are read ahead by threads, a block at a time goes through the model, and the results of a
batch are handed over before the next one's. A picture is dropped once it is on the canvas, but for
a small one to draw boxes on, and the bytes of all that are in hand are bounded: memory grows with
the largest picture, and with no number of them but for their names. Every block has the same number
of rows, the last one filled up with black: rounding depends on the shape of a product, so a
picture's result is the same to the last bit, whatever pictures stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..air import AIR
from ..config import CountConfig
from ..data.pictures.framing import Framing, Tile, enough, place_tiles
from ..data.pictures.reading import Need, one_line, shown
from ..data.sets.parallel import Budget, in_parallel
from ..errors import AirError, NotFiniteError, ShapeError
from ..posterior import count_posterior, picture_noise
from ..seeds import check_seed
from ..spatial import window_boxes
from .annotate import shrunk, shrunk_size
from .mosaic import TileScene, mosaic_record
from .records import Record, check_finite, failure_record, rounded, scene_record
from .sources import Source

if TYPE_CHECKING:
    from PIL.Image import Image

BLOCK = 64
"""Pictures that go through the model at once, always."""

MAX_HELD = 256 * 2**20
"""Bytes of pictures that are held at a time: those being decoded, and those to draw boxes on."""


Observer = Callable[[NDArray[np.uint8], int, NDArray[np.floating], NDArray[np.floating]], None]
"""Takes a canvas, (channels, height, width), the count, the boxes, (count, 4), in canvas pixels,
and the scene drawn again."""


class Placed(NamedTuple):
    """A picture that was read."""

    tiles: list[Tile]  # one, but of a large picture that is divided
    shrunk: Image | None  # for ``annotate``; None if it was not asked for

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in pixels."""
        return self.tiles[0].frame.size

    @property
    def num_bytes(self) -> int:
        """What is kept beside the first canvas; Pillow takes four bytes for a color."""
        num = sum(tile.canvas.nbytes for tile in self.tiles[1:])
        if self.shrunk is None:
            return num
        return num + self.shrunk.width * self.shrunk.height * (1 if self.shrunk.mode == "L" else 4)


class Row(NamedTuple):
    """What is known of a picture."""

    record: Record
    reconstruction: NDArray[np.float32]  # the scene drawn again; empty if it could not be read
    placed: Placed | None  # None if it could not be read


def failed(record: Record) -> Row:
    """Return the row of a picture that could not be read, or whose record there is already."""
    return Row(record, np.empty(0, np.float32), None)


def infer_pictures(
    air: AIR,
    sources: Iterable[Source],
    *,
    framing: Framing | None = None,
    samples: int = 0,
    seed: int = 0,
    batch_size: int = BLOCK,
    keep_shrunk: bool = False,
    max_held: int = MAX_HELD,
    observe: Observer | None = None,
) -> Iterator[list[Row]]:
    """Count, locate and describe the objects in pictures, a batch at a time.

    Args:
        air: the model.
        sources: the pictures.
        framing: how they come onto the canvas; the model's way if None.
        samples: importance samples per picture, for a better posterior over the count.
        seed: of the samples; a picture's own depend on nothing else but its pixels.
        batch_size: the most pictures to a batch; it changes no result.
        keep_shrunk: keep of each picture what ``annotate.annotated`` needs.
        max_held: bytes of pictures that are held at a time; a larger one is decoded alone.
        observe: called with each canvas and what was found on it.
    Yields: a ``Row`` for each picture of a batch; scenes are (channels, height, width).
    """
    framing = Framing.of_model(air.config) if framing is None else framing
    seed = check_seed(seed)
    reader = _Reader(framing, keep_shrunk, Budget(max_held))
    items = in_parallel(reader.read, enumerate(sources), ahead=max(2 * batch_size, 2))
    for batch in _batches(items, batch_size, max_held // 2):
        sound = [item for _, item in batch if isinstance(item, Placed)]
        results = iter(_infer_placed(air, sound, samples, seed, observe))
        yield [
            _row(source.name, item, next(results), air.config.count)
            if isinstance(item, Placed)
            else failed(item)
            for source, item in batch
        ]
        reader.budget.give_back(sum(placed.num_bytes for placed in sound))


class _Reader(NamedTuple):
    """Brings pictures to the canvas; whatever is wrong with one is its own record."""

    framing: Framing
    keep_shrunk: bool
    budget: Budget

    def read(self, numbered: tuple[int, Source]) -> tuple[Source, Placed | Record]:
        """Read one picture, or take its record if there is one already."""
        number, source = numbered
        reserved = kept = 0

        def reserve(num_bytes: int) -> None:
            nonlocal reserved
            self.budget.reserve(number, num_bytes)
            reserved += num_bytes

        try:
            if source.record is not None:
                return source, source.record
            placed = self._place(
                source, replace(self.framing.need, enough=self._enough, reserve=reserve)
            )
            kept = placed.num_bytes
            return source, placed
        except ShapeError as error:  # the picture is not of the size that its background has
            return source, failure_record(source.name, f"{shown(source.name)}: {error}")
        except AirError as error:
            return source, failure_record(source.name, str(error))
        except Exception as error:
            reason = f"{shown(source.name)}: {one_line(error)}"
            return source, failure_record(source.name, reason)
        finally:
            self.budget.done(number, reserved - kept)

    def _place(self, source: Source, need: Need) -> Placed:
        picture, size = source.read(need)
        tiles = place_tiles(picture, self.framing, size)
        return Placed(tiles, shrunk(picture, size) if self.keep_shrunk else None)

    def _enough(self, size: tuple[int, int]) -> tuple[int, int]:
        # With or without annotated pictures: the canvas must be the same.
        canvas, boxes = enough(size, self.framing), shrunk_size(size)
        return max(canvas[0], boxes[0]), max(canvas[1], boxes[1])


def _batches(
    items: Iterable[tuple[Source, Placed | Record]], batch_size: int, max_bytes: int
) -> Iterator[list[tuple[Source, Placed | Record]]]:
    """Yield items in lists of ``batch_size``, or less where those hold ``max_bytes`` already."""
    batch, num_bytes = [], 0
    for source, item in items:
        batch.append((source, item))
        num_bytes += item.num_bytes if isinstance(item, Placed) else 0
        if len(batch) == batch_size or num_bytes >= max_bytes:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _row(
    name: str, placed: Placed, found: Sequence[tuple[TileScene, Record]], of: CountConfig
) -> Row:
    """Return a picture's row; a failure's, where the model's answer is not finite."""
    try:
        for _, sampled in found:
            check_finite(name, *sampled.get("importance", {}).values())
        if len(placed.tiles) > 1:
            return Row(*mosaic_record(name, placed.tiles, found, of.count_spread), placed)
        ((tile_scene, sampled),) = found
        record = scene_record(name, placed.tiles[0].frame, tile_scene.scene, of)
    except NotFiniteError as error:
        return failed(failure_record(name, str(error)))
    return Row(record | sampled, tile_scene.scene.reconstruction, placed)


def _infer_placed(
    air: AIR, placed: Sequence[Placed], samples: int, seed: int, observe: Observer | None
) -> Iterator[list[tuple[TileScene, Record]]]:
    """Yield the scenes of each picture's tiles, and what importance samples add to its record."""
    canvases = [tile.canvas for picture in placed for tile in picture.tiles]
    tiles = _infer_canvases(air, canvases, samples, seed, observe)
    for picture in placed:
        yield list(islice(tiles, len(picture.tiles)))


def _infer_canvases(
    air: AIR,
    canvases: Sequence[NDArray[np.uint8]],
    samples: int,
    seed: int,
    observe: Observer | None,
) -> Iterator[tuple[TileScene, Record]]:
    for start in range(0, len(canvases), BLOCK):
        own = canvases[start : start + BLOCK]
        block = np.zeros((BLOCK, *own[0].shape), np.uint8)
        block[: len(own)] = own
        scenes = air.infer(block, batch_size=BLOCK)
        windows = window_boxes(torch.as_tensor(scenes.z_where), air.config.canvas_size).numpy()
        boxes = np.where(np.isnan(scenes.boxes), windows, scenes.boxes)
        added = _importance(air, block, samples, seed) if samples else [{}] * BLOCK
        for row, canvas in enumerate(own):
            if observe is not None:
                count = int(scenes.counts[row])
                observe(canvas, count, scenes.boxes[row, :count], scenes.reconstruction[row])
            yield TileScene(scenes[row], boxes[row]), added[row]


def _importance(air: AIR, block: NDArray[np.uint8], samples: int, seed: int) -> list[Record]:
    """Return the importance-weighted count posterior of each picture of a block."""
    noise = torch.stack([picture_noise(air, canvas, samples, seed) for canvas in block], dim=1)
    images = torch.as_tensor(block)
    posterior = count_posterior(air, images, samples, seed, noise=noise, batch_size=BLOCK)
    return [
        {
            "importance": {
                "count": int(row.argmax()),
                "count_probs": rounded(
                    np.trim_zeros(row, "b") if air.config.count.unbounded else row
                ),
                "effective_sample_size": round(float(size), 3),
                "samples": samples,
            }
        }
        for row, size in zip(
            posterior.count_probs.numpy(), posterior.effective_sample_size, strict=True
        )
    ]
