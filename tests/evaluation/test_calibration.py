"""Are count probabilities right: exact small cases, and synthetic ones whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attend_infer_repeat.errors import ShapeError
from attend_infer_repeat.evaluation.calibration import EDGES, fit_temperature, reliability, temper


def calibrated(num: int, spread: float = 4.0, steps: int = 3, seed: int = 0):
    """Return probabilities, (num, steps + 1), and counts that were drawn from them."""
    rng = np.random.default_rng(seed)
    probs = temper(np.exp(spread * rng.normal(size=(num, steps + 1))), 1.0)
    return probs, (rng.random(num)[:, None] > probs.cumsum(axis=1)).sum(axis=1)


def test_four_images_by_hand() -> None:
    probs = np.array([[0.8, 0.2], [0.6, 0.4], [0.25, 0.75], [0.05, 0.95]])
    result = reliability(probs, np.array([0, 1, 1, 1]))
    assert result.num_images == 4
    assert result.accuracy == 0.75
    assert result.confidence == pytest.approx((0.8 + 0.6 + 0.75 + 0.95) / 4)
    # Bins of confidence: {0.6} wrong, {0.8, 0.75} right, {0.95} right.
    assert result.ece == pytest.approx((0.6 + (2 - 1.55) + 0.05) / 4)
    assert result.brier == pytest.approx(2 * (0.2**2 + 0.6**2 + 0.25**2 + 0.05**2) / 4)
    assert result.nll == pytest.approx(-np.log([0.8, 0.4, 0.75, 0.95]).mean())
    assert [(b.num, b.observed) for b in result.bins] == [
        (1, 0),  # 0.05
        (2, 0),  # 0.2, 0.25
        (1, 1),  # 0.4
        (1, 0),  # 0.6
        (2, 1),  # 0.75, 0.8
        (1, 1),  # 0.95
    ]
    assert result.bins[1].stated == pytest.approx(0.225)


def test_intervals_are_clopper_and_pearsons() -> None:
    # Of 10 certain events none happened: the interval's upper end solves (1 - p)^10 = 0.025.
    (certain,) = reliability(np.ones((10, 1)), np.ones(10, int)).bins
    assert (certain.num, certain.stated, certain.observed) == (10, 1, 0)
    assert certain.interval == pytest.approx((0, 1 - 0.025**0.1))


def test_a_perfect_answer_has_no_error_at_all() -> None:
    counts = np.arange(8) % 4
    result = reliability(np.eye(4)[counts], counts)
    assert (result.ece, result.ece_limit, result.brier, result.nll) == (0, 0, 0, 0)
    assert result.accuracy == result.confidence == 1
    assert result.verdict == "calibrated"


def test_more_objects_than_the_model_can_count_are_wrong_and_cost_a_finite_price() -> None:
    result = reliability(np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1, 5]))
    assert result.accuracy == 0.5
    assert result.brier == 1.0  # 0, and (1 - 0)^2 + (0 - 1)^2
    assert np.isfinite(result.nll)
    assert result.nll > 40
    assert result.verdict == "over-confident"


@pytest.mark.parametrize("spread", [0.5, 4.0, 12.0])
def test_calibrated_probabilities_are_found_calibrated(spread: float) -> None:
    num = 20_000
    probs, counts = calibrated(num, spread)
    result = reliability(probs, counts)
    # Each bin's mean surplus has a standard error below 1 / 2 sqrt(its images); weighted by the
    # shares, and by Cauchy and Schwarz, their sum stays below sqrt(bins / num) / 2 each.
    standard_error = np.sqrt((len(EDGES) + 1) / num) / 2
    assert result.ece < 5 * standard_error
    assert abs(result.accuracy - result.confidence) < 5 * 0.5 / np.sqrt(num)
    assert result.is_calibrated
    inside = [b.interval[0] <= b.stated <= b.interval[1] for b in result.bins]
    assert sum(inside) >= len(inside) - 2  # at 95% each


def test_the_limit_is_what_chance_explains_in_95_of_100_samples() -> None:
    results = [reliability(*calibrated(200, seed=seed)) for seed in range(100)]
    share = np.mean([result.is_calibrated for result in results])
    assert share > 0.95 - 5 * np.sqrt(0.95 * 0.05 / 100)
    halved = [result.ece < result.ece_limit / 2 for result in results]
    assert np.mean(halved) < 0.5  # the limit is no wider than it need be


@pytest.mark.parametrize(("truth", "verdict"), [(3.0, "over-confident"), (0.4, "under-confident")])
def test_a_wrong_temperature_is_found_and_repaired_on_other_images(truth, verdict) -> None:
    probs, counts = calibrated(20_000)
    stated = temper(probs, 1 / truth)
    half, other = slice(None, None, 2), slice(1, None, 2)
    before = reliability(stated[other], counts[other])
    assert before.verdict == verdict
    temperature = fit_temperature(stated[half], counts[half])
    assert temperature == pytest.approx(truth, rel=0.1)  # five standard errors are 0.08
    after = reliability(temper(stated[other], temperature), counts[other])
    assert after.verdict == "calibrated"
    assert after.ece < before.ece / 3
    assert after.nll < before.nll
    assert after.accuracy == before.accuracy


def test_a_temperature_of_one_changes_nothing_and_any_keeps_the_order() -> None:
    probs, _ = calibrated(50)
    np.testing.assert_allclose(temper(probs, 1.0), probs, rtol=1e-12)
    for temperature in (0.1, 10.0):
        tempered = temper(probs, temperature)
        np.testing.assert_allclose(tempered.sum(axis=1), 1)
        np.testing.assert_array_equal(tempered.argsort(axis=1), probs.argsort(axis=1))


def test_without_a_wrong_count_the_temperature_stays_near_one() -> None:
    counts = np.arange(1_000) % 2
    probs = np.where(np.eye(2)[counts] == 1, 0.999, 0.001)
    assert 0.5 < fit_temperature(probs, counts) < 1
    assert fit_temperature(np.eye(2)[counts], counts) == pytest.approx(1, abs=1e-3)


def test_images_of_impossible_counts_do_not_move_the_temperature() -> None:
    probs, counts = calibrated(500)
    more = np.concatenate((counts, [7, 9])), np.concatenate((probs, probs[:2]))
    assert fit_temperature(more[1], more[0]) == pytest.approx(fit_temperature(probs, counts))


@pytest.mark.parametrize("function", [reliability, fit_temperature])
@pytest.mark.parametrize(("probs", "counts"), [((0, 4), (0,)), ((5, 4), (4,)), ((4,), (4,))])
def test_shapes_that_do_not_fit_are_refused(function, probs, counts) -> None:
    with pytest.raises(ShapeError, match="count probabilities"):
        function(np.ones(probs), np.zeros(counts, int))


def test_figures_are_plain_values() -> None:
    figures = reliability(*calibrated(100)).to_dict()
    restored = json.loads(json.dumps(figures))
    assert restored["ece"] == figures["ece"]
    assert len(restored["bins"]) == len(figures["bins"])
