"""Properties of the recipe that all generated sets share."""

from __future__ import annotations

import numpy as np
import pytest

from attend_infer_repeat.data.sets import scenes
from attend_infer_repeat.data.sets.scenes import CROWDED, Layout, compose
from attend_infer_repeat.errors import DataError


def full(height: int, width: int, ink: int = 200):
    """Return a drawer of one and the same rectangle, with label 7."""
    return lambda rng: (np.full((height, width), ink, np.uint8), 7)


def make(draw=None, **changes):
    settings = {"num_scenes": 200, "seed": 3}
    layout = {"canvas_size": (20, 30), "max_count": 2}
    for name in list(changes):
        if name in Layout.__dataclass_fields__:
            layout[name] = changes.pop(name)
    return compose(draw or full(5, 4), **(settings | changes), layout=Layout(**layout))


def test_equal_seeds_make_equal_scenes_and_others_do_not():
    one, same, other = make(), make(), make(seed=4)
    for array, again in zip(one, same, strict=True):
        np.testing.assert_array_equal(array, again)
    assert not np.array_equal(one.images, other.images)


def test_numpys_global_generator_is_left_alone():
    before = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    make()
    after = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    np.testing.assert_array_equal(before["key"], after["key"])
    assert before["pos"] == after["pos"]


def test_a_scene_is_the_sum_of_its_boxes():
    made = make(full(5, 4, ink=200))
    rebuilt = np.zeros_like(made.images)
    for n, count in enumerate(made.counts):
        for x0, y0, x1, y1 in made.boxes[n, :count].astype(int):
            assert (x1 - x0, y1 - y0) == (4, 5)
            rebuilt[n, y0:y1, x0:x1] += 200
    np.testing.assert_array_equal(made.images, rebuilt)


def test_absent_objects_are_nan_and_minus_one_after_the_present_ones():
    made = make()
    present = np.arange(2) < made.counts[:, None]
    np.testing.assert_array_equal(present, ~np.isnan(made.boxes).any(axis=2))
    np.testing.assert_array_equal(made.labels, np.where(present, 7, -1))


def test_every_count_up_to_the_largest_comes_up():
    assert set(make(max_count=3).counts) == {0, 1, 2, 3}


def test_given_counts_come_up_and_no_others():
    made = make(full(2, 2), counts=(1, 4))
    assert set(made.counts) == {1, 4}
    assert made.boxes.shape[1] == 4


def test_a_crowded_scene_has_room_for_what_no_whole_layout_would_fit():
    count = 14
    assert count >= CROWDED
    made = make(full(5, 5), num_scenes=5, counts=(count,))  # of 24 that fit edge to edge
    assert (made.counts == count).all()
    covered = (made.images > 0).sum(axis=(1, 2))
    np.testing.assert_array_equal(covered, 25 * count)


def test_layouts_that_differ_have_other_names():
    """A file of one layout is never read for another: scenes of 3 are not scenes of 0 to 3."""
    settings = {"canvas_size": (20, 20), "max_count": 3}
    changes = [{"counts": counts} for counts in ((3,), (2, 3), (2,))]
    changes += [{}, {"background": "grid"}, {"max_count": 7}]
    names = [str(Layout(**(settings | change)).parameters()) for change in changes]
    assert len(set(names)) == len(changes)


def test_ink_may_overlap_up_to_a_full_pixel_and_no_further():
    assert make(full(12, 12, ink=127)).images.max() == 254
    assert make(full(8, 8, ink=128)).images.max() == 128


def test_overlap_of_colors_is_judged_by_their_brightest_channel():
    def red_or_green(rng):
        glyph = np.zeros((3, 6, 6), np.uint8)
        glyph[rng.randint(2)] = 200
        return glyph, 0

    images = make(red_or_green, channels=3).images
    assert images.shape == (200, 3, 20, 30)
    assert not (images[:, 0] & images[:, 1]).any()


def test_places_are_drawn_rows_first_and_leave_out_the_last_row_and_column():
    made = make(full(5, 4), num_scenes=2_000, max_count=1)
    x0, y0 = np.nanmax(made.boxes[:, 0, :2], axis=0)
    assert (y0, x0) == (20 - 5 - 1, 30 - 4 - 1)
    rng = np.random.RandomState(3)
    while not rng.randint(2):
        pass
    top, left = rng.randint(0, 15), rng.randint(0, 26)
    first = made.boxes[made.counts.argmax(), 0]
    np.testing.assert_array_equal(first[:2], [left, top])


@pytest.mark.parametrize("glyph", [(20, 4), (5, 30), (40, 40)])
def test_a_glyph_as_large_as_the_canvas_is_refused(glyph):
    with pytest.raises(DataError, match=r"needs a canvas of at least .* got 20 x 30"):
        make(full(*glyph))


def test_a_canvas_without_room_for_the_objects_is_refused_rather_than_tried_forever():
    with pytest.raises(DataError, match=r"no room for 2 objects .* Lower max_count"):
        make(full(15, 25, ink=255))


def test_a_set_larger_than_memory_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(scenes, "MAX_BYTES", 200 * 20 * 30 - 1)
    with pytest.raises(DataError, match="Lower canvas_size"):
        make()
