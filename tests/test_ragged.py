"""A model without a bound takes as many steps as a batch needs: everything joins such batches.

The model of these tests takes one step with an empty picture, and up to four with others. The first
256 pictures, a batch of ``AIR.infer``, are empty.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import SQUARES, counting_air, squares
from serving import serving
from sklearn.base import clone

from attend_infer_repeat import AIR, Dataset, TrainConfig
from attend_infer_repeat.checkpoints.checkpoint import save_checkpoint
from attend_infer_repeat.evaluation import elbo_per_image, evaluate
from attend_infer_repeat.evaluation.calibration import fit_temperature, reliability, temper
from attend_infer_repeat.evaluation.codes import evaluate_codes
from attend_infer_repeat.files.sources import find_sources
from attend_infer_repeat.files.streaming import infer_pictures
from attend_infer_repeat.model import intensity
from attend_infer_repeat.rollout.importance import (
    effective_sample_size,
    importance_log_weights,
    importance_weighted_bound,
    importance_weighted_count_probs,
)
from attend_infer_repeat.scenes import Scenes, concatenate
from attend_infer_repeat.sklearn import AIRCounter
from attend_infer_repeat.training.run import write_config
from attend_infer_repeat.viz.animation import save_inference_animation
from attend_infer_repeat.viz.illustrate import generation_figure, inference_figure
from attend_infer_repeat.viz.plots import plot_run
from attend_infer_repeat.viz.report import write_report
from attend_infer_repeat.web.app import make_app

EMPTY = 256  # one batch of ``AIR.infer``
COUNTS = (0,) * EMPTY + (1, 2, 3, 4) * 8


@pytest.fixture(autouse=True)
def single_precision() -> None:
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def air() -> AIR:
    return counting_air().eval()


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset("squares", "test", **squares(COUNTS))


@pytest.fixture
def run(air: AIR, tmp_path: Path) -> Path:
    """Return the folder of a run whose test pictures are those of ``data``."""
    np.savez(tmp_path / "squares.npz", **squares((0, 1, 2, 3, 4) * 260))
    np.savez(tmp_path / "squares_test.npz", **squares(COUNTS))
    folder = tmp_path / "run"
    config = TrainConfig(data=str(tmp_path / "squares.npz"), model=SQUARES)
    save_checkpoint(folder / "checkpoint", air, train_config=config, step=1)
    write_config(folder, config)
    return folder


def test_the_batches_of_these_tests_differ_in_their_number_of_steps(
    air: AIR, data: Dataset
) -> None:
    steps = [air.infer(part.images).z_where.shape[1] for part in (data[:EMPTY], data[EMPTY:])]
    assert steps == [1, 4]


def test_scenes_are_joined_whatever_their_steps(air: AIR, data: Dataset) -> None:
    together = air.infer(torch.as_tensor(data.images))
    apart = [air.infer(torch.as_tensor(part)) for part in np.split(data.images, [3, 100, 260])]
    joined = Scenes.cat(apart)
    assert together.counts.tolist() == list(COUNTS)
    for one, other in zip(together.fields(), joined.fields(), strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    assert together.boxes[:EMPTY].isnan().all()
    assert torch.equal(together.z_pres.sum(dim=1), together.counts)
    drawn = air.infer(data.images, sample=True)
    assert len(drawn) == len(drawn.z_what) == len(COUNTS)


def test_joined_rows_are_filled_up_behind_with_what_is_said() -> None:
    joined = concatenate([torch.ones(2, 1), torch.ones(1, 3)], fill=-torch.inf)
    assert joined.tolist() == [[1, -torch.inf, -torch.inf]] * 2 + [[1, 1, 1]]


def test_it_is_evaluated(air: AIR, data: Dataset) -> None:
    result = evaluate(air, data, importance_samples=3)
    assert result.count_accuracy == result.importance_count_accuracy == 1
    assert np.array(result.confusion).sum() == len(COUNTS)
    assert np.isfinite(elbo_per_image(air, data)["elbo"]).all()


def test_its_probabilities_are_judged(air: AIR, data: Dataset) -> None:
    probs = air.infer(data.images).count_probs
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
    fitted = temper(probs, fit_temperature(probs[:EMPTY, :2], data.counts[:EMPTY]))
    assert reliability(fitted, data.counts).accuracy == 1


def test_its_codes_are_judged(air: AIR, data: Dataset) -> None:
    result = evaluate_codes(air, data, test=Dataset("squares", "test", **squares(COUNTS)))
    assert result.num_found == result.num_tested == sum(COUNTS)


def test_importance_weights_of_batches_are_joined(air: AIR, data: Dataset) -> None:
    images = intensity(torch.as_tensor(data.images)[:, None])
    with torch.no_grad():
        batches = [importance_log_weights(air.guide, part, 3) for part in images.split(EMPTY)]
    assert [part.shape[-1] for part in batches] == [2, 5]
    probs = concatenate([importance_weighted_count_probs(part) for part in batches])
    assert probs.argmax(dim=1).tolist() == list(COUNTS)
    for part in batches:
        assert importance_weighted_bound(part).isfinite().all()
        assert effective_sample_size(part).isfinite().all()


def test_it_is_an_estimator(air: AIR, data: Dataset) -> None:
    counter = AIRCounter(config=TrainConfig(model=SQUARES, batch_size=8), num_steps=1)
    counter = clone(counter).fit(data.images[-32:])
    counter.model_ = air
    assert counter.predict(data.images).tolist() == list(COUNTS)
    num_columns = len(counter.get_feature_names_out())
    for part in (data[:3], data[EMPTY:]):
        assert counter.predict_proba(part.images).shape[1] == len(counter.classes_)
        assert counter.transform(part.images).shape == (len(part), num_columns)


@pytest.mark.parametrize("num", [1, 300])
@pytest.mark.parametrize("success", [1e-9, 0.3, 0.9, 0.999])
def test_sampled_scenes_have_room_for_every_count_that_is_probable(
    num: int, success: float
) -> None:
    model = replace(SQUARES, z_pres_prior=success, step_limit=60)
    scenes = counting_air(model).sample(num, seed=1)
    steps = scenes.z_where.shape[1]
    assert scenes.count_probs.shape == (num, steps + 1)
    assert scenes.z_pres.shape == (num, steps)
    assert scenes.boxes.shape == (num, steps, 4)
    np.testing.assert_allclose(scenes.count_probs.sum(axis=1), 1, atol=1e-6)
    n = np.arange(steps)
    np.testing.assert_allclose(scenes.count_probs[0, :-1], (1 - success) * success**n, rtol=1e-5)
    assert scenes.count_probs[0, -1] == pytest.approx(success**steps, rel=1e-4, abs=1e-8)
    assert success ** (steps + 1) <= 1e-7 or steps == 60
    assert scenes.counts.tolist() == scenes.z_pres.sum(axis=1).tolist()


def test_it_is_reported(run: Path) -> None:
    page = write_report(run, num_samples=2).read_text()
    assert "importance-weighted, K = 2" in page
    assert "that end at 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999" in page  # of the ECE


def test_its_figures_are_drawn(air: AIR, run: Path, data: Dataset, tmp_path: Path) -> None:
    assert all(path.stat().st_size for path in plot_run(run))
    assert all(inference_figure(air, data.images[row]).axes for row in (0, -1))
    assert generation_figure(air).axes
    save_inference_animation(air, data.images[EMPTY], tmp_path / "a.gif", frame_ms=600)


def test_it_reads_a_stream(air: AIR, data: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "squares.npy", data.images[200:])
    sources = find_sources([str(tmp_path / "squares.npy")])
    batches = infer_pictures(air, sources, samples=2)
    records = [record for rows in batches for record, _, _ in rows]
    assert [record["count"] for record in records] == list(COUNTS[200:])
    for record in records:
        assert sum(record["count_probs"]) == pytest.approx(1, abs=1e-4)
        assert sum(record["importance"]["count_probs"]) == pytest.approx(1, abs=1e-4)


def test_it_is_served(air: AIR, data: Dataset, tmp_path: Path) -> None:
    air.save(tmp_path)
    with serving(make_app(air, tmp_path), air) as page:
        answer = page.get("/api/model")
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert sum(told["prior"]) == pytest.approx(1)
        assert len(told["examples"]) == 8
        for row in (0, -1):
            pixels = (data.images[row] / 255).tolist()
            found = page.ask("/api/infer", {"pixels": pixels, "invert": "no", "samples": 400})
            assert found["scene"]["count"] == COUNTS[row]
            assert sum(found["posterior"]["count_probs"]) == pytest.approx(1, abs=1e-4)
            asked = {"pixels": pixels, "invert": "no", "num": 16}
            assert len(page.ask("/api/sample", asked)["scenes"]) == 16
        assert len(page.ask("/api/sample", {"num": 16})["scenes"]) == 16
