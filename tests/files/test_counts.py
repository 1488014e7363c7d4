"""Distributions of counts whose objects may each be miscounted."""

from __future__ import annotations

import numpy as np
import pytest

from attend_infer_repeat.files.counts import count_interval, widened


def moments(probs: np.ndarray) -> tuple[float, float]:
    n = np.arange(len(probs))
    mean = float(probs @ n)
    return mean, float(probs @ (n - mean) ** 2)


def at(count: int) -> np.ndarray:
    return np.eye(1, count + 1, count)[0]


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.4, 1.0])
@pytest.mark.parametrize(
    "probs", [at(0), at(1), at(7), np.array([0.0, 0.1, 0.6, 0.3]), np.full(40, 1 / 40)]
)
def test_the_mean_stays_and_the_variance_grows_with_it(probs: np.ndarray, spread: float) -> None:
    wider = widened(probs, spread)
    assert wider.sum() == pytest.approx(1, abs=1e-7)
    (mean, variance), (same, larger) = moments(probs), moments(wider)
    assert same == pytest.approx(mean, abs=1e-5)
    assert larger == pytest.approx(variance + spread * mean, rel=1e-4, abs=1e-5)


def test_without_a_spread_nothing_changes() -> None:
    probs = np.array([0.0, 0.25, 0.75, 0.0])
    np.testing.assert_allclose(widened(probs, 0.0), [0, 0.25, 0.75])


def test_hundreds_of_thousands_of_objects_are_widened_too() -> None:
    low, high = count_interval(widened(at(300_000), 0.1))
    assert (low + high) / 2 == pytest.approx(300_000, abs=1)
    assert high - low == pytest.approx(2 * 1.645 * np.sqrt(0.1 * 300_000), rel=0.01)


@pytest.mark.parametrize("spread", [0.05, 0.2])
def test_the_interval_holds_the_count_as_often_as_it_says(spread: float) -> None:
    rng = np.random.default_rng(0)
    true = 120
    errors = rng.choice([-1, 0, 1], (400, true), p=[spread / 2, 1 - spread, spread / 2]).sum(axis=1)
    intervals = [count_interval(widened(at(true + error), spread)) for error in errors]
    held = np.mean([low <= true <= high for low, high in intervals])
    assert 0.85 <= held <= 0.96
