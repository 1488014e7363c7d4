"""Large pictures in parts: tiles that overlap, each of which answers for its core."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """Where a tile lies along one axis."""

    start: int
    core: tuple[float, float]
    """From and to, from the tile's own start."""


def runs(found: list[Span], side: int, extent: float) -> list[range]:
    """Divide tiles along one axis into runs that cover ``extent`` pixels at most, or are one tile.

    Args:
        found: where the tiles lie.
        side: of a tile.
        extent: in pixels.
    """
    begins = [0]
    for k, span in enumerate(found):
        if k > begins[-1] and span.start + side - found[begins[-1]].start > extent:
            begins.append(k)
    return [range(*ends) for ends in pairwise([*begins, len(found)])]


def spans(length: int, side: int, overlap: int) -> list[Span]:
    """Cover a length with tiles of a side that overlap; their cores cover it without overlap.

    Args:
        length: of the picture, in pixels.
        side: of a tile; one tile covers a length that is not larger, in its middle.
        overlap: at least, less than the side.
    """
    if length <= side:
        return [Span(-((side - length) // 2), (-math.inf, math.inf))]
    num = math.ceil((length - overlap) / (side - overlap))
    starts = np.linspace(0, length - side, num).round().astype(int).tolist()
    ends = [(before + side + after) / 2 for before, after in pairwise(starts)]
    edges = [-math.inf, *ends, math.inf]
    return [Span(start, (edges[k] - start, edges[k + 1] - start)) for k, start in enumerate(starts)]
