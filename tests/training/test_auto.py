"""The preset auto: what it chooses follows from the pictures, and what was given stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attend_infer_repeat import DataError
from attend_infer_repeat.cli.main import main, read_command
from attend_infer_repeat.config import AUTO, FAST, TrainConfig
from attend_infer_repeat.data.pictures.survey import look_at, spread, survey
from attend_infer_repeat.training.auto import choose_settings


def disc(size: int) -> np.ndarray:
    at = np.arange(size) + 0.5 - size / 2
    return np.where(at[:, None] ** 2 + at**2 <= size**2 / 4, 255, 0).astype(np.uint8)


def discs(num: int, size: int, canvas: tuple[int, int], most: int, seed: int = 0) -> np.ndarray:
    """Return scenes of 0 to ``most`` discs that do not touch, (num, height, width)."""
    rng = np.random.default_rng(seed)
    images = np.zeros((num, *canvas), np.uint8)
    for i, image in enumerate(images):
        for _ in range(i % (most + 1)):
            while True:
                y, x = (int(rng.integers(1, side - size - 1)) for side in canvas)
                if not image[y - 1 : y + size + 1, x - 1 : x + size + 1].any():
                    break
            image[y : y + size, x : x + size] = disc(size)
    return images


def save(path: Path, images: np.ndarray) -> str:
    np.savez(path, images=images)
    return str(path)


def chosen(data: str, given: tuple[str, ...] = (), **changes: object) -> TrainConfig:
    return choose_settings(replace(AUTO, data=data, **changes), given)


def test_a_look_measures_size_energy_and_number_of_what_is_shown() -> None:
    scene = discs(4, 12, (60, 60), 3)[3]
    look = look_at(Image.fromarray(scene))
    assert look.size == (60, 60)
    assert look.sides.tolist() == [12, 12, 12]
    np.testing.assert_allclose(look.energies, (disc(12) / 255.0).sum(), rtol=1e-9)
    assert (look.colored, look.shows_something, look.background) == (False, True, "dark")
    paper = look_at(Image.fromarray(240 - scene // 2))
    assert paper.sides.tolist() == [12, 12, 12]
    assert paper.background == "bright"
    red = np.stack([scene, scene // 3, scene * 0], axis=-1)
    assert survey([Image.fromarray(red)]).channels == 3


def test_large_pictures_are_looked_at_shrunk_and_measured_in_their_own_pixels() -> None:
    look = look_at(Image.fromarray(discs(2, 300, (2000, 1500), 1)[1]))
    (side,) = look.sides
    assert side == pytest.approx(300, abs=8)
    assert look.energies[0] == pytest.approx((disc(300) / 255.0).sum(), rel=0.05)


def test_noise_and_specks_are_nothing() -> None:
    rng = np.random.default_rng(0)
    blank = np.full((100, 100), 240) + rng.normal(0, 5, (100, 100))
    assert len(look_at(Image.fromarray(blank.clip(0, 255).astype(np.uint8))).sides) == 0


@pytest.mark.parametrize(("num", "sample"), [(3, 400), (400, 400), (10_001, 400), (1, 1)])
def test_a_sample_is_spread_from_the_first_to_the_last(num: int, sample: int) -> None:
    rows = spread(num, sample)
    assert len(set(rows)) == min(num, sample)
    assert rows[0] == 0
    assert rows[-1] == num - 1
    assert len(np.unique(np.diff(rows))) <= 2


@pytest.mark.parametrize(("size", "canvas"), [(12, 50), (16, 64), (14, 96)])
def test_small_pictures_stay_as_they_are_and_the_window_fits(size, canvas, tmp_path) -> None:
    config = chosen(save(tmp_path / "x.npz", discs(60, size, (canvas, canvas), 3)))
    model = config.model
    assert config.dataset.canvas is None
    window = canvas / model.pose.scale_prior_mean
    assert window == pytest.approx(1.25 * size, rel=0.01)
    assert model.appearance.window_size == pytest.approx(0.8 * window, abs=0.6)
    assert model.pose.scale_prior_sd == pytest.approx(0.04 * model.pose.scale_prior_mean, abs=1e-3)
    assert model.count.model_steps == 4


def test_digits_get_what_was_tuned_for_digits() -> None:
    config = chosen("digits")
    assert config.model.pose.scale_prior_mean == pytest.approx(
        FAST.model.pose.scale_prior_mean, rel=0.05
    )
    assert config.model.appearance.window_size == pytest.approx(
        FAST.model.appearance.window_size, abs=1
    )
    assert config.model.likelihood.likelihood_sd == FAST.model.likelihood.likelihood_sd
    assert config.model.count.model_steps == 3


def test_large_pictures_shrink_until_what_they_show_is_of_usual_size(tmp_path) -> None:
    config = chosen(save(tmp_path / "x.npz", discs(20, 80, (400, 400), 2)))
    assert config.dataset.canvas == 80
    assert 400 / config.model.pose.scale_prior_mean * 0.2 == pytest.approx(1.25 * 16, rel=0.01)


def test_long_pictures_get_a_square_canvas(tmp_path) -> None:
    assert chosen(save(tmp_path / "x.npz", discs(20, 12, (40, 80), 2))).dataset.canvas == 80


def test_pictures_of_several_sizes_are_padded_where_things_keep_their_size(tmp_path) -> None:
    for i in range(30):
        side = 60 + 3 * i
        scene = discs(2, 30, (side, side + 10), 1, seed=i)[1]
        Image.fromarray(scene).save(tmp_path / f"{i:02d}.png")
    config = chosen(str(tmp_path))
    assert config.model.framing.resize == "pad"
    assert config.model.framing.zoom == pytest.approx(16 / 30)
    assert config.dataset.canvas == round(np.ceil(157 * 16 / 30))


def test_pictures_of_several_sizes_are_fitted_where_things_grow_with_them(tmp_path) -> None:
    for i in range(30):
        side = 60 + 5 * i
        scene = discs(2, side // 4, (side, side), 1, seed=i)[1]
        Image.fromarray(scene).save(tmp_path / f"{i:02d}.png")
    config = chosen(str(tmp_path))
    assert config.model.framing.resize == "fit"
    assert config.dataset.canvas == pytest.approx(16 / 0.25, abs=2)


def test_an_object_of_much_ink_is_worth_no_more_than_the_most(tmp_path) -> None:
    small = chosen(save(tmp_path / "a.npz", discs(40, 12, (96, 96), 2)))
    assert (
        small.model.likelihood.likelihood_sd == FAST.model.likelihood.likelihood_sd
        or small.model.likelihood.likelihood_sd > 0.3
    )
    gray = discs(40, 16, (96, 96), 2)
    color = np.stack([gray, gray, gray // 2], axis=1)
    config = chosen(save(tmp_path / "b.npz", color))
    energy = ((disc(16) / 255.0) ** 2).sum() * (2 + 0.25)
    assert energy / (2 * config.model.likelihood.likelihood_sd**2) == pytest.approx(500, rel=0.05)
    assert np.log(config.annealing.anneal_prior_from) == pytest.approx(-0.28 * 500, rel=0.05)


def test_what_was_given_is_kept_and_the_rest_follows_it(tmp_path) -> None:
    data = save(tmp_path / "x.npz", discs(60, 12, (50, 50), 3))
    given = ("canvas", "model_steps")
    start = replace(AUTO, data=data, canvas=100, model=replace(AUTO.model, model_steps=9))
    config = choose_settings(start, given)
    assert (config.dataset.canvas, config.model.count.model_steps) == (100, 9)
    assert 100 / config.model.pose.scale_prior_mean == pytest.approx(1.25 * 24, rel=0.01)
    assert not any("model_steps" in line for line in config.chosen)


def test_pictures_that_show_nothing_leave_the_preset(tmp_path) -> None:
    config = chosen(save(tmp_path / "x.npz", np.zeros((10, 20, 20), np.uint8)))
    assert replace(config, chosen=()) == replace(AUTO, data=config.dataset.data)
    assert "shows anything" in config.chosen[-1]


def test_no_data_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="Did you mean 'digits'"):
        chosen("digit")
    with pytest.raises(DataError, match="no images"):
        chosen(str(tmp_path))


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("", ()),
        ("-t 4", ("model_steps",)),
        ("-t 3", ("model_steps",)),  # the preset's own value is given all the same
        ("--canvas 64 --window-size 16", ("canvas", "window_size")),
        ("--zoom 1 --resize pad", ("resize", "zoom")),
        ("--anneal-prior-from 1e-15", ("anneal_prior_from",)),
    ],
)
def test_the_command_line_tells_what_was_given(command, given, tmp_path) -> None:
    data = save(tmp_path / "x.npz", discs(4, 12, (50, 50), 3))
    parsed = read_command(["train", "--data", data, *command.split()])
    assert parsed.training.preset == "auto"
    assert parsed.given == given


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("", "auto"), ("--invert", "yes"), ("--no-invert", "no"), ("--invert no -t 3", "no")],
)
def test_invert_may_stand_alone(flags, expected) -> None:
    assert read_command(["train", *flags.split()]).training.model.framing.invert == expected
    command = read_command(["infer", "m", "a.png", *flags.replace(" -t 3", "").split()])
    assert command.invert == (None if not flags else expected)


@pytest.mark.parametrize(
    ("arguments", "preset"),
    [([], "fast"), (["--data", "digits"], "fast"), (["--preset", "auto"], "auto")],
)
def test_pictures_of_ones_own_have_the_preset_auto_and_named_sets_fast(arguments, preset) -> None:
    assert read_command(["train", *arguments]).training.preset == preset


def test_a_run_prints_what_was_chosen_and_keeps_it(tmp_path, capsys) -> None:
    images = np.repeat(discs(60, 10, (40, 40), 2), 2, axis=0)
    data, run = save(tmp_path / "x.npz", images), tmp_path / "run"
    small = "-n 2 -b 8 --rnn-hidden-size 8 --encoder-net 8 --decoder-net 8 --predict-net 8".split()
    assert main(["train", "--data", data, "--out", str(run), *small]) == 0
    printed = capsys.readouterr().err
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["preset"] == "auto"
    assert len(config["chosen"]) > 4
    for line in config["chosen"]:
        assert line in printed
    assert config["model"]["count"]["model_steps"] == 3
    assert main(["train", "--resume", str(run), "-n", "3", "--quiet"]) == 0
