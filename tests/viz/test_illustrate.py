"""Pictures of how AIR works: what they show is what the model drew and what the guide did."""

from __future__ import annotations

import colorsys
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from exact import TINY, make_air, random_images
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from PIL import Image

from attend_infer_repeat import AIR, ModelConfig, ShapeError
from attend_infer_repeat.viz.colors import READABLE_COLORS, STEP_COLORS, readable_color
from attend_infer_repeat.viz.illustrate import (
    generation_figure,
    inference_figure,
    save_inference_animation,
)
from attend_infer_repeat.viz.steps import read_steps

CONFIGS = {
    **{g: replace(TINY, guide=g) for g in ("pursuit", "memoryless", "improved", "basic")},
    "one step": replace(TINY, model_steps=1),
    "color, not square": replace(TINY, channels=3, canvas_size=(8, 12)),
}


def air_that_sees(config: ModelConfig, log_odds: float = 2.0) -> AIR:
    """Return an untrained AIR with more or less the given log-odds of one more object."""
    air = make_air(config, gain=3, seed=4)
    with torch.no_grad():
        air.guide.predict[-1].bias[0] += log_odds
    return air


def an_image(config: ModelConfig) -> np.ndarray:
    return random_images(1, config)[0].numpy()


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


def shown(ax) -> np.ndarray:
    """Return the picture that axes show, (height, width) or (height, width, channels)."""
    return ax.images[0].get_array().data


def as_shown(image: np.ndarray) -> np.ndarray:
    """Return (channels, height, width) as axes show it: within [0, 1]."""
    return (image[0] if len(image) == 1 else image.transpose(1, 2, 0)).clip(0, 1)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_last_sum_is_the_reconstruction(config: ModelConfig) -> None:
    air = air_that_sees(config)
    image = an_image(config)
    scenes, steps = read_steps(air, image)
    present = [step for step in steps if step.present]
    assert len(present) == scenes.counts[0] > 0
    np.testing.assert_allclose(present[-1].canvas, scenes.reconstruction[0], rtol=1e-6, atol=1e-6)
    rows = np.array(inference_figure(air, image).axes).reshape(len(steps), 6)
    last = rows[len(present) - 1, 5]
    np.testing.assert_array_equal(shown(last), as_shown(present[-1].canvas))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_step_leaves_what_it_did_not_draw(config: ModelConfig) -> None:
    image = an_image(config)
    for step in read_steps(air_that_sees(config), image)[1]:
        np.testing.assert_allclose(step.canvas + step.residual, image)


@pytest.mark.parametrize("log_odds", [-20.0, 20.0])
def test_the_step_that_stops_is_shown_too_unless_all_are_present(log_odds: float) -> None:
    air = air_that_sees(TINY, log_odds)
    image = an_image(TINY)
    scenes, steps = read_steps(air, image)
    assert [step.present for step in steps] == ([False] if log_odds < 0 else [True] * 3)
    assert len(inference_figure(air, image).axes) == 6 * len(steps)
    at_least_one = 1 - scenes.count_probs[0, 0]
    assert steps[0].presence == pytest.approx(at_least_one, abs=1e-6)


def test_each_steps_window_has_its_color_and_the_glimpse_is_dashed() -> None:
    air = air_that_sees(TINY)
    image = an_image(TINY)
    steps = read_steps(air, image)[1]
    rows = np.array(inference_figure(air, image).axes).reshape(len(steps), 6)
    for t, (step, row) in enumerate(zip(steps, rows, strict=True)):
        window, glimpse = row[0].patches[:2]
        assert window.get_edgecolor() == glimpse.get_edgecolor() == to_rgba(readable_color(t))
        np.testing.assert_allclose(window.get_bbox().get_points().ravel(), step.box)
        assert (window.get_linestyle(), glimpse.get_linestyle()) == ("solid", "--")
        assert glimpse.get_width() == pytest.approx(2 * step_width(air, image, t))


def step_width(air: AIR, image: np.ndarray, t: int) -> float:
    """Return the width in pixels of the window that step t proposes."""
    rollout = air.rollout(torch.from_numpy(image)[None], sample=False)
    return TINY.canvas_size[1] / rollout.proposals[0, t, 0].item()


def test_a_guide_that_looks_only_at_the_image_is_shown_with_the_image() -> None:
    config = CONFIGS["improved"]
    image = an_image(config)
    for step in read_steps(air_that_sees(config), image)[1]:
        np.testing.assert_array_equal(step.seen, image)
        assert step.glimpse is None


def test_the_basic_guide_reads_no_window() -> None:
    config = CONFIGS["basic"]
    assert all(s.window is None for s in read_steps(air_that_sees(config), an_image(config))[1])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_scene_is_drawn_object_by_object(config: ModelConfig) -> None:
    air = air_that_sees(config)
    for count in {0, config.count.model_steps}:
        figure = generation_figure(air, count, seed=1)
        rows = np.array(figure.axes).reshape(4, count + 1)
        if count:
            drawn = air.sample(1, counts=[count], seed=1).reconstruction[0]
            np.testing.assert_allclose(shown(rows[3, -2]), as_shown(drawn), atol=1e-6)
            objects = [len(ax.patches) for ax in rows[2]]
            assert objects == [1] * count + [0]


def test_figures_are_the_same_each_time() -> None:
    config = CONFIGS["one step"]
    air, image = air_that_sees(config), an_image(config)
    drawn, again, another = (png(generation_figure(air, seed=seed)) for seed in (3, 3, 4))
    assert drawn == again
    assert drawn != another
    assert png(inference_figure(air, image)) == png(inference_figure(air, image))


@pytest.mark.parametrize("name", ["pursuit", "improved", "basic", "color, not square"])
def test_animations_move_and_start_again(name: str, tmp_path) -> None:
    path, config = tmp_path / "read.gif", CONFIGS[name]
    air = air_that_sees(config)
    save_inference_animation(air, an_image(config), path, width=180, frame_ms=900)
    with Image.open(path) as gif:
        assert gif.n_frames > config.count.model_steps
        assert gif.info["loop"] == 0  # without end
        assert gif.size == (180, 106)
        gif.seek(gif.n_frames - 1)
        assert gif.info["duration"] >= 3_000


def test_animations_are_the_same_each_time_and_gray_images_may_lack_their_axis(tmp_path) -> None:
    config = CONFIGS["one step"]
    air, image = air_that_sees(config), an_image(config)
    for name, picture in (("a.gif", image), ("b.gif", image[0])):
        save_inference_animation(air, picture, tmp_path / name, width=90, frame_ms=900)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeError):
        inference_figure(make_air(), np.zeros((9, 9)))


def test_readable_colors_have_the_hues_of_the_steps() -> None:
    for plain, readable in zip(STEP_COLORS, READABLE_COLORS, strict=True):
        hues = [colorsys.rgb_to_hsv(*to_rgb(color))[0] for color in (plain, readable)]
        apart = abs(hues[0] - hues[1])
        assert min(apart, 1 - apart) < 0.1
