"""Pictures in, scenes out, one after the other.

Pictures are read ahead by threads, a block at a time goes through the model, and the results of a
batch are handed over before the next one's. A picture is dropped once it is on the canvas, but for
a small one to draw boxes on, and the bytes of all that are in hand are bounded: memory grows with
the largest picture that is read as a whole, and with no number of them but for their names. What is
larger is read and inferred in parts (``blocks``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..air import AIR
from ..config import CountConfig
from ..data.pictures.canvas.framing import Framing, Tile, Tiles, enough
from ..data.pictures.reading.decoding import Need, one_line, shown
from ..data.sets.parallel import Budget, in_parallel
from ..errors import AirError, DataError, NotFiniteError, ShapeError
from ..seeds import check_seed
from .annotate import shrunk, shrunk_size
from .blocks import Runner, Work, in_turn, infer_blocks
from .canvases import BLOCK, Observer, infer_canvases
from .mosaic import TileScene, drawn, mosaic_record, part_of
from .records import Record, check_finite, failure_record, scene_record
from .sources import Source

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_HELD = 256 * 2**20
"""Bytes of pictures that are held at a time: those being decoded, and those to draw boxes on."""


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


class Divided(NamedTuple):
    """A picture that is read in parts."""

    tiles: Tiles
    shrunk: Image | None  # as in ``Placed``

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in pixels."""
        return self.tiles.frame.size

    @property
    def num_bytes(self) -> int:
        """0: no tiles are kept, and what is shrunk is small beside a part."""
        return 0


class Row(NamedTuple):
    """What is known of a picture."""

    record: Record
    reconstruction: NDArray[np.float32]  # the scene drawn again; empty if it is not
    placed: Placed | Divided | None  # None if it could not be read


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
    run: Runner = in_turn,
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
        observe: called with each canvas and what was found on it; with a few of a picture that is
            read in parts.
        run: works on the blocks of a picture that is read in parts.
    Yields: a ``Row`` for each picture of a batch; scenes are (channels, height, width), and empty
        where a picture is read in parts.
    """
    framing = Framing.of_model(air.config) if framing is None else framing
    seed = check_seed(seed)
    reader = _Reader(framing, keep_shrunk, Budget(max_held))
    items = in_parallel(reader.read, enumerate(sources), ahead=max(2 * batch_size, 2))
    for batch in _batches(items, batch_size, max_held // 2):
        sound = [item for _, item in batch if isinstance(item, Placed)]
        results = iter(_infer_placed(air, sound, samples, seed, observe))
        rows = []
        for source, item in batch:
            if isinstance(item, Placed):
                rows.append(_row(source.name, item, next(results), air.config.count))
            elif isinstance(item, Divided):
                work = Work(source.name, item.tiles, air, samples, seed)
                rows.append(_row_of_blocks(work, item, run, observe))
            else:
                rows.append(failed(item))
        yield rows
        reader.budget.give_back(sum(placed.num_bytes for placed in sound))


Item = Placed | Divided | Record
"""A picture that was read; or the record of one that could not be, or is known."""


class _Reader(NamedTuple):
    """Brings pictures to the canvas; whatever is wrong with one is its own record."""

    framing: Framing
    keep_shrunk: bool
    budget: Budget

    def read(self, numbered: tuple[int, Source]) -> tuple[Source, Item]:
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

    def _place(self, source: Source, need: Need) -> Placed | Divided:
        picture, size = source.read(need)
        tiles = Tiles(picture, self.framing, size)
        small = shrunk(picture, size) if self.keep_shrunk else None
        return Divided(tiles, small) if len(tiles.blocks) > 1 else Placed(tiles.of_block(0), small)

    def _enough(self, size: tuple[int, int]) -> tuple[int, int]:
        # With or without annotated pictures: the canvas must be the same.
        canvas, boxes = enough(size, self.framing), shrunk_size(size)
        return max(canvas[0], boxes[0]), max(canvas[1], boxes[1])


def _batches(
    items: Iterable[tuple[Source, Item]], batch_size: int, max_bytes: int
) -> Iterator[list[tuple[Source, Item]]]:
    """Yield items in lists of ``batch_size``, or less where those hold ``max_bytes`` already.

    A picture that is read in parts is alone, so that no other's results wait for its own.
    """
    batch: list[tuple[Source, Item]] = []
    num_bytes = 0
    for source, item in items:
        divided = isinstance(item, Divided)
        if divided and batch:
            yield batch
            batch, num_bytes = [], 0
        batch.append((source, item))
        num_bytes += item.num_bytes if isinstance(item, Placed) else 0
        if divided or len(batch) == batch_size or num_bytes >= max_bytes:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _row(
    name: str, placed: Placed, found: Sequence[tuple[TileScene, Record]], of: CountConfig
) -> Row:
    """Return a picture's row; a failure's, where the model's answer is not finite."""
    try:
        if len(placed.tiles) > 1:
            part = part_of(name, placed.tiles, found)
            record = mosaic_record(name, placed.tiles[0].frame, [part], of.count_spread)
            return Row(record, drawn(placed.tiles, [scene for scene, _ in found]), placed)
        ((tile_scene, sampled),) = found
        check_finite(name, *sampled.get("importance", {}).values())
        record = scene_record(name, placed.tiles[0].frame, tile_scene.scene, of)
    except NotFiniteError as error:
        return failed(failure_record(name, str(error)))
    return Row(record | sampled, tile_scene.scene.reconstruction, placed)


def _row_of_blocks(work: Work, divided: Divided, run: Runner, observe: Observer | None) -> Row:
    """Return a picture's row; a failure's, where a part cannot be read or inferred."""
    try:
        record = infer_blocks(work, run, observe)
    except (DataError, ShapeError) as error:
        return failed(failure_record(work.name, str(error)))
    except MemoryError as error:
        return failed(failure_record(work.name, f"{shown(work.name)}: {one_line(error)}"))
    return Row(record, np.empty(0, np.float32), divided)


def _infer_placed(
    air: AIR, placed: Sequence[Placed], samples: int, seed: int, observe: Observer | None
) -> Iterator[list[tuple[TileScene, Record]]]:
    """Yield the scenes of each picture's tiles, and what importance samples add to its record."""
    canvases = [tile.canvas for picture in placed for tile in picture.tiles]
    tiles = infer_canvases(air, canvases, samples, seed, observe)
    for picture in placed:
        yield list(islice(tiles, len(picture.tiles)))
