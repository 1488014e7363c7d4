"""Which of the pictures are looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE = 100
"""Pictures that are looked at, evenly spread over all."""


def spread(num: int, sample: int = SAMPLE) -> NDArray[np.int64]:
    """Return the positions of ``sample`` of ``num`` things, evenly spread, or of all of them."""
    return np.unique(np.linspace(0, num - 1, min(num, sample)).round().astype(np.int64))
