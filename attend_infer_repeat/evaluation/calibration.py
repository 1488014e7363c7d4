"""Are the count probabilities right? Of the images counted with probability 0.9, 90% should be.

Every image states T + 1 probabilities: those of the events 'it holds n objects', n = 0..T. Over all
images they are put into bins, and in each the mean stated probability is compared with the share
of events that happened. A good model's probabilities are nearly all close to 0 or to 1, where equal
steps of probability would leave one full bin at each end, and equally full bins would mix 0.6
with 0.99; the bins' edges are therefore 0.001, 0.01, 0.1, ... from each end, and all events count,
not just the most probable one, so that the middle is as full as can be.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError

EDGES = (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999)
"""Where one bin of probability ends and the next begins."""
COVERAGE = 0.95
"""Of the intervals, and of ``Reliability.ece_limit``."""
MAX_TEMPERATURE = 20.0
"""The largest temperature that is looked for, and one over the smallest."""
PRIOR_SD = 0.5
"""Of the log of the temperature: a factor of 1.6 is nothing unusual."""
_TINY = float(np.finfo(np.float32).tiny)  # so that a probability that float32 holds as 0 has a log


@dataclass(frozen=True)
class Bin:
    """The events whose stated probability lies in one range."""

    num: int
    """Events in the bin, at least one."""
    stated: float
    """Their mean stated probability."""
    observed: float
    """The share of them that happened."""
    interval: tuple[float, float]
    """Where the true share lies with 95% confidence (Clopper and Pearson 1934)."""


@dataclass(frozen=True)
class Reliability:
    """How well count probabilities agree with the true counts of as many images."""

    num_images: int
    accuracy: float
    """Share of images whose most probable count is the true one."""
    confidence: float
    """Mean probability of the most probable count: above the accuracy if over-confident."""
    ece: float
    """Expected calibration error: the images' mean of ``|accuracy - confidence|`` of their bin. The
    bins of confidence end at ``EDGES``; with other bins, as the usual equal ones, it is another."""
    ece_limit: float
    """What the ECE stays below in 95% of samples this large if the confidences are right."""
    brier: float
    """Mean of sum_n (p_n - [n is the true count])^2, from 0 to 2; down is better."""
    nll: float
    """Mean -log p_n of the true count n, nats per image; down is better."""
    bins: tuple[Bin, ...]
    """The bins that hold any event, in order of probability."""

    @property
    def is_calibrated(self) -> bool:
        """Whether the error is no larger than chance explains."""
        return self.ece <= self.ece_limit

    @property
    def verdict(self) -> str:
        """``calibrated`` as far as these images tell, ``over-confident`` or ``under-confident``."""
        if self.is_calibrated:
            return "calibrated"
        return "over-confident" if self.confidence > self.accuracy else "under-confident"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return dataclasses.asdict(self)


def reliability(probs: ArrayLike, counts: ArrayLike) -> Reliability:
    """Compare count probabilities with true counts.

    Args:
        probs: (N, T + 1), rows sum to 1, such as ``Scenes.count_probs``.
        counts: (N,), true counts. A count above T has the probability 0.
    Raises: ShapeError if the shapes do not fit or there is no image.
    """
    p, n = _checked(probs, counts)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == n
    p_true = _at_true_count(p, n)
    return Reliability(
        num_images=len(p),
        accuracy=float(right.mean()),
        confidence=float(confidence.mean()),
        ece=_ece(confidence, right),
        ece_limit=_ece_limit(confidence),
        brier=float((np.square(p).sum(axis=1) - 2 * p_true + 1).mean()),
        nll=float(-np.log(p_true.clip(min=_TINY)).mean()),
        bins=_bins(p.ravel(), (n[:, None] == np.arange(p.shape[1])).ravel()),
    )


def temper(probs: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Return p_n^(1 / temperature), normalized: (N, T + 1). Above 1 makes them less sure."""
    log_p = np.log(np.asarray(probs, np.float64).clip(min=_TINY)) / temperature
    p: NDArray[np.float64] = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def fit_temperature(probs: ArrayLike, counts: ArrayLike) -> float:
    """Find the temperature at which held-out counts are most probable (Guo et al. 2017).

    It minimizes the sum over the images of -log p_n of the true count n, plus (log temperature /
    PRIOR_SD)^2 / 2: a normal prior, which a handful of wrong counts outweighs. Without it, images
    that are all counted right would ask for a temperature of 0, and the first wrong one would then
    come as a certainty. The most probable count stays the same. Judge the result on other images.

    Args:
        probs: (N, T + 1), rows sum to 1.
        counts: (N,), true counts. Images of more than T objects are left out: no temperature
            makes their count possible.
    Returns: from 1 / MAX_TEMPERATURE to MAX_TEMPERATURE.
    Raises: ShapeError if the shapes do not fit or there is no image.
    """
    from scipy.optimize import minimize_scalar

    p, n = _checked(probs, counts)
    possible = n < p.shape[1]
    p, n = p[possible], n[possible]

    def cost(log_temperature: float) -> float:
        p_true = _at_true_count(temper(p, np.exp(log_temperature)), n)
        prior = (log_temperature / PRIOR_SD) ** 2 / 2
        return float(-np.log(p_true.clip(min=_TINY)).sum() + prior)

    limit = np.log(MAX_TEMPERATURE)
    return float(np.exp(minimize_scalar(cost, bounds=(-limit, limit), method="bounded").x))


def _checked(probs: ArrayLike, counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    p, n = np.asarray(probs, np.float64), np.asarray(counts)
    if p.ndim != 2 or n.shape != p.shape[:1] or not p.size:
        raise ShapeError(
            f"count probabilities: expected (N, T + 1) beside N >= 1 counts, got {p.shape} beside "
            f"{n.shape}."
        )
    return p, n


def _at_true_count(probs: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the probability of each image's true count, (N,): 0 if it is above T."""
    last = probs.shape[1] - 1
    at_count = probs[np.arange(len(probs)), counts.clip(max=last)]
    return np.where(counts > last, 0, at_count)


def _ece(stated: NDArray[np.float64], happened: NDArray[np.bool_]) -> float:
    surplus = np.bincount(np.digitize(stated, EDGES), weights=happened - stated)
    return float(np.abs(surplus).sum() / len(stated))


def _ece_limit(stated: NDArray[np.float64], samples: int = 500) -> float:
    rng = np.random.default_rng(0)
    errors = [_ece(stated, rng.random(len(stated)) < stated) for _ in range(samples)]
    return float(np.quantile(errors, COVERAGE))


def _bins(stated: NDArray[np.float64], happened: NDArray[np.bool_]) -> tuple[Bin, ...]:
    from scipy.stats import binomtest

    index = np.digitize(stated, EDGES)
    bins = []
    for k in np.unique(index):
        within = index == k
        num, hits = int(within.sum()), int(happened[within].sum())
        interval = binomtest(hits, num).proportion_ci(COVERAGE)
        bounds = float(interval.low), float(interval.high)
        bins.append(Bin(num, float(stated[within].mean()), hits / num, bounds))
    return tuple(bins)
