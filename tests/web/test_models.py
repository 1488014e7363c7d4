"""The server serves any model: other guides, sizes, colors, numbers of objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import SQUARES, TINY, counting_air, make_air, squares
from serving import Page, pixels_of, serving

from attend_infer_repeat import AIR, CheckpointError, ModelConfig, TrainConfig
from attend_infer_repeat.checkpoints.checkpoint import save_checkpoint
from attend_infer_repeat.errors import ConfigError
from attend_infer_repeat.web import exhibits
from attend_infer_repeat.web.app import make_app
from attend_infer_repeat.web.exhibits import NUM_COMPONENTS, directions, make_exhibits

CONFIGS = {
    **{
        guide: replace(TINY, guide=guide)
        for guide in ("memoryless", "pursuit", "improved", "basic")
    },
    "one step": replace(TINY, model_steps=1),
    "no bound": replace(TINY, unbounded=True, step_limit=5),
    "many steps, long codes": replace(TINY, model_steps=7, encoder_latent_size=9),
    "color, not square": replace(TINY, channels=3, canvas_size=(8, 12)),
    "refined": replace(
        replace(TINY, guide="memoryless", unbounded=True, step_limit=5, refinement=True),
        decoder_output_bias=0.0,
        z_pres_prior=0.9,
    ),
    "sizes": replace(TINY, guide="memoryless", size_range=4.0),
    "boxes of ink": replace(TINY, boxes="ink", decoder_output_use_sigmoid=False),
    "background": replace(TINY, background_model="learned"),
    "objects in front of one another": replace(
        TINY, channels=3, background_model="smooth", composition="over"
    ),
    "zoomed pictures": replace(TINY, resize="crop", zoom=0.5, invert="no"),
}


@pytest.fixture(autouse=True)
def single_precision() -> None:
    torch.set_default_dtype(torch.float32)


def finite(value: object) -> bool:
    """Tell whether all numbers of an answer are finite, and none is missing but where it may be."""
    if isinstance(value, dict):
        may_miss = {"window", "glimpse", "weight", "log_weight", "posterior"}
        may_miss |= {"z_background", "background"}
        return all(finite(v) for k, v in value.items() if v is not None or k not in may_miss)
    if isinstance(value, list):
        return all(map(finite, value))
    return value is not None and (not isinstance(value, float) or np.isfinite(value))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_model_is_served(config: ModelConfig, tmp_path: Path) -> None:
    air = make_air(config, gain=3, seed=4)
    with torch.no_grad():
        air.guide.predict[-1].bias[0] += 20  # log-odds of one more object
    air.save(tmp_path)
    shape = (config.channels, *config.canvas_size)
    size = config.canvas_size if config.channels == 1 else (*config.canvas_size, 3)
    with serving(make_app(air, tmp_path), air) as page:
        told = page.get("/api/model").json()
        assert finite(told)
        assert told["unbounded"] == config.count.unbounded
        assert len(told["prior"]) == told["max_objects"] + 1
        assert told["code"]["source"] == "scenes drawn from the prior"
        assert len(told["code"]["components"]) == min(
            config.appearance.encoder_latent_size, NUM_COMPONENTS
        )
        assert len(told["examples"]) == 8
        pixels = np.random.default_rng(0).random(shape).round(3)
        asked = {"pixels": (pixels if config.channels == 3 else pixels[0]).tolist()}
        found = page.ask("/api/infer", asked | {"samples": 3, "invert": "no"})
        assert finite(found)
        assert found["scene"]["count"] > 0
        assert pixels_of(found["canvas"]).shape == pixels_of(found["reconstruction"]).shape == size
        assert (found["steps"][0]["window"] is None) != air.guide.reading.sees_window
        assert (found["steps"][0]["glimpse"] is None) != air.guide.look.sees_residual
        whole = air.infer(np.rint(255 * pixels[None]).astype(np.uint8))
        assert found["scene"]["count"] == whole.counts[0]
        drawn = pixels_of(found["reconstruction"]).astype(float).reshape(-1) / 255
        expected = np.moveaxis(whole.reconstruction[0], 0, -1).clip(0, 1).reshape(-1)
        np.testing.assert_allclose(drawn, expected, atol=0.01)
        by_file = page.ask("/api/infer", {"image": told["examples"][0]["image"]})
        assert (by_file["scene"]["height"], by_file["scene"]["width"]) == config.canvas_size
        explained = page.ask("/api/sample", asked | {"num": 4})
        assert finite(explained)
        drawn = page.ask("/api/sample", {"num": 2, "count": config.count.model_steps})
        assert finite(drawn)
        things = drawn["scenes"][0]["objects"]
        objects = [{name: thing[name] for name in ("z_where", "z_what")} for thing in things]
        behind = drawn["scenes"][0]["z_background"]
        assert told["background_size"] == (0 if behind is None else len(behind))
        if behind is not None:
            read = air.infer(np.rint(255 * pixels[None]).astype(np.uint8)).z_background[0]
            np.testing.assert_allclose(found["scene"]["z_background"], read, atol=1e-5)
        rendered = page.ask("/api/render", {"objects": objects, "z_background": behind})
        assert finite(rendered)
        assert (rendered["background"] is None) == (behind is None)
        np.testing.assert_allclose(rendered["boxes"], [thing["box"] for thing in things], atol=1e-2)
        shown = pixels_of(rendered["image"]).astype(int) - pixels_of(drawn["scenes"][0]["image"])
        assert np.abs(shown).max() <= 1
        extreme = {
            "z_where": [-1e4, 1e4, -1e4],
            "z_what": [1e4] * config.appearance.encoder_latent_size,
        }
        assert finite(page.ask("/api/render", {"objects": [extreme] * 50, "noise": True}))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", make_air().state_dict())
def test_a_model_without_numbers_is_refused(part: str, value: float) -> None:
    air = make_air()
    air.state_dict()[part].fill_(value)
    with pytest.raises(CheckpointError, match="finite"):
        make_app(air, "digits")


@pytest.mark.long
def test_a_model_that_is_saved_to_meanwhile_is_served(tmp_path: Path) -> None:
    ended = threading.Event()

    def save() -> None:
        seed = 0
        while not ended.is_set():
            save_checkpoint(tmp_path, make_air(gain=3, seed=seed % 5), step=seed)
            seed += 1

    make_air().save(tmp_path)
    saving = threading.Thread(target=save)
    saving.start()
    try:
        for _ in range(10):
            air = AIR.load(tmp_path)
            service = make_app(air, tmp_path).state.service
            told = asyncio.run(service.describe())
            service.close()
            assert told.missing == {}
    finally:
        ended.set()
        saving.join()


@contextmanager
def served_squares(folder: Path) -> Iterator[Page]:
    """Serve an unbounded model that counts the squares of ``exact.squares``."""
    air = counting_air().eval()
    air.save(folder)
    with serving(make_app(air, folder), air) as page:
        yield page


BRIGHT = {"pixels": (squares([4])["images"][0] / 255).tolist(), "invert": "no"}
EXTREME = {"z_where": [3, 0, 0], "z_what": [1e4] * SQUARES.appearance.encoder_latent_size}


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e38])
@pytest.mark.parametrize("part", ["guide.predict", "guide.reading", "model.decoder"])
def test_an_answer_without_numbers_is_a_refusal(part: str, value: float, tmp_path: Path) -> None:
    asked = {
        "infer": [BRIGHT, BRIGHT | {"samples": 300}],
        "sample": [{"num": 2}, {"num": 2, "count": 3}, BRIGHT | {"num": 3}],
        "render": [{"objects": [EXTREME]}, {"objects": [EXTREME] * 3, "noise": True}],
    }
    with served_squares(tmp_path) as page:
        told = page.get("/api/model").json()
        with torch.no_grad():  # later: a model that begins so is refused
            list(page.air.get_submodule(part).parameters())[-1].fill_(value)
        refused = 0
        for path, bodies in asked.items():
            for body in bodies:
                answer = page.post(f"/api/{path}", body)
                refused += answer.status_code == 422
                if answer.status_code == 422:
                    assert "finite" in answer.json()["detail"]
                else:
                    assert answer.status_code == 200, answer.text
                    assert finite(answer.json())
        assert refused or not np.isnan(value)
        assert page.get("/api/model").json() == told


def test_batches_of_different_numbers_of_steps_are_served(tmp_path: Path) -> None:
    with served_squares(tmp_path) as page:
        told = page.get("/api/model").json()
        assert finite(told)
        assert told["missing"] == {}
        for count in range(5):  # beside one another in a block, and each by itself
            pixels = (squares([count])["images"][0] / 255).tolist()
            asked = {"pixels": pixels, "invert": "no"}
            found = page.ask("/api/infer", asked | {"samples": 500})
            assert found["scene"]["count"] == count
            assert len(found["scene"]["count_probs"]) <= SQUARES.count.step_limit + 1
            assert sum(found["posterior"]["count_probs"]) == pytest.approx(1, abs=1e-4)
            for num in (1, 16):
                drawn = page.ask("/api/sample", asked | {"num": num})["scenes"]
                assert sum(scene["weight"] for scene in drawn) == pytest.approx(1, abs=1e-4)
                given = page.ask("/api/sample", asked | {"num": num, "count": 6 - count})["scenes"]
                assert [scene["count"] for scene in given] == [6 - count] * num


# What is shown


def test_equal_models_have_equal_exhibits() -> None:
    made = [make_exhibits(make_air(gain=3), "nowhere", lambda work: work()) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize("name", ["digits", "multi-mnist", "sprites"])
def test_shipped_models_show_scenes_that_need_no_network(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    made = make_exhibits(AIR.load(name), name, lambda work: work())
    assert made.code.source == f"scenes of {'sprites' if name == 'sprites' else 'digits'}"
    assert len({example.image for example in made.examples}) == 8


FAILING = {
    "_generated": ["code", "examples"],
    "_from_prior": ["code", "examples"],
    "_examples": ["examples"],
    "_codes": ["code"],
    "directions": ["code"],
}
ERRORS = [ConfigError("no such thing."), RuntimeError("/secret/place"), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("part", FAILING)
def test_what_cannot_be_shown_is_missing_with_its_reason_and_the_rest_is_there(
    part: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(exhibits, part, fail)
    air = make_air(gain=3)
    with serving(make_app(air, "nowhere"), air) as page:
        told = page.get("/api/model").json()
        assert page.ask("/api/sample", {"num": 1})["scenes"]
    assert sorted(told["missing"]) == FAILING[part]
    assert (told["code"] is None) == ("code" in FAILING[part])
    assert (told["examples"] == []) == ("examples" in FAILING[part])
    assert all("could not be made: " in reason for reason in told["missing"].values())
    assert "secret" not in str(told)
    assert str(error) in caplog.text


def test_scenes_that_cannot_be_read_are_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no cache")

    monkeypatch.setattr(exhibits, "load_dataset", fail)
    air = make_air(gain=3)
    save_checkpoint(tmp_path, air, train_config=TrainConfig(data="digits", model=TINY))
    made = make_exhibits(air, str(tmp_path), lambda work: work())
    assert made.missing == {}
    assert made.code.source == "scenes drawn from the prior"


def test_directions_are_those_in_which_the_codes_vary() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    sds = np.array([3.0, 2.0, 1.0, 0.1])
    codes = rng.normal(size=(20_000, 4)) * sds @ basis.T + 5
    found = directions(codes, "here")
    np.testing.assert_allclose(found.mean, codes.mean(axis=0), atol=1e-6)
    for sd, axis, component in zip(sds, basis.T, found.components, strict=True):
        # Five standard errors of a standard deviation of 20,000 numbers are 2.5%.
        assert component.sd == pytest.approx(sd, rel=0.025)
        assert abs(axis @ component.direction) == pytest.approx(1, abs=1e-2)
        assert max(component.direction, key=abs) > 0
