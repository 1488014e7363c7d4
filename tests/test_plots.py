"""Figures and pictures: what is drawn is what was found."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from exact import TINY, make_air
from matplotlib.colors import to_rgba
from PIL import Image

from attend_infer_repeat import AIR
from attend_infer_repeat.data import Dataset
from attend_infer_repeat.errors import DataError, ShapeError
from attend_infer_repeat.pictures import read_picture, scene_record
from attend_infer_repeat.plots import (
    STEP_COLORS,
    annotated_figure,
    confusion_figure,
    curve_figure,
    images_figure,
    reconstructions_figure,
)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)


@pytest.fixture
def air() -> AIR:
    """An untrained AIR that sees objects in noise."""
    air = make_air(gain=3, seed=4)
    with torch.no_grad():
        air.guide.predict[-1].bias[0] += 2.0  # the log-odds of one more object
    return air


def test_reconstructions_have_a_box_per_object_in_the_colours_of_the_steps(air, images) -> None:
    figure = reconstructions_figure(air, Dataset("noise", "test", images))
    scenes = air.infer(images)
    assert scenes.counts.sum() > 0
    upper, lower = figure.axes[:5], figure.axes[5:]
    for axes in (upper, lower):
        for ax, boxes, count in zip(axes, scenes.boxes, scenes.counts, strict=True):
            assert len(ax.patches) == count
            for t, patch in enumerate(ax.patches):
                assert patch.get_edgecolor() == to_rgba(STEP_COLORS[t])
                (x0, y0), (x1, y1) = patch.get_bbox().get_points()
                np.testing.assert_allclose([x0, y0, x1, y1], boxes[t], rtol=1e-6)


def test_the_first_three_steps_are_red_green_blue_as_in_the_tutorial() -> None:
    assert STEP_COLORS[:3] == ("red", "green", "blue")


def test_annotated_picture_states_the_count(air, images) -> None:
    scenes = air.infer(images)
    figure = annotated_figure(images[2], scenes, 2)
    assert figure.axes[0].get_title().startswith(f"{scenes.counts[2]} object")
    assert len(figure.axes[0].patches) == scenes.counts[2]


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 1, 8, 8), (3, 3, 8, 9)])
def test_image_grids_take_grey_and_colour(shape, tmp_path) -> None:
    images_figure(np.random.default_rng(0).random(shape)).savefig(tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size > 0


def test_curves_hold_the_records_of_each_split() -> None:
    records = [
        {"step": 1, "elbo": 1.0},
        {"step": 2, "elbo": 3.0},
        {"step": 2, "elbo": 2.0, "split": "validation", "count_accuracy": None},
    ]
    train, validation = curve_figure(records, "elbo", "ELBO").axes[0].lines
    assert train.get_xydata().tolist() == [[1, 1], [2, 3]]
    assert validation.get_xydata().tolist() == [[2, 2]]
    assert curve_figure(records, "count_accuracy", "accuracy") is None


def test_confusion_shows_the_last_evaluation() -> None:
    first = {"step": 1, "split": "test", "count_accuracy": 0.5, "confusion": [[1, 1]]}
    last = {"step": 2, "split": "test", "count_accuracy": 1.0, "confusion": [[7, 0]]}
    ax = confusion_figure([first, last, {"step": 3, "elbo": 0.0}]).axes[0]
    assert [text.get_text() for text in ax.texts] == ["7", "0"]
    assert confusion_figure([{"step": 3, "elbo": 0.0}]) is None


def test_scene_records_are_json_with_scores_that_fall_from_step_to_step(images) -> None:
    scenes = make_air(gain=3).infer(images)
    for i in range(len(images)):
        record = json.loads(json.dumps(scene_record("a.png", scenes, i)))
        assert record["count"] == len(record["objects"]) == scenes.counts[i]
        scores = [found["score"] for found in record["objects"]]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        for t, found in enumerate(record["objects"]):
            assert found["step"] == t + 1
            np.testing.assert_allclose(found["box"], scenes.boxes[i, t], atol=1e-3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_pictures_of_any_mode_are_read_as_grey(mode, tmp_path, images) -> None:
    Image.fromarray(images[0]).convert(mode).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png", TINY)
    assert picture.shape == (1, 8, 8)
    assert picture.dtype == np.uint8
    if mode != "1":
        np.testing.assert_array_equal(picture[0], images[0])


def test_pictures_that_cannot_be_used_are_named(tmp_path) -> None:
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ShapeError, match=r"wide\.png: 9 x 8"):
        read_picture(tmp_path / "wide.png", TINY)
    with pytest.raises(DataError, match=r"text\.png"):
        read_picture(tmp_path / "text.png", TINY)
    with pytest.raises(DataError, match=r"none\.png: no such file"):
        read_picture(tmp_path / "none.png", TINY)
