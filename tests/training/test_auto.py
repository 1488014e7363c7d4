"""The preset auto: what it chooses follows from the pictures, and what was given stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attend_infer_repeat import DataError
from attend_infer_repeat.cli.main import main, read_command
from attend_infer_repeat.config import AUTO, FAST, MANY, TrainConfig, flat, replace
from attend_infer_repeat.data.pictures.background.background import Tone
from attend_infer_repeat.training.auto import choose_settings, propose_settings
from attend_infer_repeat.training.data import load_run_data


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


@pytest.mark.parametrize(("size", "canvas"), [(12, 50), (16, 64), (14, 96)])
def test_small_pictures_stay_as_they_are_and_the_window_fits(size, canvas, tmp_path) -> None:
    config = chosen(save(tmp_path / "x.npz", discs(60, size, (canvas, canvas), 3)))
    model = config.model
    assert config.dataset.canvas is None
    window = canvas / model.pose.scale_prior_mean
    assert window == pytest.approx(1.15 * size, rel=0.02)
    assert model.appearance.window_size == pytest.approx(0.8 * window, abs=0.6)
    assert model.pose.scale_prior_sd == pytest.approx(0.02 * model.pose.scale_prior_mean, abs=1e-3)


def test_any_number_of_objects_is_expected_of_pictures() -> None:
    assert AUTO.model.count.unbounded
    assert AUTO.model.inference.guide == "memoryless"  # which cannot learn a number


@pytest.mark.parametrize(
    ("options", "preset"),
    [({}, FAST), ({"counts": (7, 8, 9), "canvas": 100}, MANY)],
)
def test_generated_scenes_come_to_the_preset_that_was_tuned_for_them(options, preset) -> None:
    config = chosen("digits", **options)
    names = ("guide", "num_steps", "unbounded", "likelihood_sd", "z_pres_prior", "decoder_net")
    assert {name: flat(config)[name] for name in names} == {
        name: flat(preset)[name] for name in names
    }
    canvas = options.get("canvas", 50)
    assert canvas / config.model.pose.scale_prior_mean == pytest.approx(
        50 / FAST.model.pose.scale_prior_mean, rel=0.05
    )
    assert config.model.appearance.window_size == preset.model.appearance.window_size


def test_given_settings_outlive_the_choice_of_a_preset() -> None:
    config = choose_settings(replace(AUTO, data="digits", num_steps=7, seed=3), ("num_steps",))
    assert (config.optimizer.num_steps, config.seed, config.preset) == (7, 3, "auto")


def test_large_pictures_are_trained_on_in_parts_where_objects_are_small(tmp_path) -> None:
    config = chosen(save(tmp_path / "x.npz", discs(8, 40, (1000, 800), 8)))
    framing = config.model.framing
    assert framing.resize == "tile"
    assert framing.zoom == pytest.approx(16 / 40, rel=0.03)
    assert config.dataset.canvas == pytest.approx(5 * 16, abs=2)
    window = config.dataset.canvas / config.model.pose.scale_prior_mean
    assert window == pytest.approx(1.15 * 16, rel=0.03)


def test_large_objects_shrink_until_they_are_of_usual_size(tmp_path) -> None:
    config = chosen(save(tmp_path / "x.npz", discs(20, 80, (400, 400), 2)))
    assert config.dataset.canvas == pytest.approx(80, abs=2)
    assert config.model.framing.zoom == pytest.approx(16 / 80, rel=0.03)


def test_long_pictures_get_a_square_canvas(tmp_path) -> None:
    assert chosen(save(tmp_path / "x.npz", discs(20, 12, (40, 80), 2))).dataset.canvas == 80


def test_pictures_of_several_sizes_are_zoomed_alike_where_things_keep_their_size(tmp_path) -> None:
    for i in range(30):
        side = 60 + 3 * i
        scene = discs(2, 30, (side, side + 10), 1, seed=i)[1]
        Image.fromarray(scene).save(tmp_path / f"{i:02d}.png")
    config = chosen(str(tmp_path))
    assert config.model.framing.resize == "tile"
    assert config.model.framing.zoom == pytest.approx(16 / 30, rel=0.02)
    assert config.dataset.canvas == pytest.approx(157 * 16 / 30, abs=2)


def test_pictures_of_several_sizes_are_fitted_where_things_grow_with_them(tmp_path) -> None:
    for i in range(30):
        side = 60 + 5 * i
        scene = discs(2, side // 4, (side, side), 1, seed=i)[1]
        Image.fromarray(scene).save(tmp_path / f"{i:02d}.png")
    config = chosen(str(tmp_path))
    assert config.model.framing.resize == "fit"
    assert config.dataset.canvas == pytest.approx(16 / 0.25, abs=2)


@pytest.mark.parametrize(
    ("size", "colors", "brightness"), [(16, 1, 1.0), (16, 3, 1.0), (8, 1, 1.0), (14, 1, 0.3)]
)
def test_a_typical_object_explains_about_as_much_whatever_its_size(
    size, colors, brightness, tmp_path
) -> None:
    gray = (discs(40, size, (96, 96), 2) * brightness).astype(np.uint8)
    images = gray if colors == 1 else np.stack([gray, gray, gray // 2], axis=1)
    config = chosen(save(tmp_path / "x.npz", images))
    energy = ((disc(size) / 255.0) ** 2).sum() * (1 if colors == 1 else 2.25)
    energy *= (brightness / config.model.framing.contrast) ** 2
    sd = config.model.likelihood.likelihood_sd
    assert energy / (2 * sd**2) == pytest.approx(500, rel=0.1)
    assert np.log(config.annealing.anneal_prior_from) == pytest.approx(-0.14 * 500, rel=0.1)
    assert np.log(config.model.count.z_pres_prior) == pytest.approx(-0.09 * 500, rel=0.1)


def test_noise_bounds_what_an_object_explains(tmp_path) -> None:
    rng = np.random.default_rng(0)
    images = 60 + 0.2 * discs(40, 14, (96, 96), 3) + rng.normal(0, 12, (40, 96, 96))
    config = chosen(save(tmp_path / "x.npz", images.clip(0, 255).astype(np.uint8)))
    contrast = config.model.framing.contrast
    assert config.model.likelihood.likelihood_sd >= 0.9 * 12 / 255 / contrast


def noisy(num: int, level: float, contrast: float, sd: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    ground = level + contrast / 255 * discs(num, 14, (80, 80), 4)
    return ground + rng.normal(0, sd, ground.shape)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (noisy(40, 0, 200, 0), ("nothing", "brighter")),
        (noisy(40, 23, 60, 1), ("level", "brighter")),
        (noisy(40, 200, -120, 3), ("level", "darker")),
        (
            noisy(40, 80, 90, 2) + 40 * (np.indices((80, 80)).sum(axis=0) // 20 % 2),
            ("common", "brighter"),
        ),
    ],
)
def test_objects_are_bright_on_black_once_a_run_has_its_pictures(
    images, expected, tmp_path
) -> None:
    data = save(tmp_path / "x.npz", images.clip(0, 255).round().astype(np.uint8))
    config = chosen(data)
    framing = config.model.framing
    assert (framing.subtract, framing.objects) == expected
    shown = load_run_data(config).train.images / 255.0
    truth = discs(40, 14, (80, 80), 4) > 0
    assert np.abs(np.sort(shown, axis=0).mean() - truth.mean()) < 0.06
    assert np.quantile(shown, 1 - 1.5 * truth.mean()) < 0.2  # what is no object is dark
    assert np.quantile(shown, 1 - 0.5 * truth.mean()) > 0.7  # objects are bright


def test_sixteen_bits_are_read_by_what_the_pictures_hold(tmp_path) -> None:
    scene = discs(40, 14, (80, 80), 4)
    (tmp_path / "p").mkdir()
    for i, image in enumerate(scene):
        Image.fromarray(10 + image.astype(np.uint16)).save(tmp_path / "p" / f"{i:02d}.tif")
    config = chosen(str(tmp_path / "p"))
    assert config.model.framing.range == pytest.approx((10, 265))
    assert load_run_data(config).train.images.max() > 200


def rows_of_discs(num: int, per_row: int, side: int) -> np.ndarray:
    """Return scenes of ``per_row`` rows of as many discs of 12 pixels, (num, side, side)."""
    rng = np.random.default_rng(0)
    images, cell = np.zeros((num, side, side), np.uint8), side // per_row
    for image in images:
        for y, x in np.ndindex(per_row, per_row):
            dy, dx = rng.integers(1, cell - 12, size=2)
            image[y * cell + dy :, x * cell + dx :][:12, :12] = disc(12)
    return images


@pytest.mark.parametrize(
    ("per_row", "side", "steps"),
    [(1, 96, 3000), (2, 96, 3000), (3, 96, 1500), (6, 240, 3000), (10, 240, 1900)],
)
def test_the_more_objects_a_canvas_shows_the_fewer_steps_are_taken(
    per_row, side, steps, tmp_path
) -> None:
    data = save(tmp_path / "x.npz", rows_of_discs(20, per_row, side))
    config = chosen(data)
    canvas = config.dataset.canvas or side
    assert canvas == (96 if side == 96 else 60)
    assert config.optimizer.num_steps == pytest.approx(steps, rel=0.05)
    assert chosen(data, ("num_steps",), num_steps=777).optimizer.num_steps == 777


def test_what_was_given_is_kept_and_the_rest_follows_it(tmp_path) -> None:
    data = save(tmp_path / "x.npz", discs(60, 12, (50, 50), 3))
    start = replace(AUTO, data=data, resize="fit", canvas=100, likelihood_sd=0.7)
    config = choose_settings(start, ("resize", "canvas", "likelihood_sd"))
    assert (config.dataset.canvas, config.model.likelihood.likelihood_sd) == (100, 0.7)
    assert 100 / config.model.pose.scale_prior_mean == pytest.approx(1.15 * 24, rel=0.02)
    assert not any("likelihood_sd" in line for line in config.chosen)


@pytest.mark.parametrize(
    ("flags", "unbounded", "guide"),
    [
        ("", True, "memoryless"),
        ("-t 4", False, "memoryless"),
        ("-t 4 --unbounded", True, "memoryless"),
        ("--rnn-hidden-size 8", True, "pursuit"),
    ],
)
def test_what_is_given_chooses_the_part_that_it_is_of(flags, unbounded, guide, tmp_path) -> None:
    data = save(tmp_path / "x.npz", discs(8, 12, (50, 50), 3))
    command = read_command(["train", "--data", data, *flags.split()])
    config = choose_settings(command.training, command.given)
    assert (config.model.count.unbounded, config.model.inference.guide) == (unbounded, guide)


@pytest.mark.parametrize("invert", ["yes", "no"])
def test_where_somebody_says_how_to_invert_nothing_else_is_subtracted(invert, tmp_path) -> None:
    data = save(tmp_path / "x.npz", 240 - discs(40, 14, (80, 80), 4) // 2)
    config = choose_settings(
        replace(AUTO, data=data, subtract="border", invert=invert), ("invert",)
    )
    assert (config.model.framing.subtract, config.model.framing.invert) == ("border", invert)


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
    small = "-n 2 -b 8 --encoder-net 8 --decoder-net 8 --predict-net 8".split()
    assert main(["train", "--data", data, "--out", str(run), *small]) == 0
    printed = capsys.readouterr().err
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["preset"] == "auto"
    assert len(config["chosen"]) > 4
    for line in config["chosen"]:
        assert line in printed
    assert main(["train", "--resume", str(run), "-n", "3", "--quiet"]) == 0


@pytest.mark.parametrize("size", [(100, 80), (640, 480), (1000, 701)])
def test_a_background_in_common_is_subtracted_whatever_the_pictures_size(size, tmp_path) -> None:
    width, height = size
    screen = 60 * (np.indices((height, width)).sum(axis=0) // 16 % 2) + 40
    side = min(height, width) // 8
    rng = np.random.default_rng(0)
    for i in range(12):
        image = screen.copy()
        for _ in range(2):
            y, x = rng.integers(0, height - side), rng.integers(0, width - side)
            image[y : y + side, x : x + side] = 240
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{i:02}.png")
    config = chosen(str(tmp_path))
    assert config.model.framing.subtract == "common"
    data = load_run_data(config).train
    assert np.median(data.images) == 0
    assert data.images.max() > 200


def test_pad_and_crop_get_a_canvas_for_whole_pictures(tmp_path) -> None:
    data = save(tmp_path / "x.npz", discs(8, 16, (200, 180), 8))
    for resize in ("pad", "crop"):
        config = choose_settings(replace(AUTO, data=data, resize=resize), ("resize",))
        assert config.model.framing.resize == resize
        assert config.dataset.canvas in (None, 200)  # not that of a part


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, None),
        ({"canvas": 20}, "30 pixels large on a canvas of 20"),
        ({"zoom": 0.1}, "only 3.0 pixels"),
        ({"model_steps": 2}, "where -t 2 allows 2 at most"),
        ({"model_steps": 2, "canvas": 50}, None),  # which shows parts
        ({"model_steps": 5}, None),
    ],
)
def test_what_the_pictures_speak_against_is_a_warning(given, words, tmp_path, caplog) -> None:
    data = save(tmp_path / "x.npz", discs(12, 30, (120, 120), 4))
    config = replace(AUTO, data=data, **({"zoom": 1.0} if "canvas" in given else {}), **given)
    with caplog.at_level("WARNING"):
        choose_settings(config, given=(*given, "zoom") if "canvas" in given else tuple(given))
    assert [words in message for message in caplog.messages] == ([True] if words else [])


def small_and_large(num: int, seed: int = 0) -> np.ndarray:
    """Return pictures of up to two discs of 40 pixels above, and three of 7 below."""
    large = discs(num, 40, (60, 128), 2, seed)
    return np.concatenate((large, discs(num, 7, (60, 128), 3, seed + 1)), axis=1)


@pytest.mark.parametrize("enlarged", [1, 2])
def test_windows_are_of_many_sizes_where_objects_are(enlarged, tmp_path) -> None:
    images = small_and_large(40).repeat(enlarged, 1).repeat(enlarged, 2)
    config = chosen(save(tmp_path / "x.npz", images))
    pose, zoom = config.model.pose, config.model.framing.zoom
    canvas = config.dataset.canvas or 128 * enlarged
    assert zoom * 7 * enlarged == pytest.approx(7, abs=1.1)
    large, small = (canvas / scale for scale in pose.scale_range)
    assert large == pytest.approx(1.15 * zoom * enlarged * 40, rel=0.1)
    assert small == pytest.approx(1.15 * zoom * enlarged * 7, rel=0.2)
    energy = ((disc(7) / 255.0) ** 2).sum() * (zoom * enlarged / config.model.framing.contrast) ** 2
    assert energy / (2 * config.model.likelihood.likelihood_sd**2) == pytest.approx(100, rel=0.2)
    assert np.log(config.model.count.z_pres_prior) == pytest.approx(-45, rel=0.1)
    assert len(propose_settings(replace(AUTO, data=str(tmp_path / "x.npz")))) == 1


@pytest.mark.parametrize(
    ("given", "size_range"),
    [
        ({"size_range": 1.0}, 1.0),
        ({"size_range": 12.0}, 12.0),
        ({"scale_prior_mean": 3.0}, 1.0),
        ({"guide": "improved"}, 1.0),
    ],
)
def test_sizes_are_those_that_somebody_tells(given, size_range, tmp_path) -> None:
    data = save(tmp_path / "x.npz", small_and_large(30))
    assert chosen(data, tuple(given), **given).model.pose.size_range == size_range


def test_sizes_that_the_pictures_do_not_show_are_around_a_typical_one(tmp_path) -> None:
    config = chosen(
        save(tmp_path / "x.npz", discs(30, 14, (64, 64), 3)), ("size_range",), size_range=4.0
    )
    large, small = (64 / scale for scale in config.model.pose.scale_range)
    assert (small, large) == pytest.approx((1.15 * 7, 1.15 * 28), rel=0.05)


@pytest.mark.parametrize(("sizes", "zoom"), [((20,), 1.0), ((16, 16, 24), 1.45)])
def test_objects_are_enlarged_in_composites_as_far_as_they_differ(sizes, zoom, tmp_path) -> None:
    images = np.concatenate([discs(20, size, (90, 90), 2, seed=size) for size in sizes])
    config = chosen(save(tmp_path / "x.npz", images))
    assert config.composites.composite_zoom == pytest.approx(zoom, abs=0.1)


@pytest.mark.parametrize("given", [{"contrast": 0.9}, {"stretch": 0.0}, {"subtract": "border"}])
def test_noise_and_cost_are_for_differences_as_they_are_shown(given, tmp_path) -> None:
    images = discs(40, 16, (96, 96), 3) * np.random.default_rng(0).choice([0.2, 0.9], (40, 1, 1))
    data = save(tmp_path / "x.npz", images.astype(np.uint8))
    config = choose_settings(replace(AUTO, data=data, **given), given=tuple(given))
    own = config.model.framing
    tone = Tone() if own.subtract == "border" else Tone(own.contrast, own.stretch)
    energies = (tone(images / 255.0).clip(0, 1) ** 2).sum(axis=(1, 2)) / 2  # of one object, about
    gain = np.log(config.model.count.z_pres_prior) / -0.09
    low, high = np.percentile(energies / (2 * config.model.likelihood.likelihood_sd**2), (10, 90))
    assert 0.5 * low < gain < 2 * high
