"""What stands behind the objects of a generated set."""

from __future__ import annotations

import numpy as np
import pytest

from attend_infer_repeat import load_dataset
from attend_infer_repeat.data.sets.backgrounds import LINE, SPACING, put_behind


def canvases(*shape: int, value: int = 0):
    return np.full(shape, value, np.uint8)


@pytest.mark.parametrize("shape", [(40, 30, 20), (40, 3, 30, 20)])
def test_a_grid_has_every_fifth_row_and_column_of_each_image(shape):
    images = canvases(*shape)
    put_behind(images, "grid", seed=0)
    assert set(np.unique(images)) == {0, LINE}
    firsts = set()
    for image in images.reshape(len(images), -1, 30, 20)[:, 0]:
        rows, columns = (np.flatnonzero((image == LINE).all(axis=axis)) for axis in (1, 0))
        np.testing.assert_array_equal(np.diff(rows), SPACING)
        np.testing.assert_array_equal(np.diff(columns), SPACING)
        firsts.add((rows[0], columns[0]))
        untouched = np.delete(np.delete(image, rows, axis=0), columns, axis=1)
        assert not untouched.any()
    assert len(firsts) > SPACING  # both vary, each by itself


def test_a_grid_is_seen_only_where_it_is_brighter():
    images = canvases(3, 10, 10, value=LINE + 50)
    put_behind(images, "grid", seed=0)
    assert (images == LINE + 50).all()


@pytest.mark.parametrize("value", [0, 128])
def test_noise_has_the_documented_mean_and_deviation(value):
    images = canvases(200, 50, 50, value=value)
    put_behind(images, "noisy", seed=0)
    rng = np.random.default_rng(9)
    level = 0.8 * value / 255 + 0.1
    expected = (level + 0.2 * rng.standard_normal(10**6)).clip(0, 1)
    assert images.mean() / 255 == pytest.approx(expected.mean(), abs=1e-3)
    assert images.std() / 255 == pytest.approx(expected.std(), abs=1e-3)
    neighbors = np.corrcoef(images[:, :, :-1].ravel(), images[:, :, 1:].ravel())[0, 1]
    assert abs(neighbors) < 0.01  # each pixel by itself


@pytest.mark.parametrize("background", ["noisy", "grid"])
def test_backgrounds_come_from_the_seed(background):
    one, same, other = (canvases(20, 10, 10) for _ in range(3))
    for images, seed in ((one, 1), (same, 1), (other, 2)):
        put_behind(images, background, seed)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("background", ["noisy", "grid"])
def test_a_sets_objects_are_the_same_in_front_of_every_background(background):
    plain, behind = (
        load_dataset("sprites", "test", background=b, canvas_size=40, max_count=2)
        for b in ("black", background)
    )
    np.testing.assert_array_equal(plain.boxes, behind.boxes)
    np.testing.assert_array_equal(plain.labels, behind.labels)
    expected = plain.images[:].copy()
    put_behind(expected, background, seed=1)
    np.testing.assert_array_equal(behind.images, expected)
