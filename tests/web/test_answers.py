"""What the server answers is what the package finds, draws and samples."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serving import MODEL, Page, base64_of, pixels_of, png

from attend_infer_repeat import load_dataset
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.files.canvases import BLOCK
from attend_infer_repeat.model import intensity
from attend_infer_repeat.posterior import picture_noise
from attend_infer_repeat.rollout.importance import importance_log_weights, importance_weighted_bound
from attend_infer_repeat.viz.steps import read_steps


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    """Scenes of digits, (16, 50, 50) uint8, without blank ones."""
    data = load_dataset("digits", "test")
    return data.images[np.flatnonzero(data.counts)[:16]]


def infer(page: Page, image: np.ndarray, **fields: Any) -> dict[str, Any]:
    answer = page.ask("/api/infer", {"image": base64_of(png(image)), **fields})
    assert answer.pop("milliseconds") > 0
    return answer


def uint8(image: np.ndarray) -> np.ndarray:
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8)


# A picture, read


def test_a_scene_is_what_infer_finds(page: Page, scenes: np.ndarray) -> None:
    block = np.zeros((BLOCK, 50, 50), np.uint8)
    block[: len(scenes)] = scenes
    found = page.air.infer(block, batch_size=BLOCK)
    for i, image in enumerate(scenes):
        answer = infer(page, image)
        scene = answer["scene"]
        assert scene["count"] == found.counts[i] == len(scene["objects"])
        np.testing.assert_allclose(scene["count_probs"], found.count_probs[i], atol=5e-7)
        for t, thing in enumerate(scene["objects"]):
            np.testing.assert_allclose(thing["z_what"], found.z_what[i, t], atol=5e-7)
            np.testing.assert_allclose(thing["z_where"], found.z_where[i, t], atol=5e-7)
        np.testing.assert_array_equal(pixels_of(answer["canvas"]), image)
        drawn = uint8(found.reconstruction[i])
        np.testing.assert_array_equal(pixels_of(answer["reconstruction"]), drawn)


FILES = {
    "x.png": {},
    "x.jpg": {"form": "JPEG"},
    "x.bmp": {"form": "BMP"},
    "x.gif": {"form": "GIF"},
    "x.tif": {"form": "TIFF"},
}


@pytest.mark.parametrize("name", FILES)
def test_a_scene_is_the_record_of_air_infer(
    name: str, page: Page, scenes: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Dark on paper, larger than the canvas, and not square.
    paper = np.full((130, 160), 230, np.uint8)
    paper[10:110, 30:130] -= (0.8 * np.kron(scenes[3], np.ones((2, 2)))).astype(np.uint8)
    path = tmp_path / name
    path.write_bytes(png(paper, **FILES[name]))
    assert main(["infer", MODEL, str(path)]) == 0
    record = json.loads(capsys.readouterr().out)
    asked = {"image": "data:x/y;base64," + base64_of(path.read_bytes()), "name": str(path)}
    assert page.ask("/api/infer", asked)["scene"] == record
    assert list(page.ask("/api/infer", asked)["scene"]) == list(record)


def test_steps_are_those_of_read_steps(page: Page, scenes: np.ndarray) -> None:
    for image in scenes[:4]:
        answer = infer(page, image)
        found, steps = read_steps(page.air, image)
        assert [step["step"] for step in answer["steps"]] == [step.t + 1 for step in steps]
        for told, step in zip(answer["steps"], steps, strict=True):
            assert told["present"] == step.present
            assert told["presence"] == pytest.approx(step.presence, abs=1e-5)
            np.testing.assert_allclose(told["box"], step.box, atol=2e-3)
            np.testing.assert_allclose(told["glimpse"], step.glimpse, atol=2e-3)
            np.testing.assert_allclose(told["z_what"], step.z_what, atol=1e-4)
            for name, picture in (
                ("seen", step.seen),
                ("window", step.window),
                ("redrawn", step.decoded),
                ("sum", step.canvas),
            ):  # a batch of one is rounded otherwise than a block
                shown = pixels_of(told[name]).astype(int)
                assert np.abs(shown - uint8(picture[0])).max() <= 1
        present = [step for step in answer["steps"] if step["present"]]
        assert len(present) == found.counts[0]
        assert present[-1]["sum"] == answer["reconstruction"]


def test_the_posterior_is_that_of_air_infer(
    page: Page, scenes: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(scenes[1]))
    assert main(["infer", MODEL, str(path), "--samples", "30", "--seed", "5"]) == 0
    record = json.loads(capsys.readouterr().out)["importance"]
    told = infer(page, scenes[1], samples=30, seed=5)["posterior"]
    assert told["samples"] == 30
    # The same draws in batches of another shape: weights are hundreds of nats, in float32.
    np.testing.assert_allclose(told["count_probs"], record["count_probs"], atol=1e-3)
    assert told["effective_sample_size"] == pytest.approx(record["effective_sample_size"], rel=1e-2)
    assert infer(page, scenes[1])["posterior"] is None


def test_pixels_are_read_as_their_png_is(page: Page, scenes: np.ndarray) -> None:
    for image in (scenes[0], 255 - scenes[0]):
        for invert in (None, "auto", "no", "yes"):
            as_file = infer(page, image, invert=invert)
            pixels = {"pixels": (image / 255).tolist(), "invert": invert}
            as_pixels = page.ask("/api/infer", pixels)
            del as_pixels["milliseconds"]
            assert as_pixels == as_file
    assert as_file["canvas"] != infer(page, image, invert="no")["canvas"]


def test_equal_questions_have_equal_answers_whatever_is_asked_beside_them(
    page: Page, scenes: np.ndarray
) -> None:
    alone = [infer(page, image, samples=i % 3, seed=i) for i, image in enumerate(scenes)]
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(scenes)), 4))
    sample = {"num": 3, "seed": 1}

    def ask(i: int) -> bool:
        first = page.ask("/api/sample", sample) if i % 5 == 0 else None
        return infer(page, scenes[i], samples=int(i) % 3, seed=int(i)) == alone[i] and first in (
            None,
            sampled,
        )

    sampled = page.ask("/api/sample", sample)
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, order))


# Scenes, drawn


def objects_of(page: Page, num: int, seed: int = 0) -> list[dict[str, list[float]]]:
    rng = np.random.default_rng(seed)
    where = rng.normal((2.6, 0, 0), (0.2, 1, 1), (num, 3)).round(4).tolist()
    what = rng.normal(size=(num, page.air.config.appearance.encoder_latent_size)).round(4).tolist()
    return [{"z_where": a, "z_what": b} for a, b in zip(where, what, strict=True)]


@pytest.mark.parametrize("num", [0, 1, 3, 50])
def test_a_render_is_what_the_model_draws(num: int, page: Page) -> None:
    objects = objects_of(page, num)
    answer = page.ask("/api/render", {"objects": objects})
    assert len(answer["boxes"]) == len(answer["objects"]) == num
    where = torch.tensor([thing["z_where"] for thing in objects]).reshape(num, 3)
    what = torch.tensor([thing["z_what"] for thing in objects]).reshape(num, 50)
    with torch.no_grad():
        drawn = page.air.model.draw(where, what)
        boxes = page.air.object_boxes(where, what)
    np.testing.assert_array_equal(pixels_of(answer["image"]), uint8(drawn.sum(dim=0)[0].numpy()))
    np.testing.assert_allclose(np.reshape(answer["boxes"], (num, 4)), boxes.numpy(), atol=5e-4)
    for uri, image in zip(answer["objects"], drawn.numpy(), strict=True):
        shown = pixels_of(uri)
        assert shown.shape == (50, 50, 4)
        np.testing.assert_array_equal(shown[..., 3], uint8(image[0]))  # white, as opaque as bright
        assert (shown[..., :3] == 255).all()


def test_a_render_of_what_was_found_is_the_reconstruction(page: Page, scenes: np.ndarray) -> None:
    for image in scenes[:4]:
        answer = infer(page, image)
        found = [
            {name: thing[name] for name in ("z_where", "z_what")}
            for thing in answer["scene"]["objects"]
        ]
        again = page.ask("/api/render", {"objects": found})
        difference = pixels_of(again["image"]).astype(int) - pixels_of(answer["reconstruction"])
        assert np.abs(difference).max() <= 1  # codes are told with six digits


def test_noise_is_the_models_and_always_the_same(page: Page) -> None:
    asked = {"objects": [], "noise": True}
    answer = page.ask("/api/render", asked)
    assert answer == page.ask("/api/render", asked)
    noise = pixels_of(answer["image"]) / 255
    assert 0.4 < (noise > 0).mean() < 0.6  # half of it is below black
    # Half a Gaussian's standard deviation, of 1,250 pixels that are not cut off at white.
    assert np.sqrt((noise[noise > 0] ** 2).mean()) == pytest.approx(0.3, rel=0.1)


# Scenes, sampled


@pytest.mark.parametrize("count", [None, 0, 2])
def test_samples_are_those_of_the_prior(count: int | None, page: Page) -> None:
    answer = page.ask("/api/sample", {"num": 5, "count": count, "seed": 3})
    drawn = page.air.sample(5, counts=None if count is None else [count] * 5, seed=3)
    for i, scene in enumerate(answer["scenes"]):
        assert scene["weight"] is scene["log_weight"] is None
        assert scene["count"] == drawn.counts[i] == len(scene["objects"])
        np.testing.assert_array_equal(pixels_of(scene["image"]), uint8(drawn.reconstruction[i, 0]))
        for t, thing in enumerate(scene["objects"]):
            np.testing.assert_allclose(thing["box"], drawn.boxes[i, t], atol=5e-4)
            np.testing.assert_allclose(thing["z_what"], drawn.z_what[i, t], atol=5e-7)
    assert answer != page.ask("/api/sample", {"num": 5, "count": count, "seed": 4}) or count == 0


def test_explanations_weigh_as_much_as_importance_weighting_says(
    page: Page, scenes: np.ndarray
) -> None:
    asked = {"image": base64_of(png(scenes[2])), "num": 16, "seed": 2}
    explained = page.ask("/api/sample", asked)["scenes"]
    weights = np.array([scene["weight"] for scene in explained])
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert (np.diff(weights) <= 0).all()
    canvas = scenes[2][None]
    images = intensity(torch.tensor(canvas)[None])
    noise = picture_noise(page.air, canvas, 16, seed=2)
    with torch.no_grad():
        log_weights = importance_log_weights(page.air.guide, images, 16, noise=noise[:, None])
    told = np.array([scene["log_weight"] for scene in explained])
    bound = np.logaddexp.reduce(told) - np.log(16)
    assert bound == pytest.approx(float(importance_weighted_bound(log_weights)[0]), abs=5e-3)
    np.testing.assert_allclose(np.exp(told - told[0]), weights / weights[0], atol=5e-3)
    for scene in explained:
        assert len(scene["objects"]) == scene["count"]
        latents = [{k: thing[k] for k in ("z_where", "z_what")} for thing in scene["objects"]]
        drawn = page.ask("/api/render", {"objects": latents})
        difference = pixels_of(drawn["image"]).astype(int) - pixels_of(scene["image"])
        assert np.abs(difference).max() <= 1
        np.testing.assert_allclose(
            [thing["box"] for thing in scene["objects"]], drawn["boxes"], atol=2e-3
        )


def test_explanations_can_have_a_given_count(page: Page, scenes: np.ndarray) -> None:
    canvas, black = scenes[2], np.zeros((50, 50), np.uint8)
    images = intensity(torch.tensor(canvas)[None, None])
    noise = picture_noise(page.air, canvas[None], 4, seed=0)
    with torch.no_grad():
        log_weights = importance_log_weights(page.air.guide, images, 4, noise=noise[:, None])[:, 0]
    for count in range(4):
        asked = {"image": base64_of(png(canvas)), "num": 4, "count": count}
        explained = page.ask("/api/sample", asked)["scenes"]
        assert [scene["count"] for scene in explained] == [count] * 4
        told = sorted(scene["log_weight"] for scene in explained)
        np.testing.assert_allclose(told, log_weights[:, count].sort().values, atol=5e-3)
    empty = page.ask("/api/sample", {"pixels": (black / 255).tolist(), "num": 4})["scenes"]
    assert [scene["count"] for scene in empty] == [0] * 4


# The model


def test_the_model_is_described(page: Page) -> None:
    told, config = page.get("/api/model").json(), page.air.config
    assert told["name"] == MODEL
    assert (told["canvas"]["height"], told["canvas"]["width"]) == config.canvas_size
    assert len(told["prior"]) == told["max_objects"] + 1 == config.count.model_steps + 1
    assert sum(told["prior"]) == pytest.approx(1)
    assert told["z_where"]["mean"][0] == pytest.approx(config.pose.scale_prior_mean)
    assert told == page.get("/api/model").json()


def test_directions_are_a_basis_of_codes_of_real_scenes(page: Page) -> None:
    code = page.get("/api/model").json()["code"]
    basis = np.array([component["direction"] for component in code["components"]])
    np.testing.assert_allclose(basis @ basis.T, np.eye(6), atol=1e-7)
    sds = [component["sd"] for component in code["components"]]
    assert sds == sorted(sds, reverse=True)
    assert code["source"] == "scenes of digits"
    data = load_dataset("digits", "test")
    found = page.air.infer(data.images[:1000])
    codes = found.z_what[found.z_pres]
    np.testing.assert_allclose(code["mean"], codes.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(codes.std(axis=0) ** 2 @ basis.T**2 > 0, True)
    np.testing.assert_allclose((codes @ basis.T).std(axis=0), sds, rtol=1e-3)


def test_examples_are_scenes_of_which_the_model_makes_something(page: Page) -> None:
    examples = page.get("/api/model").json()["examples"]
    assert len(examples) == 8
    for example in examples:
        number = int(example["name"].split(": ")[1].split()[0])
        assert page.ask("/api/infer", {"image": example["image"]})["scene"]["count"] == number > 0
