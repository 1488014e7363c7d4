"""Pictures that are larger than memory: their tiles are read and inferred a block at a time.

What a block shows is small, so memory grows with the objects that are found, and not with the
picture. Blocks depend on nothing but the picture and the model: they may be worked on in any order,
and in other processes (``cluster``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..air import AIR
from ..console import progress_bar
from ..data.pictures.canvas.framing import Tiles
from ..data.pictures.reading.sampling import spread
from .canvases import Observer, infer_canvases
from .mosaic import Part, mosaic_record, part_of
from .records import Record

OBSERVED = 4
"""Tiles of a block that an observer is shown."""


class Observed(NamedTuple):
    """What an observer is told of a tile; see ``canvases.Observer``."""

    canvas: NDArray[np.uint8]
    num_objects: int
    boxes: NDArray[np.floating]
    reconstruction: NDArray[np.floating]


class Block(NamedTuple):
    """What the tiles of a block show."""

    part: Part
    observed: list[Observed]
    num_tiles: int


@dataclass(frozen=True)
class Work:
    """What is done with each block of a picture. It can be pickled, and read the picture elsewhere.

    Attributes:
        name: of the picture.
        tiles: of it.
        air: the model.
        samples: importance samples per tile.
        seed: of the samples.
    """

    name: str
    tiles: Tiles
    air: AIR
    samples: int = 0
    seed: int = 0

    def __call__(self, number: int) -> Block:
        """Read and infer a block.

        Raises: DataError, in one line, if it cannot be read; NotFiniteError if the model's answer
            is not finite.
        """
        tiles = self.tiles.of_block(number)
        seen = set(spread(len(tiles), OBSERVED).tolist())
        observed: list[Observed] = []
        places = iter(range(len(tiles)))

        def observe(
            canvas: NDArray[np.uint8],
            count: int,
            boxes: NDArray[np.floating],
            reconstruction: NDArray[np.floating],
        ) -> None:
            if next(places) in seen:
                # Copies: a view would keep all of the model's answer in memory.
                observed.append(Observed(canvas, count, boxes.copy(), reconstruction.copy()))

        canvases = [tile.canvas for tile in tiles]
        found = list(infer_canvases(self.air, canvases, self.samples, self.seed, observe))
        return Block(part_of(self.name, tiles, found), observed, len(tiles))


class Runner(Protocol):
    """Does the work on all blocks of a picture."""

    def __call__(self, work: Work) -> Iterator[Block]:
        """Yield what each block shows, in the order of the blocks.

        Raises: as the work does.
        """


def in_turn(work: Work) -> Iterator[Block]:
    """Work on one block after the other, in this process."""
    return map(work, range(len(work.tiles.blocks)))


def with_bar(run: Runner) -> Runner:
    """Show a bar of the tiles that are done, on a terminal."""

    def shown(work: Work) -> Iterator[Block]:
        return progress_bar(
            run(work), len(work.tiles), "Inferring tiles", lambda block: block.num_tiles
        )

    return shown


def infer_blocks(work: Work, run: Runner, observe: Observer | None) -> Record:
    """Return the record of a picture whose tiles are inferred a block at a time.

    Args:
        work: what is done with each block.
        run: does it.
        observe: called with a few canvases of each block, and what was found on them.
    Raises: as the work does.
    """
    parts = []
    for block in run(work):
        parts.append(block.part)
        if observe is not None:
            for own in block.observed:
                observe(*own)
    return mosaic_record(work.name, work.tiles.frame, parts, work.air.config.count.count_spread)
