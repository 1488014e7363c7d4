"""``AIRCounter`` as scikit-learn and its users hold it."""

from __future__ import annotations

import doctest
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import TINY, make_air
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from attend_infer_repeat import AIR, PRESETS, AIRCounter, AirError, ConfigError, TrainConfig
from attend_infer_repeat import sklearn as estimator_module
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data import hold_out, load_dataset
from attend_infer_repeat.objectives import OBJECTIVES, Exact

SMALL = TrainConfig(composite_begin=2, eval_every=0, model=TINY)


def counter(**changes: Any) -> AIRCounter:
    settings = {"num_steps": 8, "batch_size": 6, "random_state": 3, "config": SMALL}
    return AIRCounter(**(settings | changes))


def scenes(num: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of 0 to 2 bright squares, uint8, and their counts."""
    rng = np.random.default_rng(0)
    images, counts = np.zeros((num, *shape), np.uint8), rng.integers(0, 3, num)
    for image, count in zip(images, counts, strict=True):
        for top, left in rng.integers(0, np.array(shape[-2:]) - 3, (count, 2)):
            image[..., top : top + 3, left : left + 3] = rng.integers(100, 256)
    return images, counts


def varied(images: np.ndarray) -> AIRCounter:
    """Return a fitted counter whose model was exchanged for one that finds different counts."""
    fitted = counter(num_steps=1).fit(images)
    fitted.model_ = make_air(fitted.config_.model, gain=4, seed=0)
    return fitted


def assert_same_model(first: AIR, second: AIR) -> None:
    assert first.config == second.config
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


# scikit-learn's contract

# The checks' data are rows of 1 to 20 numbers of any size and sign. As images they have one row,
# and their black and white are learned: given these two arguments, no check needs an exception.
ROWS = AIRCounter(num_steps=2, batch_size=8, image_shape=(1, -1), value_range="data")


@parametrize_with_checks([ROWS])
def test_it_keeps_the_rules_of_scikit_learn(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(estimator)


def test_the_example_of_the_docstring_holds() -> None:
    results = doctest.testmod(estimator_module)
    assert results.attempted > 0
    assert results.failed == 0


def test_it_scores_in_cross_validation_and_is_searched_over() -> None:
    images, counts = scenes(24, 9, 9)
    scores = cross_val_score(counter(), images, counts, cv=3)
    assert scores.shape == (3,)
    assert ((scores >= 0) & (scores <= 1)).all()
    grid = {"num_steps": np.arange(1, 3), "learning_rate": np.logspace(-3, -2, 2)}
    search = GridSearchCV(counter(), grid, cv=2).fit(images, counts)
    assert type(search.best_estimator_.config_.optimizer.num_steps) is int


def test_it_works_in_pipelines_as_the_last_step_and_as_a_source_of_features() -> None:
    images, counts = scenes(24, 9, 9)
    scaled = make_pipeline(FunctionTransformer(lambda x: x / 255), counter()).fit(images)
    np.testing.assert_array_equal(scaled.predict(images), counter().fit(images).predict(images))
    classifier = make_pipeline(counter(), LogisticRegression(max_iter=1_000))
    assert classifier.fit(images, counts).predict(images).shape == (24,)


@pytest.mark.parametrize("copied", [clone, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_of_a_counter_predict_the_same(copied: Callable[[AIRCounter], AIRCounter]) -> None:
    images, _ = scenes(20, 9, 9)
    fitted = counter().fit(images)
    other = copied(fitted)
    other = other if hasattr(other, "model_") else other.fit(images)
    np.testing.assert_array_equal(other.predict_proba(images), fitted.predict_proba(images))
    assert_same_model(other.model_, fitted.model_)


# What it answers


def test_answers_are_those_of_its_model() -> None:
    images, _ = scenes(30, 8, 8)
    fitted = varied(images)
    found = fitted.model_.infer(images)
    counts, count_probs = fitted.predict(images), fitted.predict_proba(images)
    assert len(set(counts)) > 1
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, found.counts)
    np.testing.assert_array_equal(count_probs, found.count_probs)
    np.testing.assert_array_equal(counts, fitted.classes_[count_probs.argmax(axis=1)])
    np.testing.assert_allclose(count_probs.sum(axis=1), 1, rtol=1e-6)


def test_features_are_presence_pose_and_appearance_of_every_step() -> None:
    images, _ = scenes(30, 8, 8)
    fitted = varied(images)
    found, features = fitted.model_.infer(images), fitted.transform(images)
    names = list(fitted.get_feature_names_out())
    assert features.dtype == np.float32
    assert features.shape == (30, len(names)) == (30, 3 * (1 + 3 + 3))
    column = dict(zip(names, features.T, strict=True))
    for t in range(3):
        at_least = found.count_probs[:, t + 1 :].sum(axis=1)
        np.testing.assert_allclose(column[f"z_pres_{t}"], at_least, rtol=1e-5)
        present = found.counts > t
        assert 0 < present.sum() < 30
        expected = {f"z_where_{t}_{c}": found.z_where[:, t, i] for i, c in enumerate("sxy")}
        expected |= {f"z_what_{t}_{k}": found.z_what[:, t, k] for k in range(3)}
        for name, values in expected.items():
            np.testing.assert_array_equal(column[name], np.where(present, values, 0))


def test_score_is_the_weighted_share_of_right_counts() -> None:
    images, _ = scenes(30, 8, 8)
    fitted = varied(images)
    found = fitted.predict(images)
    wrong = np.where(np.arange(30) < 6, found + 1, found)
    assert fitted.score(images, wrong) == pytest.approx(24 / 30)
    assert fitted.score(images, wrong, sample_weight=np.arange(30) < 12) == pytest.approx(0.5)
    with pytest.raises(AirError, match="y"):
        fitted.score(images)


@pytest.mark.slow
def test_it_learns_to_count_without_labels() -> None:
    from attend_infer_repeat import load_dataset

    torch.set_default_dtype(torch.float32)
    test = load_dataset("digits", split="test")
    fitted = AIRCounter(num_steps=500).fit(load_dataset("digits").images)
    assert fitted.score(test.images, test.counts) > 0.97


# How it learns


def test_it_trains_on_all_images_the_model_that_the_command_line_trains(tmp_path: Path) -> None:
    images, _ = scenes(30, 17, 20)
    np.savez(tmp_path / "scenes.npz", images=images)
    command = "train --preset fast -n 4 -b 8 -lr 0.01 -t 2 --seed 5 --device cpu --quiet".split()
    data, run = f"{tmp_path / 'scenes.npz'}", tmp_path / "run"
    assert main([*command, "--no-invert", "--data", data, "--out", f"{run}"]) == 0
    trained_on, _ = hold_out(load_dataset(data))
    assert 0 < len(trained_on) < 30
    fitted = AIRCounter(
        num_steps=4,
        batch_size=8,
        learning_rate=0.01,
        model_steps=2,
        random_state=5,
        device="cpu",
    ).fit(trained_on.images)
    assert_same_model(fitted.model_, AIR.load(run))


def test_every_image_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = scenes(30, 9, 9)
    images[:, 0, 0] = 255 * (np.arange(30) % 2)  # a bright corner is no bright background
    seen = []

    class Watched(Exact):
        def __init__(self, air: AIR, images: torch.Tensor, *rest: Any) -> None:
            seen.append(images)
            super().__init__(air, images, *rest)

    monkeypatch.setitem(OBJECTIVES, "exact", Watched)
    counter(num_steps=1).fit(images)
    np.testing.assert_array_equal(seen[0][:, 0], images)


def test_what_is_trained_on_is_what_is_predicted_from() -> None:
    bright = 255 - scenes(12, 9, 9)[0]  # the command line would make it dark
    fitted = counter(num_steps=1).fit(bright)
    assert fitted.config_.model.framing.invert == "no"
    assert fitted.model_.config.framing.invert == "no"


def test_the_preset_auto_chooses_but_not_the_canvas() -> None:
    images = np.zeros((12, 60, 60), np.uint8)
    images[:, 5:45, 5:45] = 200  # on a canvas of its choice, 60 would be 24
    fitted = AIRCounter(preset="auto", num_steps=1, batch_size=6).fit(images)
    assert fitted.image_shape_ == (1, 60, 60)
    assert len(fitted.config_.chosen) > 1
    assert fitted.predict_proba(images).shape == (12, len(fitted.classes_))


def test_the_seed_decides_the_model() -> None:
    images, _ = scenes(20, 9, 9)
    of = {
        name: counter(random_state=seed).fit(images).predict_proba(images)
        for name, seed in (
            *(("config's", None), ("0", 0), ("1", 1)),
            *((f"state {k}", np.random.RandomState(7)) for k in range(2)),
        )
    }
    np.testing.assert_array_equal(of["config's"], of["0"])
    np.testing.assert_array_equal(of["state 0"], of["state 1"])
    assert not np.array_equal(of["0"], of["1"])
    assert not np.array_equal(of["0"], of["state 0"])


@pytest.mark.parametrize("preset", PRESETS)
def test_fitting_leaves_no_files_and_no_random_generator_changed(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    images, _ = scenes(10, 9, 9)
    AIRCounter(num_steps=2, preset=preset).fit(images)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert list(tmp_path.iterdir()) == []


def test_config_holds_for_all_that_no_argument_sets() -> None:
    config = TrainConfig(
        data="sprites", canvas=64, max_count=5, eval_split="test", seed=4, ema_decay=0.5, model=TINY
    )
    images, _ = scenes(10, 9, 7)
    used = counter(config=config, random_state=None, model_steps=2).fit(images).config_
    assert (
        used.seed,
        used.optimizer.ema_decay,
        used.optimizer.num_steps,
        used.optimizer.batch_size,
    ) == (4, 0.5, 8, 6)
    assert used.model.count.model_steps == 2
    assert used.model.canvas_size == (9, 7)
    assert used.model.inference.rnn_hidden_size == TINY.inference.rnn_hidden_size


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 3), (3, 5, 4)])
@pytest.mark.parametrize("num", [2, 3, 30])
def test_few_and_tiny_images_are_enough(num: int, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).random((num, *shape))
    fitted = AIRCounter(num_steps=4, config=TrainConfig(composite_begin=1)).fit(images)
    assert fitted.predict(images).shape == (num,)
    assert fitted.config_.model.appearance.window_size <= min(shape[-2:])


def test_verbose_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    images, _ = scenes(10, 9, 9)
    counter(num_steps=2, verbose=True).fit(images)
    assert "2 steps" in capsys.readouterr().err
    counter(num_steps=2).fit(images)
    assert capsys.readouterr() == ("", "")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_counter_fitted_on_a_gpu_is_pickled_for_any_machine() -> None:
    images, _ = scenes(20, 9, 9)
    fitted = counter(device="cuda").fit(images)
    probs = fitted.predict_proba(images)
    other = pickle.loads(pickle.dumps(fitted)).set_params(device="cpu")
    assert fitted.model_.device.type == "cuda"
    assert other.model_.device.type == "cpu"
    np.testing.assert_allclose(other.predict_proba(images), probs, atol=1e-5)


# What it takes


def test_the_same_images_give_the_same_answers_in_every_form() -> None:
    images, _ = scenes(20, 9, 7)
    expected = counter().fit(images).predict_proba(images)
    flat = {"image_shape": (9, 7)}
    for form, arguments in (
        (images[:, None], {}),
        (images / 255, {}),
        ((images / 255).astype(np.float32), {}),
        (torch.as_tensor(images), {}),
        (images.astype(np.uint16) * 257, {}),
        ((images.astype(np.uint16) * 257).astype(">u2"), {}),
        ((images / 255).astype(">f4"), {}),
        (list(images / 255), {}),
        (images, {"value_range": (0, 255)}),
        (images.astype(np.int64) - 7, {"value_range": (-7, 248)}),
        (images.reshape(20, 63), flat),
        (images.reshape(20, 63) / 255, {"image_shape": [1, 9, -1]}),
    ):
        fitted = counter(**arguments).fit(form)
        assert fitted.image_shape_ == (1, 9, 7)
        assert fitted.n_features_in_ == 63
        np.testing.assert_array_equal(fitted.predict_proba(form), expected)
    np.testing.assert_array_equal(fitted.predict_proba(images), expected)


def test_flat_images_are_squares_unless_a_shape_is_given() -> None:
    images, _ = scenes(10, 3, 6, 6)
    assert counter().fit(images[:, 0].reshape(10, 36)).image_shape_ == (1, 6, 6)
    color = counter(image_shape=(3, 6, 6)).fit(images.reshape(10, 108))
    assert color.image_shape_ == (3, 6, 6)
    np.testing.assert_array_equal(
        color.predict_proba(images), counter().fit(images).predict_proba(images)
    )


def test_a_range_learned_from_the_data_maps_black_to_white_and_cuts_off_the_rest() -> None:
    images, _ = scenes(20, 9, 9)
    images[0, 0, :2] = 0, 255
    fitted = counter().fit(images)
    learned = counter(value_range="data").fit(images * 3.0 - 50)
    assert learned.value_range_ == (-50, 715)
    assert_same_model(learned.model_, fitted.model_)
    beyond = np.where(images == 0, -1e3, np.where(images == 255, 1e3, images * 3.0 - 50))
    np.testing.assert_array_equal(learned.predict_proba(beyond), fitted.predict_proba(images))
    blank = counter(value_range="data").fit(np.full((5, 8, 8), 3.0))
    assert np.isfinite(blank.transform(np.full((1, 8, 8), 9.0))).all()


IMAGES = np.zeros((4, 6, 5), np.uint8)


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (IMAGES[0], {}, "image_shape"),  # 6 rows of 5 features
        (IMAGES[:1], {}, "1 sample"),
        (IMAGES[:0], {}, "0 sample"),
        (IMAGES[:, :0], {}, "0 feature"),
        (IMAGES[..., None], {}, "transpose"),
        (IMAGES[:, None, None], {}, "channels"),
        (IMAGES - 1.0, {}, r"\[0, 1\]"),
        (IMAGES.astype(np.int64), {}, "uint8"),
        (IMAGES.astype(np.int16), {}, "uint8"),
        (IMAGES.astype(complex), {}, "Complex"),
        (IMAGES.astype(str), {}, "numeric"),
        (np.zeros((4, 6, 5), [("gray", "u1")]), {}, "numeric"),
        (np.float64(1), {}, "2D"),
        (np.zeros(4), {}, "2D"),
        (np.zeros((4, 6, 5, 4)), {}, "opacity"),
        (np.full((4, 6, 5), np.nan), {}, "NaN"),
        ([IMAGES[0], IMAGES[0, 1:]], {}, "inhomogeneous"),
        (IMAGES, {"image_shape": (5, 6)}, r"\(1, 5, 6\), got \(6, 5\)"),
        (IMAGES, {"image_shape": (7, -1)}, r"image_shape: .* 30 features, got \(7, -1\)"),
        (IMAGES, {"image_shape": 30}, "image_shape"),
        (IMAGES, {"image_shape": "wide"}, "image_shape"),
        (IMAGES, {"value_range": "all"}, "value_range"),
        (IMAGES, {"value_range": (1, 1)}, "value_range"),
        (IMAGES, {"num_steps": 0}, "num_steps"),
        (IMAGES, {"num_steps": 1.5}, "num_steps"),
        (IMAGES, {"random_state": -1}, "seed"),
        (IMAGES, {"preset": "fats", "config": None}, "'fast'"),
        (IMAGES, {"config": {}}, "config"),
        (IMAGES, {"device": "warp"}, "device"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    images: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        counter(**arguments).fit(images)


def test_images_of_another_size_than_learned_are_refused() -> None:
    fitted = counter(num_steps=1).fit(IMAGES)
    with pytest.raises(ValueError, match="X has 20 features, but AIRCounter is expecting 30"):
        fitted.predict(IMAGES[:, :4])
    with pytest.raises(AirError, match=r"expected images of \(1, 6, 5\), got \(5, 6\)"):
        fitted.predict(IMAGES.transpose(0, 2, 1))


def test_one_setting_out_of_range_is_told_as_the_command_line_tells_it() -> None:
    with pytest.raises(ConfigError) as refusal:
        counter(batch_size=0).fit(IMAGES)
    assert str(refusal.value) == "batch_size: expected a number above 0, got 0."
