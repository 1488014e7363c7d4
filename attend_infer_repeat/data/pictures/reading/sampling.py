"""Which of the pictures, and which parts of a large one, are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .rasters import Box, Size

SAMPLE = 100
"""Pictures that are looked at, evenly spread over all."""

WINDOWS, WINDOW = 5, 512
"""Windows along each side of a large picture that are looked at, and their side in pixels."""


def spread(num: int, sample: int = SAMPLE) -> NDArray[np.int64]:
    """Return the positions of ``sample`` of ``num`` things, evenly spread, or of all of them."""
    return np.unique(np.linspace(0, num - 1, min(num, sample)).round().astype(np.int64))


def windows(size: Size) -> list[Box]:
    """Return parts of a picture, evenly spread; of a small one they are all of it.

    Args:
        size: (width, height) in pixels.
    """
    columns, rows = (
        [
            (int(edges[k]), int(min(edges[k] + WINDOW, edges[k + 1])))
            for edges in [np.linspace(0, length, WINDOWS + 1).round()]
            for k in range(WINDOWS)
            if edges[k] < edges[k + 1]
        ]
        for length in size
    )
    return [(left, top, right, bottom) for top, bottom in rows for left, right in columns]
