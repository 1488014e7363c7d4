"""Properties of the one door to all data sets."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from attend_infer_repeat.data import DATASETS, hold_out, load_dataset
from attend_infer_repeat.errors import DataError


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("AIR_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def archive(tmp_path):
    images = np.arange(30, dtype=np.uint8)[:, None, None] * np.ones((5, 4), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images)
    return tmp_path / "mine.npz"


def assert_refused(*parts: str, args, **options) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("digit", "digits"), ("multi_mnist", "multi-mnist"), ("mnist", "multi-mnist")],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, suggestion):
    assert_refused(f"Did you mean '{suggestion}'?", *DATASETS, args=[name])


@pytest.mark.parametrize("name", ["", "/no/such/folder", "zzz"])
def test_what_is_neither_name_nor_path_is_refused_with_the_names(name):
    assert_refused(*DATASETS, args=[name])


@pytest.mark.parametrize("name", [None, 3, ["digits"]])
def test_what_cannot_be_a_name_is_refused(name):
    assert_refused(type(name).__name__, *DATASETS, args=[name])


@pytest.mark.parametrize("split", ["valid", "Test", "", None])
def test_an_unknown_split_is_refused_with_the_known(split):
    assert_refused(repr(split), "train, validation, test", args=["digits", split])


@pytest.mark.parametrize(
    ("name", "option", "parts"),
    [
        ("digits", "channels", ["'channels'", "canvas_size"]),
        ("multi-mnist", "channels", ["'channels'", "options canvas_size, max_count, counts"]),
        ("sprites", "max_counts", ["Did you mean 'max_count'?", "canvas_size, channels"]),
    ],
)
def test_an_option_that_a_set_has_not_is_refused_with_those_it_has(name, option, parts):
    assert_refused(name, *parts, args=[name], **{option: 3})


@pytest.mark.parametrize(
    ("option", "value", "parts"),
    [
        ("counts", (), ["counts", "()"]),
        ("counts", (0,), ["counts", "above 0"]),
        ("counts", (1, -1), ["counts", "-1"]),
        ("counts", [1], ["counts", "tuple"]),
        ("background", "gird", ["background", "Did you mean 'grid'?"]),
        ("max_count", 2.5, ["max_count", "2.5"]),
    ],
)
def test_a_generated_sets_option_out_of_range_is_refused(option, value, parts):
    assert_refused("digits", *parts, args=["digits"], **{option: value})


@pytest.mark.parametrize(
    ("option", "value", "parts"),
    [
        ("max_count", 3, ["'max_count'", "canvas_size, channels, framing"]),
        ("canvas_size", 0, ["canvas_size", "0"]),
        ("canvas_size", (8, -1), ["canvas_size", "-1"]),
        ("channels", 2, ["1 (gray) or 3 (color)"]),
        ("resize", "stretch", ["resize", "'stretch'", "fit, pad, crop, tile"]),
        ("invert", True, ["invert", "True"]),
        ("range", (3.0, 3.0), ["range", "LOW below HIGH"]),
        ("contrast", 0.0, ["contrast", "above 0"]),
    ],
)
def test_an_option_that_pictures_have_not_is_refused(archive, option, value, parts):
    assert_refused(*parts, args=[archive], **{option: value})


def test_pictures_take_the_canvas_that_is_asked_for(archive):
    assert load_dataset(archive, canvas_size=10).canvas_size == (10, 10)
    assert load_dataset(archive, canvas_size=(10, 8), channels=3).images.shape == (30, 3, 10, 8)


@pytest.mark.parametrize("value", [0, -3, 1.5, "50", True, None])
def test_an_option_that_is_no_positive_whole_number_is_refused(value):
    assert_refused("canvas_size", repr(value), args=["sprites"], canvas_size=value)


@pytest.mark.parametrize("channels", [2, 4])
def test_images_have_one_or_three_channels(channels):
    assert_refused("1 (gray) or 3 (color)", args=["sprites"], channels=channels)


@pytest.mark.parametrize("name", ["digits", "sprites"])
def test_a_canvas_smaller_than_the_objects_is_refused(name):
    assert_refused("needs a canvas", args=[name], canvas_size=8)


def test_a_path_may_be_text_or_a_path_object(archive, monkeypatch):
    monkeypatch.chdir(archive.parent)
    for path in (archive, str(archive), "mine.npz"):
        assert len(load_dataset(path)) == 30


def test_the_validation_split_is_what_is_held_out_of_the_training_split(archive):
    held_out = hold_out(load_dataset(archive))[1]
    data = load_dataset(archive, "validation")
    assert data.split == "validation"
    np.testing.assert_array_equal(data.images, held_out.images)


def test_a_path_without_test_images_has_no_test_split(archive):
    assert_refused("mine_test.npz", args=[archive, "test"])


def test_a_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sprites").mkdir()
    monkeypatch.setitem(DATASETS["sprites"].load.__globals__["NUM_SCENES"], "test", 10)
    assert len(load_dataset("sprites", "test")) == 10
    assert_refused("no images", args=["./sprites"])


def test_every_set_has_a_description_of_one_line():
    for source in DATASETS.values():
        assert source.description
        assert "\n" not in source.description


def test_loading_the_package_loads_no_heavy_library():
    heavy = ("torch", "sklearn", "pooch", "PIL", "scipy")
    code = f"import attend_infer_repeat.data, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
