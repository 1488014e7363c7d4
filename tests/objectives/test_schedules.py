"""Values that change during training."""

from __future__ import annotations

import math

import pytest

from attend_infer_repeat.objectives.schedules import Anneal, cosine_decay


@pytest.mark.parametrize(("start", "to"), [(0.5, 1e-7), (1e-7, 0.5), (0.3, 0.3)])
@pytest.mark.parametrize("kind", ["lin", "exp"])
def test_annealing_moves_from_start_to_end_and_never_back(
    kind: str, start: float, to: float
) -> None:
    anneal = Anneal(kind, start, to, begin=10, duration=100)
    values = [anneal(step) for step in range(10, 111)]
    assert values[0] == start
    assert values[-1] == to
    assert values == sorted(values, reverse=to < start)
    if start != to:
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("kind", ["lin", "exp"])
def test_annealing_is_constant_before_and_after(kind: str) -> None:
    anneal = Anneal(kind, 0.5, 0.01, begin=10, duration=100)
    assert {anneal(step) for step in (0, 1, 10)} == {0.5}
    assert {anneal(step) for step in (110, 111, 10**9)} == {0.01}


def test_half_way_lies_the_arithmetic_mean_of_lin_and_the_geometric_mean_of_exp() -> None:
    lin, exp = (Anneal(kind, 0.5, 0.02, begin=10, duration=100) for kind in ("lin", "exp"))
    assert lin(60) == pytest.approx(0.26)
    assert exp(60) == pytest.approx(0.1)


def test_without_annealing_nothing_moves() -> None:
    anneal = Anneal("none", 0.5, 0.02, begin=10, duration=100)
    assert {anneal(step) for step in (0, 10, 60, 110, 10**9)} == {0.5}


def test_cosine_decay_falls_from_one_to_zero_over_all_steps() -> None:
    values = [cosine_decay(step, 100) for step in range(101)]
    assert values[0] == 1
    assert values[50] == pytest.approx(0.5)
    assert values[100] == pytest.approx(0, abs=1e-15)
    assert values == sorted(values, reverse=True)
    assert cosine_decay(1_000, 100) == pytest.approx(0, abs=1e-15)


def test_cosine_decay_is_flat_at_both_ends_and_steepest_in_the_middle() -> None:
    falls = [cosine_decay(step, 100) - cosine_decay(step + 1, 100) for step in range(100)]
    assert falls[0] == pytest.approx(falls[-1])
    assert falls[0] < falls[25] < max(falls[49], falls[50])
    # The slope of (1 + cos(pi u)) / 2 at u = 1/2.
    assert falls[49] == pytest.approx(math.pi / 200, rel=1e-3)
