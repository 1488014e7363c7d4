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


def widened(probs: NDArray[np.floating], spread: float) -> NDArray[np.float64]:
    """Return the distribution of a number n of objects, of which each may be miscounted.

    Each adds one too many, or is left out, with a probability of spread / 2, independently of the
    others: the variance grows by the mean times ``spread``, and the mean stays.

    Args:
        probs: (T + 1,).
        spread: in [0, 1].
    """
    one = np.array([spread / 2, 1 - spread, spread / 2])
    likely = np.flatnonzero(probs > NEGLIGIBLE * np.max(probs))
    first, last = int(likely[0]), int(likely[-1])
    errors, doubled, num = np.ones(1), one, first  # of so many objects, symmetric around 0
    while num:
        if num % 2:
            errors = _without_tails(np.convolve(errors, doubled))
        doubled, num = _without_tails(np.convolve(doubled, doubled)), num // 2
    total = np.zeros(2 * last + 1)
    for n in range(first, last + 1):
        most = len(errors) // 2
        total[n - most : n + most + 1] += probs[n] * errors
        errors = _without_tails(np.convolve(errors, one))
    return np.trim_zeros(total, "b")


def _without_tails(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave the negligible ends of a symmetric distribution out."""
    cut = int(np.argmax(symmetric > NEGLIGIBLE * symmetric.max()))
    kept = symmetric[cut : len(symmetric) - cut]
    return kept / kept.sum()


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
