"""Distributions of counts, as arrays of probabilities of 0, 1, ...: sums and intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

INTERVAL_LEVEL = 0.9
"""Probability of the interval of counts that results tell."""

NEGLIGIBLE = 1e-9
"""Probability of a count, as a share of the likeliest one's, that is left out of a sum."""


def sum_of(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the distribution of a sum of independent numbers."""
    total = np.ones(1)
    low = 0
    for part in parts:
        total = np.convolve(total, part)
        likely = np.flatnonzero(total > NEGLIGIBLE * total.max())
        low += int(likely[0])
        total = total[likely[0] : likely[-1] + 1]
    return np.concatenate((np.zeros(low), total / total.sum()))


def shifted(probs: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """Return the distribution of a number plus ``by``; below 0 it is 0."""
    if by >= 0:
        return np.concatenate((np.zeros(by), probs))
    return np.concatenate(([probs[: 1 - by].sum()], probs[1 - by :]))


def count_interval(probs: NDArray[np.floating], level: float = INTERVAL_LEVEL) -> tuple[int, int]:
    """Return the shortest run of counts that has a probability of at least ``level``.

    Of several, the likeliest; its first and its last count are returned.
    """
    total = np.concatenate(([0.0], np.cumsum(np.asarray(probs, np.float64))))
    starts = np.arange(len(probs))
    ends = np.searchsorted(total, total[:-1] + level - 1e-9)  # of the shortest run from each start
    inside = ends < len(total)
    if not inside.any():
        return 0, len(probs) - 1
    starts, ends = starts[inside], ends[inside]
    shortest = (ends - starts) == (ends - starts).min()
    best = np.argmax(np.where(shortest, total[ends] - total[starts], -1.0))
    return int(starts[best]), int(ends[best]) - 1
