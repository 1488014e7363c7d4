"""Properties of ``Dataset``."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from attend_infer_repeat.data import Dataset
from attend_infer_repeat.errors import DataError


def labeled(num: int) -> Dataset:
    """Make a set whose images, counts, boxes and labels all carry the scene's number."""
    ids = np.arange(num)
    return Dataset(
        "toy",
        "train",
        images=np.broadcast_to(ids[:, None, None], (num, 6, 8)).astype(np.uint8),
        counts=ids.astype(np.int64),
        boxes=np.broadcast_to(ids[:, None, None], (num, 2, 4)).astype(np.float32),
        labels=np.broadcast_to(ids[:, None], (num, 2)).astype(np.int64),
    )


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(2, 5), [2, 3, 4]),
        (np.array([5, 0]), [5, 0]),
        ([1, 1], [1, 1]),
        (np.arange(6) % 2 == 0, [0, 2, 4]),
        ([], []),
    ],
)
def test_a_subset_keeps_every_field_of_the_chosen_scenes(index, expected):
    part = labeled(6)[index]
    assert len(part) == len(expected)
    assert part.images[:, 0, 0].tolist() == expected
    assert part.counts is not None
    assert part.counts.tolist() == expected
    assert part.boxes is not None
    assert part.boxes[:, 1, 3].tolist() == expected
    assert part.labels is not None
    assert part.labels[:, 1].tolist() == expected
    assert (part.name, part.split) == ("toy", "train")


def test_a_slice_shares_memory_with_the_whole():
    data = labeled(6)
    assert np.shares_memory(data[:3].images, data.images)


def test_a_subset_of_unlabeled_images_stays_unlabeled():
    part = Dataset("toy", "train", np.zeros((4, 5, 5), np.uint8))[:2]
    assert (part.counts, part.boxes, part.labels) == (None, None, None)


@pytest.mark.parametrize("index", [3, np.int64(3), "a", [[0, 1], [2, 3]]])
def test_anything_but_a_slice_or_a_list_of_positions_is_refused(index):
    with pytest.raises(DataError, match=r"expected a slice or a list"):
        labeled(6)[index]


@pytest.mark.parametrize(("shape", "channels"), [((2, 6, 8), 1), ((2, 3, 6, 8), 3)])
def test_canvas_size_and_channels_follow_the_images(shape, channels):
    data = Dataset("toy", "train", np.zeros(shape, np.uint8))
    assert data.canvas_size == (6, 8)
    assert data.channels == channels


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 6, 8), np.float32),
        np.zeros((6, 8), np.uint8),
        np.zeros((2, 6, 8, 3), np.uint8),
        np.zeros((2, 0, 8), np.uint8),
        [[1, 2], [3, 4]],
    ],
)
def test_images_of_another_type_or_shape_are_refused_in_one_line(images):
    with pytest.raises(DataError, match="images: expected uint8") as caught:
        Dataset("toy", "train", images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("counts", np.zeros(6, np.int32)),
        ("counts", np.zeros(5, np.int64)),
        ("boxes", np.zeros((6, 2, 4))),
        ("boxes", np.zeros((6, 2, 5), np.float32)),
        ("labels", np.zeros((6, 3), np.int64)),
        ("labels", [[0, 0]] * 6),
    ],
)
def test_a_truth_that_does_not_fit_the_images_is_refused_by_name(field, value):
    with pytest.raises(DataError, match=f"toy: {field}: expected"):
        dataclasses.replace(labeled(6), **{field: value})
