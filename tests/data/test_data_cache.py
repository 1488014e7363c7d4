"""Properties of the cache of generated sets."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest

from attend_infer_repeat.data.sets import cache
from attend_infer_repeat.data.sets.cache import Recipe, load_or_generate
from attend_infer_repeat.data.sets.scenes import Layout, SceneArrays, compose
from attend_infer_repeat.errors import DataError

RECIPE = Recipe("toy", "train", 1, 50, {"canvas": 20})


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("AIR_CACHE_DIR", str(tmp_path / "cache"))
    cache.warn_unwritable.cache_clear()
    return tmp_path / "cache"


class Maker:
    """Makes 50 scenes, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> SceneArrays:
        self.calls += 1

        def noise(rng):
            return rng.randint(256, size=(6, 6)).astype(np.uint8), 1

        return compose(noise, num_scenes=50, seed=0, layout=Layout((20, 20), 2))


def assert_equal(one, other):
    for field in SceneArrays._fields:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_a_set_is_made_once_and_then_read(own_cache):
    maker = Maker()
    made, read = (load_or_generate(RECIPE, maker) for _ in range(2))
    assert maker.calls == 1
    assert_equal(made, read)
    assert [path.name for path in own_cache.iterdir()] == ["toy-train-50-canvas20-v1.npz"]


@pytest.mark.parametrize(
    "other",
    [
        Recipe("toy", "train", 2, 50, {"canvas": 20}),
        Recipe("toy", "test", 1, 50, {"canvas": 20}),
        Recipe("toy", "train", 1, 50, {"canvas": 21}),
    ],
    ids=["version", "split", "parameter"],
)
def test_another_recipe_does_not_get_this_ones_scenes(other):
    maker = Maker()
    load_or_generate(RECIPE, maker)
    load_or_generate(other, maker)
    assert maker.calls == 2


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, lambda content: content[:-100], lambda content: b"", lambda content: b"PK\3\4no"],
    ids=["flipped-bit", "truncated", "empty", "nonsense"],
)
def test_a_damaged_file_is_replaced_and_logged(own_cache, damage, caplog):
    maker = Maker()
    made = load_or_generate(RECIPE, maker)
    (path,) = own_cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert_equal(made, load_or_generate(RECIPE, maker))
    assert maker.calls == 2
    assert str(path) in caplog.text
    assert_equal(made, load_or_generate(RECIPE, maker))
    assert maker.calls == 2


def test_a_file_of_another_recipe_under_this_name_is_replaced(own_cache):
    maker = Maker()
    load_or_generate(Recipe("other", "train", 1, 50), maker)
    (path,) = own_cache.iterdir()
    path.rename(own_cache / f"{RECIPE}.npz")
    load_or_generate(RECIPE, maker)
    assert maker.calls == 2


@pytest.mark.parametrize(
    "change",
    [{"images": np.zeros((49, 20, 20), np.uint8)}, {"boxes": np.zeros(3)}, {"extra": np.zeros(3)}],
    ids=["too-few", "shape", "extra"],
)
def test_a_file_with_other_arrays_is_replaced(own_cache, change):
    maker = Maker()
    made = load_or_generate(RECIPE, maker)
    (path,) = own_cache.iterdir()
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez_compressed(path, **(arrays | change))
    assert_equal(made, load_or_generate(RECIPE, maker))
    assert maker.calls == 2


def test_a_file_that_fails_the_check_is_replaced():
    maker = Maker()
    load_or_generate(RECIPE, maker)
    verdicts = iter([DataError("wrong sum"), None])

    def check(data):
        if verdict := next(verdicts):
            raise verdict

    load_or_generate(RECIPE, maker, check)
    assert maker.calls == 2


def test_what_fails_the_check_when_made_is_neither_returned_nor_kept(own_cache):
    def check(data):
        raise DataError("wrong sum")

    with pytest.raises(DataError, match="wrong sum"):
        load_or_generate(RECIPE, Maker(), check)
    assert not own_cache.exists()


def test_a_folder_that_cannot_be_written_to_is_logged_once_and_stops_nothing(
    monkeypatch, tmp_path, caplog
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AIR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    maker = Maker()
    one, two = (load_or_generate(RECIPE, maker) for _ in range(2))
    assert_equal(one, two)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "AIR_CACHE_DIR" in warnings[0].getMessage()


@pytest.mark.parametrize("function", ["numpy.savez_compressed", "os.fsync"])
def test_a_full_disk_leaves_no_half_written_file(own_cache, monkeypatch, caplog, function):
    def fill_the_disk(file, **arrays):
        os.write(file if isinstance(file, int) else file.fileno(), b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(function, fill_the_disk)
    assert len(load_or_generate(RECIPE, Maker())) == 50
    assert not list(own_cache.iterdir())
    assert "No space left on device" in caplog.text


def test_without_a_choice_the_cache_is_the_users_own(monkeypatch):
    monkeypatch.delenv("AIR_CACHE_DIR")
    assert "attend-infer-repeat" in str(cache.cache_dir())
