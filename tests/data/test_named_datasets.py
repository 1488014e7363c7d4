"""Properties that every named data set must have, and the exact content of multi-MNIST.

The sets are made once for all tests of this file, in a cache folder of its own.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pytest

from attend_infer_repeat.data import DATASETS, Dataset, load_dataset
from attend_infer_repeat.data.sets import digits, multi_mnist, sprites
from attend_infer_repeat.errors import DataError

SIZES = {"digits": (20_000, 5_000), "multi-mnist": (60_000, 10_000), "sprites": (20_000, 5_000)}
MAX_COUNTS = {"digits": 2, "multi-mnist": 2, "sprites": 3}
LABELS = {"digits": 10, "multi-mnist": 10, "sprites": 3}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("AIR_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def load(own_cache):
    """Return ``load_dataset`` that loads each set once, and skips without MNIST."""

    @functools.cache
    def load_once(name: str, split: str, **options: int) -> Dataset:
        if name == "multi-mnist":
            skip_without_mnist()
        return load_dataset(name, split, **options)

    return load_once


def skip_without_mnist() -> None:
    folder = Path(os.environ.get("AIR_DATA_DIR", "")) / "mnist"
    if not os.environ.get("AIR_DATA_DIR") or not any(folder.glob("train-images-idx3-ubyte*")):
        pytest.skip("MNIST was not found in $AIR_DATA_DIR/mnist")


every_set = pytest.mark.parametrize("name", DATASETS)
every_split = pytest.mark.parametrize("split", ["train", "test"])


def pixels_inside_boxes(data: Dataset) -> np.ndarray:
    """Return (N, height, width) bool: inside some box of the scene."""
    assert data.boxes is not None
    height, width = data.canvas_size
    inside = np.zeros((len(data), height, width), bool)
    for slot in range(data.boxes.shape[1]):
        x0, y0, x1, y1 = data.boxes[:, slot, :, None].transpose(1, 0, 2)  # NaN compares as False
        columns = (np.arange(width) >= x0) & (np.arange(width) < x1)
        rows = (np.arange(height) >= y0) & (np.arange(height) < y1)
        inside |= rows[:, :, None] & columns[:, None, :]
    return inside


# What holds for every set


@every_set
def test_every_set_has_an_expected_size_here(name):
    assert name in SIZES


@every_set
@every_split
def test_sizes_shapes_and_names_are_as_documented(load, name, split):
    data = load(name, split)
    assert (data.name, data.split) == (name, split)
    assert len(data) == SIZES[name][split == "test"]
    assert (data.canvas_size, data.channels) == ((50, 50), 1)


@every_set
@every_split
def test_all_ink_lies_inside_the_boxes(load, name, split):
    data = load(name, split)
    assert not data.images[~pixels_inside_boxes(data)].any()


@every_set
@every_split
def test_boxes_lie_within_the_canvas_and_hold_ink(load, name, split):
    data = load(name, split)
    boxes = data.boxes[~np.isnan(data.boxes).any(axis=2)]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= 50).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 5).all()
    single = data[data.counts == 1]
    assert single.images.any(axis=(1, 2)).all()


@every_set
@every_split
def test_counts_boxes_and_labels_agree(load, name, split):
    data = load(name, split)
    present = np.arange(MAX_COUNTS[name]) < data.counts[:, None]
    np.testing.assert_array_equal(np.isnan(data.boxes), np.repeat(~present[..., None], 4, axis=2))
    np.testing.assert_array_equal(data.labels >= 0, present)
    assert set(data.labels[present]) == set(range(LABELS[name]))


@every_set
@every_split
def test_each_count_is_equally_frequent(load, name, split):
    data = load(name, split)
    share = 1 / (MAX_COUNTS[name] + 1)
    frequencies = np.bincount(data.counts) / len(data)
    # Five standard errors of a frequency.
    np.testing.assert_allclose(
        frequencies, share, atol=5 * np.sqrt(share * (1 - share) / len(data))
    )


@every_set
def test_no_test_scene_of_several_objects_is_a_training_scene(load, name):
    """Single sprites do coincide: there are only some 3 million of them."""
    train, test = (load(name, split) for split in ("train", "test"))
    seen = {image.tobytes() for image in train.images[train.counts > 1]}
    assert not any(image.tobytes() in seen for image in test.images[test.counts > 1])


@every_set
def test_what_the_cache_gives_back_is_what_was_made(load, own_cache, name, monkeypatch):
    made = load(name, "test")
    monkeypatch.setattr(f"{DATASETS[name].load.__module__}.compose", None)  # so it must be read
    read = load_dataset(name, "test")
    for field in ("images", "counts", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(made, field), getattr(read, field))


@every_set
def test_validation_is_the_last_two_thousand_training_scenes(load, name):
    validation = load(name, "validation")
    assert validation.split == "validation"
    np.testing.assert_array_equal(validation.images, load(name, "train").images[-2_000:])


# multi-MNIST


@every_split
def test_multi_mnist_has_the_originals_pixel_sum(load, split):
    expected = {"train": 883114919, "test": 150359554}[split]
    assert load("multi-mnist", split).images.sum(dtype=np.int64) == expected


def test_multi_mnist_boxes_frame_the_resized_digit(load):
    """Each single digit, cut out by its box, must be some MNIST digit of its class resized."""
    data = load("multi-mnist", "test")
    first = data[data.counts == 1][:20]
    all_digits, classes = multi_mnist.load_mnist("test")
    for image, box, label in zip(first.images, first.boxes, first.labels, strict=True):
        x0, y0, x1, y1 = box[0].astype(int)
        assert x1 - x0 == y1 - y0
        near = multi_mnist.nearest_pixels(28, x1 - x0)
        candidates = all_digits[classes == label[0]][:, near[:, None], near]
        assert (candidates == image[y0:y1, x0:x1]).all(axis=(1, 2)).any()


def test_nearest_pixels_are_pillows():
    from PIL import Image

    line = Image.fromarray(np.arange(28, dtype=np.uint8)[None])
    for size in range(1, 100):
        resized = np.asarray(line.resize((size, 1), Image.Resampling.NEAREST))[0]
        np.testing.assert_array_equal(multi_mnist.nearest_pixels(28, size), resized)


def test_multi_mnist_with_another_pixel_sum_is_refused(load, tmp_path, monkeypatch):
    monkeypatch.setenv("AIR_CACHE_DIR", str(tmp_path))
    made = load("multi-mnist", "test")
    wrong = made.images.copy()
    wrong[0, 0, 0] += 1
    arrays = multi_mnist.SceneArrays(wrong, made.counts, made.boxes, made.labels)
    monkeypatch.setattr(multi_mnist, "compose", lambda *args, **options: arrays)
    with pytest.raises(DataError, match="add up to 150359554, got 150359555"):
        multi_mnist.load("test")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["multi-mnist", "digits"])
def test_more_digits_than_usual_come_in_scenes_of_every_count(load, name):
    data = load(name, "test", max_count=3)
    shares = np.bincount(data.counts, minlength=4) / len(data)
    assert ((shares > 0.22) & (shares < 0.28)).all()  # uniform, 5,000 scenes: 0.25 +- 0.006
    assert data.boxes.shape == (len(data), 3, 4)
    assert (np.isfinite(data.boxes).all(-1).sum(1) == data.counts).all()
    assert load(name, "test").counts.max() == 2


# Digits


def test_train_and_test_scenes_are_made_of_different_digits():
    train, test = (digits.source_digits(split)[0] for split in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360)
    assert not {d.tobytes() for d in train} & {d.tobytes() for d in test}


def test_digits_keep_their_size_on_another_canvas(monkeypatch):
    monkeypatch.setitem(digits.NUM_SCENES, "test", 50)
    small, large = (digits.load("test", canvas_size=size) for size in (50, 90))
    widths = [np.nanmean(data.boxes[..., 2] - data.boxes[..., 0]) for data in (small, large)]
    assert large.canvas_size == (90, 90)
    assert widths[0] == pytest.approx(widths[1], abs=1)


# Sprites


@pytest.mark.parametrize("shape", sprites.SHAPES)
@pytest.mark.parametrize("size", [10, 17])
def test_a_shape_touches_all_sides_of_its_frame_and_has_its_area(shape, size):
    mask = sprites.shape_mask(shape, size)
    assert mask.shape == (size, size)
    for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert side.any()
    area = {"square": 1, "circle": np.pi / 4, "triangle": 1 / 2}[shape]
    assert mask.mean() == pytest.approx(area, abs=0.01)


def test_slanted_edges_are_smooth_and_straight_ones_sharp():
    assert set(np.unique(sprites.shape_mask("square", 12))) == {1.0}
    for shape in ("circle", "triangle"):
        mask = sprites.shape_mask(shape, 12)
        assert ((mask > 0) & (mask < 1)).any()


def test_gray_sprites_take_every_brightness_from_three_fifths_to_one(load):
    data = load("sprites", "test")
    brightest = data.images[data.counts == 1].max(axis=(1, 2)) / 255
    assert brightest.min() == pytest.approx(0.6, abs=0.02)
    assert brightest.max() == pytest.approx(1, abs=0.02)


def test_sprites_options_shape_the_scenes(monkeypatch):
    monkeypatch.setitem(sprites.NUM_SCENES, "test", 200)
    data = load_dataset("sprites", "test", canvas_size=70, channels=3, max_count=5)
    assert data.images.shape == (200, 3, 70, 70)
    assert data.boxes.shape == (200, 5, 4)
    assert set(data.counts) == set(range(6))
    single = data.images[data.counts == 1]
    assert (single.max(axis=(1, 2, 3)) >= 0.59 * 255).all()
    assert len(np.unique(single.max(axis=(2, 3)), axis=0)) == len(single)  # each its own color
