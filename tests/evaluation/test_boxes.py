"""Agreement of boxes."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from attend_infer_repeat.evaluation.boxes import (
    average_precision,
    box_iou,
    match_boxes,
    matched_ious,
)

NAN = [np.nan] * 4


def random_boxes(rng: np.random.Generator, num: int, slots: int) -> np.ndarray:
    corners = rng.integers(0, 20, (num, slots, 2))
    boxes = np.concatenate((corners, corners + rng.integers(1, 12, (num, slots, 2))), -1)
    boxes = boxes.astype(np.float32)
    boxes[np.arange(slots) >= rng.integers(0, slots + 1, num)[:, None]] = np.nan
    return boxes


@pytest.mark.parametrize(
    ("box", "iou"),
    [
        ([0, 0, 2, 2], 1),
        ([1, 0, 3, 2], 1 / 3),
        ([1, 1, 3, 3], 1 / 7),
        ([2, 0, 4, 2], 0),
        ([5, 5, 6, 6], 0),
        (NAN, 0),
    ],
)
def test_iou_of_known_boxes(box: list[float], iou: float) -> None:
    square = np.array([[0, 0, 2, 2]], dtype=float)
    assert box_iou(square, np.array([box], dtype=float)) == pytest.approx(iou)


def test_iou_counts_shared_pixels() -> None:
    rng = np.random.default_rng(0)
    first, second = random_boxes(rng, 30, 2), random_boxes(rng, 30, 3)
    y, x = np.mgrid[:40, :40] + 0.5

    def pixels(boxes: np.ndarray) -> np.ndarray:
        x0, y0, x1, y1 = (boxes[..., i, None, None] for i in range(4))
        return (x > x0) & (x < x1) & (y > y0) & (y < y1)

    a, b = pixels(first)[:, :, None], pixels(second)[:, None]
    shared, covered = (a & b).sum((-1, -2)), (a | b).sum((-1, -2))
    expected = np.where((a.any((-1, -2)) & b.any((-1, -2))), shared / np.maximum(covered, 1), 0)
    np.testing.assert_allclose(box_iou(first, second), expected)


def test_matching_finds_the_largest_total_of_all_matchings() -> None:
    rng = np.random.default_rng(0)
    found, true = random_boxes(rng, 40, 3), random_boxes(rng, 40, 3)
    ious = matched_ious(found, true)
    best, num_pairs = 0.0, 0
    for one, other in zip(found, true, strict=True):
        iou = box_iou(one, other)
        best += max(sum(iou[i, j] for i, j in enumerate(order)) for order in permutations(range(3)))
        num_pairs += min((~np.isnan(one[:, 0])).sum(), (~np.isnan(other[:, 0])).sum())
    assert ious.sum() == pytest.approx(best)
    assert len(ious) == num_pairs


def test_nothing_found_matches_nothing() -> None:
    assert len(matched_ious(np.full((4, 3, 4), np.nan), np.zeros((4, 2, 4)))) == 0


def test_pairs_name_the_boxes_that_they_match() -> None:
    rng = np.random.default_rng(0)
    true = np.array([[[0, 0, 4, 4], [5, 5, 9, 9], NAN]] * 20, dtype=np.float32)
    order = rng.permuted(np.tile(np.arange(3), (20, 1)), axis=1)
    found = np.take_along_axis(true, order[..., None], axis=1) + np.float32(1)
    pairs = match_boxes(found, true)
    np.testing.assert_array_equal(pairs.images, np.repeat(np.arange(20), 2))
    np.testing.assert_array_equal(pairs.true, order[pairs.images, pairs.found])
    assert pairs.ious == pytest.approx(9 / 23)


def test_boxes_that_do_not_overlap_are_pairs_too() -> None:
    found = np.array([[NAN, NAN, [0, 0, 1, 1]]], dtype=np.float32)
    true = np.array([[[5, 5, 6, 6], NAN]], dtype=np.float32)
    assert [list(column) for column in match_boxes(found, true)] == [[0], [2], [0], [0]]


# Average precision

NOTHING = [np.nan] * 4


def test_boxes_found_exactly_have_precision_1_in_any_order() -> None:
    true = np.array([[[0, 0, 9, 9], [20, 20, 30, 34]], [NOTHING, NOTHING]], np.float32)
    scores = np.array([[0.9, 0.8], [0.0, 0.0]])
    assert average_precision(true, scores, true) == pytest.approx(1)
    assert average_precision(true[:, ::-1], scores, true) == pytest.approx(1)


def test_precision_falls_with_misses_false_alarms_and_their_scores() -> None:
    true = np.array([[[0, 0, 10, 10], [40, 40, 50, 50]]], np.float32)
    one = np.array([[[0, 0, 10, 10], NOTHING, NOTHING]], np.float32)
    assert average_precision(one, np.ones((1, 3)), true) == pytest.approx(0.5, abs=0.01)
    alarm = np.array([[[0, 0, 10, 10], [40, 40, 50, 50], [70, 70, 80, 80]]], np.float32)
    sure, unsure = np.array([[0.5, 0.4, 0.9]]), np.array([[0.9, 0.8, 0.1]])
    assert average_precision(alarm, unsure, true) == pytest.approx(1)
    assert average_precision(alarm, sure, true) == pytest.approx(2 / 3, abs=0.01)


def test_a_box_counts_as_found_at_the_iou_that_is_asked_for() -> None:
    true = np.array([[[0, 0, 10, 10]]], np.float32)
    half = np.array([[[0, 0, 10, 6]]], np.float32)  # IoU 0.6
    ones = np.ones((1, 1))
    assert average_precision(half, ones, true) == pytest.approx(1)
    assert average_precision(half, ones, true, iou=0.7) == 0


def test_no_boxes_have_no_precision_or_none_at_all() -> None:
    none, some = np.array([[NOTHING]], np.float32), np.array([[[0, 0, 5, 5]]], np.float32)
    assert average_precision(some, np.ones((1, 1)), none) is None
    assert average_precision(none, np.ones((1, 1)), some) == 0
