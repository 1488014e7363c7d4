"""Which side a picture comes to, and what tells that the pictures are other ones."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from attend_infer_repeat.data import Dataset, find_change, fingerprint, hold_out, load_dataset
from attend_infer_repeat.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, (400, 6, 8), dtype=np.uint8)
NOISE[:, 0] = 0  # the background is dark


def in_memory(tmp_path, indices) -> Dataset:
    return Dataset("noise", "train", NOISE[indices], counts=np.asarray(indices, np.int64))


def in_an_archive(tmp_path, indices) -> Dataset:
    path = tmp_path / "noise.npz"
    np.savez(path, images=NOISE[indices], counts=indices)
    # Of another canvas: what is hashed is what was given, not what is made of it.
    return load_dataset(path, canvas_size=4 + len(indices) % 5)


def in_a_folder(tmp_path, indices) -> Dataset:
    folder = tmp_path / "noise"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for i in indices:
        Image.fromarray(NOISE[i]).save(folder / f"{i}.png")
    lines = "".join(f"{i}.png,{i}\n" for i in indices)
    (folder / "counts.csv").write_text(f"file,count\n{lines}")
    return load_dataset(folder)


def sides(data: Dataset) -> tuple[set[int], set[int]]:
    """Return which images of NOISE are trained on, and which are held out."""
    rest, held_out = hold_out(data)
    assert (rest.split, held_out.split) == ("train", "validation")
    assert len(rest) + len(held_out) == len(data)
    return set(rest.counts.tolist()), set(held_out.counts.tolist())


KINDS = pytest.mark.parametrize("load", [in_memory, in_an_archive, in_a_folder])


@KINDS
def test_no_picture_changes_sides_when_others_come_or_go(load, tmp_path):
    rest, held_out = sides(load(tmp_path, range(100)))
    for indices in (range(101), range(150), range(20, 90), [*range(50), *range(99, 49, -1)]):
        now_rest, now_held_out = sides(load(tmp_path, indices))
        assert not now_rest & held_out
        assert not now_held_out & rest


@KINDS
def test_the_order_tells_nothing_of_the_side(load, tmp_path):
    shuffled = np.random.default_rng(1).permutation(100)
    assert sides(load(tmp_path, shuffled)) == sides(load(tmp_path, range(100)))


def test_of_a_sorted_stack_each_kind_is_held_out():
    data = in_memory(None, range(400))
    _, held_out = sides(data)
    quarters = np.bincount(np.array(sorted(held_out)) // 100, minlength=4)
    assert quarters.min() >= 3  # of 10 that are expected, five sd of 3 below would be none
    assert 40 - 5 * 6 <= len(held_out) <= 40 + 5 * 6  # 10% of 400, sd 6


def test_copies_come_to_the_same_side():
    rest, held_out = sides(in_memory(None, [*range(100), *range(100)]))
    assert not rest & held_out
    assert rest | held_out == set(range(100))


@KINDS
@pytest.mark.parametrize("num", [2, 3, 5, 10])
def test_of_few_pictures_no_side_is_empty_and_which_is_where_is_always_the_same(
    load, num, tmp_path
):
    for start in range(0, 30, num):
        rest, held_out = sides(load(tmp_path, range(start, start + num)))
        assert rest
        assert held_out
        assert sides(load(tmp_path, range(start, start + num))) == (rest, held_out)


def test_a_picture_that_was_trained_on_is_not_held_out_where_there_were_few():
    rest, _ = sides(in_memory(None, range(3)))
    for num in range(4, 40):
        assert not rest & sides(in_memory(None, range(num)))[1]


def test_one_picture_and_copies_of_one_cannot_be_divided():
    with pytest.raises(DataError, match="at least 2 images"):
        hold_out(in_memory(None, [0]))
    with pytest.raises(DataError, match="all of its 3 images are the same"):
        hold_out(in_memory(None, [0, 0, 0]))


@pytest.mark.parametrize(
    ("num", "held_out"), [(2, 1), (9, 1), (10, 1), (59, 5), (20_000, 2_000), (60_000, 2_000)]
)
def test_of_generated_scenes_the_last_tenth_but_at_most_two_thousand_are_held_out(num, held_out):
    images = np.zeros((num, 1, 1), np.uint8)
    data = Dataset("toy", "train", images, np.arange(num), generated=True)
    training, validation = hold_out(data)
    assert len(validation) == held_out
    assert [*training.counts, *validation.counts] == list(range(num))
    assert np.shares_memory(training.images, images)


def test_every_named_set_is_a_generated_one(monkeypatch):
    for split in ("train", "test", "validation"):
        for _ in range(2):  # made, and read back from the cache
            assert load_dataset("digits", split).generated


# Fingerprints


@KINDS
def test_a_fingerprint_is_that_of_the_pictures_not_of_where_they_are(load, tmp_path):
    (tmp_path / "other").mkdir()
    data = load(tmp_path, range(10))
    assert fingerprint(data) == fingerprint(load(tmp_path / "other", range(10)))
    assert find_change(data, (fingerprint(data),)) is None
    assert find_change(data, ()) is None


@KINDS
@pytest.mark.parametrize(
    ("indices", "words"),
    [
        (range(9), "10 images then, 9 now"),
        (range(11), "10 images then, 11 now"),
        ([*range(9), 10], "10 images then, others now"),
    ],
)
def test_a_fingerprint_tells_pictures_that_came_went_or_changed(load, indices, words, tmp_path):
    then = fingerprint(load(tmp_path, range(10)))
    assert find_change(load(tmp_path, indices), (then,)) == words


def test_a_fingerprint_tells_a_pictures_new_name_and_new_content(tmp_path):
    then = fingerprint(in_a_folder(tmp_path, range(10)))
    folder = tmp_path / "noise"
    (folder / "3.png").rename(folder / "x.png")
    assert find_change(load_dataset(folder), (then,)) == "10 images then, others now"
    (folder / "x.png").rename(folder / "3.png")
    assert find_change(load_dataset(folder), (then,)) is None
    Image.fromarray(NOISE[20]).save(folder / "3.png")
    assert find_change(load_dataset(folder), (then,)) == "10 images then, others now"
