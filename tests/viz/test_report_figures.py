"""Figures over many images: what is drawn is what was counted."""

from __future__ import annotations

import numpy as np
import pytest

from attend_infer_repeat.evaluation.calibration import reliability
from attend_infer_repeat.viz.report_figures import (
    code_map_figure,
    code_positions,
    effective_samples_figure,
    places_figure,
    reliability_figure,
    sizes_figure,
)


def test_reliability_is_drawn_at_what_was_stated_and_observed() -> None:
    result = reliability(np.tile([0.2, 0.8], (100, 1)), np.arange(100) % 4 > 0)  # 75% are 1
    ax = reliability_figure({"q": result, "again": result}).axes[0]
    points = [container.lines[0].get_xydata() for container in ax.containers]
    np.testing.assert_allclose(points[0], [[0.2, 0.25], [0.8, 0.75]])
    np.testing.assert_allclose(points[1][:, 1], [0.25, 0.75])
    assert (points[1][:, 0] > points[0][:, 0]).all()  # side by side
    (bars,) = ax.containers[0].lines[2]
    low, high = np.array(bars.get_segments())[0][:, 1]
    assert (low, high) == pytest.approx(result.bins[0].interval)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["calibrated", "q", "again"]


def test_positions_of_codes_in_a_plane_keep_all_distances() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(40, 2)) * (3, 1)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 2)))
    positions, share = code_positions(plane @ basis.T + 5)
    assert share == pytest.approx(1)
    distances = np.linalg.norm(plane[:, None] - plane, axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(positions[:, None] - positions, axis=-1), distances, atol=1e-12
    )
    variance = positions.var(axis=0)
    assert variance[0] > variance[1]
    assert np.cov(positions.T)[0, 1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (7, 1), (7, 5)])
def test_any_number_of_codes_of_any_size_has_positions(shape) -> None:
    codes = np.random.default_rng(0).normal(size=shape)
    positions, share = code_positions(codes)
    assert positions.shape == (len(codes), 2)
    assert 0 <= share <= 1 + 1e-12
    equal, share = code_positions(np.ones(shape))
    assert (equal == 0).all()
    assert share == 1


def test_the_map_shows_objects_where_their_codes_lie() -> None:
    y, x = np.mgrid[0:20, 0:20].reshape(2, -1)
    objects = np.zeros((400, 3, 4, 4))
    objects[:, 0], objects[:, 1] = x[:, None, None] / 20, y[:, None, None] / 20
    (image,) = code_map_figure(np.stack((x, y), axis=1).astype(float), objects).axes[0].images
    pixels = image.get_array()
    assert pixels.shape == (14 * 6, 14 * 6, 3)
    centers = pixels[3::6, 3::6]
    assert (np.diff(centers[..., 0], axis=1) > 0).all()  # to the right
    assert (np.diff(centers[..., 1], axis=0) < 0).all()  # upwards


def test_each_cell_shows_the_object_nearest_to_its_center() -> None:
    # The map's outermost cells are pinned by many objects; the middle has a near and a far one.
    positions = np.array([[0.0, 0.0]] * 50 + [[14.0, 14.0]] * 50 + [[6.1, 6.1], [6.5, 6.5]])
    objects = np.zeros((102, 1, 2, 2))
    objects[-1] = 0.75
    objects[-2] = 0.25
    for order in (slice(None), slice(None, None, -1)):
        figure = code_map_figure(positions[order], objects[order])
        pixels = figure.axes[0].images[0].get_array()
        assert pixels[(13 - 6) * 4 + 1, 6 * 4 + 1] == 0.75


def test_a_single_object_has_a_map() -> None:
    figure = code_map_figure(np.zeros((1, 2)), np.full((1, 1, 4, 4), 0.5))
    assert (figure.axes[0].images[0].get_array() == 0.5).sum() == 16


def test_sizes_are_the_longer_sides() -> None:
    found = np.array([[0, 0, 10, 12], [5, 5, 20, 10], [-3, 0, 9, 1]], np.float32)
    ax = sizes_figure(found, found[:1]).axes[0]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["found, median 12.0", "true, median 12.0"]
    assert len(sizes_figure(found, None).axes[0].get_legend().get_texts()) == 1


def test_places_are_the_centers_kept_on_the_canvas() -> None:
    boxes = np.array([[0, 0, 2, 2], [12, 4, 16, 8], [20, -9, 30, -1]], np.float32)
    (image,) = places_figure(boxes, (10, 16)).axes[0].images
    density = image.get_array()
    assert density.shape == (10, 16)
    assert density.sum() == 3
    assert density[1, 1] == density[6, 14] == density[0, 15] == 1


@pytest.mark.parametrize("num_samples", [1, 20])
def test_every_image_has_its_place_in_the_histogram_of_effective_samples(num_samples) -> None:
    sizes = np.linspace(1, num_samples, 30)
    ax = effective_samples_figure(sizes, num_samples).axes[0]
    assert sum(patch.get_height() for patch in ax.patches) == 30
