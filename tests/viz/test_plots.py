"""Figures and pictures: what is drawn is what was found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exact import make_air
from matplotlib.colors import to_rgba

from attend_infer_repeat import AIR
from attend_infer_repeat.data import Dataset
from attend_infer_repeat.viz.colors import STEP_COLORS
from attend_infer_repeat.viz.plots import (
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


def test_reconstructions_have_a_box_per_object_in_the_colors_of_the_steps(air, images) -> None:
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


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 1, 8, 8), (3, 3, 8, 9)])
def test_image_grids_take_gray_and_color(shape, tmp_path) -> None:
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
