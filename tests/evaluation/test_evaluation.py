"""How well an AIR does on held-out scenes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import TINY, assert_mean, drawn_terms, linear_scene, log_evidence, make_air, scenes_from

from attend_infer_repeat import AIR, DataError, Dataset, ShapeError, evaluate
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.evaluation import confusion_matrix, elbo_per_image
from attend_infer_repeat.model import intensity


def labeled(num: int = 60, max_count: int = 3) -> Dataset:
    """Return noise of different brightness with counts that mean nothing."""
    rng = np.random.default_rng(0)
    images = rng.random((num, 8, 8)) * np.linspace(0, 255, num)[:, None, None]
    counts = rng.integers(0, max_count + 1, num)
    counts[0] = max_count
    return Dataset("noise", "test", images.astype(np.uint8), counts)


def mixed_air() -> AIR:
    """Return an AIR that finds different counts in different images."""
    return make_air(gain=6, seed=8)


@pytest.mark.parametrize("max_count", [1, 3, 6])
def test_confusion_counts_every_image_once_and_accuracy_is_its_diagonal(max_count: int) -> None:
    data, air = labeled(max_count=max_count), mixed_air()
    evaluation = evaluate(air, data)
    confusion = np.array(evaluation.confusion)
    assert confusion.shape == (max_count + 1, 4)
    np.testing.assert_array_equal(confusion.sum(1), np.bincount(data.counts))
    inferred = air.infer(data.images).counts
    np.testing.assert_array_equal(confusion.sum(0), np.bincount(inferred, minlength=4))
    assert evaluation.count_accuracy == pytest.approx(np.trace(confusion) / len(data))
    assert evaluation.num_images == len(data) == 60


def test_confusion_matrix_has_true_counts_in_rows() -> None:
    matrix = confusion_matrix(np.array([0, 1, 1, 2]), np.array([0, 1, 3, 1]), most=3)
    np.testing.assert_array_equal(matrix, [[1, 0, 0, 0], [0, 1, 0, 1], [0, 1, 0, 0]])


def test_without_true_counts_there_is_an_elbo_and_no_accuracy() -> None:
    data, air = labeled(), mixed_air()
    evaluation = evaluate(air, replace(data, counts=None))
    assert evaluation.count_accuracy is None
    assert evaluation.confusion is None
    assert evaluation.elbo == evaluate(air, data).elbo


def test_evaluation_is_reproducible_and_leaves_the_generator_alone() -> None:
    data, air = labeled(), mixed_air()
    state = torch.get_rng_state()
    first = evaluate(air, data)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert evaluate(air, data) == first
    assert evaluate(air, data, seed=1).elbo != first.elbo


def test_evaluation_leaves_the_model_alone() -> None:
    air = mixed_air().train()
    before = {name: value.clone() for name, value in air.state_dict().items()}
    evaluate(air, labeled())
    assert all(torch.equal(value, before[name]) for name, value in air.state_dict().items())
    assert all(parameter.grad is None for parameter in air.parameters())
    assert air.training


def test_elbo_is_the_combination_of_its_parts() -> None:
    evaluation = evaluate(mixed_air(), labeled())
    parts = dict(evaluation.parts)
    expected = parts.pop("log_likelihood") - sum(parts.values())
    assert evaluation.elbo == pytest.approx(expected)


def test_elbo_is_the_mean_over_the_images_in_nats_per_image() -> None:
    air, data = make_air(), labeled(5)
    elbos = torch.tensor([evaluate(air, data, seed=seed).elbo for seed in range(60)])
    images = torch.as_tensor(data.images).double()[:, None] / 255
    with torch.no_grad():
        expected = drawn_terms(air, images.repeat(4_000, 1, 1, 1)).elbo.mean()
    assert_mean(elbos, expected)  # whose own error is far smaller: 60 draws against 4,000


def test_evaluation_is_the_mean_of_the_terms_of_each_image() -> None:
    data, air = labeled(), mixed_air()
    terms, evaluation = elbo_per_image(air, data), evaluate(air, data)
    assert evaluation.elbo == terms["elbo"].mean()
    assert evaluation.parts == {name: v.mean() for name, v in terms.items() if name != "elbo"}
    assert all(values.shape == (len(data),) for values in terms.values())


@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_batch_size_changes_no_count(batch_size: int) -> None:
    air, data = mixed_air(), labeled()
    assert evaluate(air, data, batch_size=batch_size).confusion == evaluate(air, data).confusion


def test_importance_samples_tighten_the_bound_and_judge_the_counts_again() -> None:
    air = linear_scene(steps=2)
    scenes = scenes_from(air, 40)
    data = Dataset(
        "scenes", "test", (scenes[:, 0].clamp(0, 1) * 255).byte().numpy(), np.ones(40, int)
    )
    plain, weighted = (evaluate(air, data, importance_samples=k) for k in (0, 200))
    assert plain.importance_bound is None
    assert plain.importance_count_accuracy is None
    assert weighted.elbo == plain.elbo
    evidence = log_evidence(air, intensity(torch.from_numpy(data.images))[:, None]).mean().item()
    assert plain.elbo < weighted.importance_bound < evidence + 0.05
    assert 0 <= weighted.importance_count_accuracy <= 1
    assert "importance bound" in weighted.table()


def test_figures_are_plain_values() -> None:
    figures = evaluate(mixed_air(), labeled()).to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert figures["data"] == "noise"
    assert figures["split"] == "test"


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError):
        evaluate(make_air(replace(TINY, canvas_size=(9, 9))), labeled())


def test_boxes_that_are_found_where_they_are_have_an_iou_of_one() -> None:
    data, air = labeled(), mixed_air()
    assert evaluate(air, data).box_iou is None
    scenes = air.infer(data.images)
    truth = replace(data, counts=scenes.counts, boxes=scenes.boxes)
    assert evaluate(air, truth).box_iou == pytest.approx(1)
    shifted = replace(truth, boxes=scenes.boxes + np.float32(100))
    assert evaluate(air, shifted).box_iou == 0


def overflowing_air() -> AIR:
    """Return a model whose weights are finite, and so large that the likelihood is not."""
    air = mixed_air()
    with torch.no_grad():
        for parameter in air.model.decoder.parameters():
            parameter.mul_(1e200)
    return air


@pytest.mark.parametrize(
    ("measure", "options"),
    [(evaluate, {}), (elbo_per_image, {}), (evaluate, {"importance_samples": 2})],
)
def test_an_elbo_that_is_not_finite_is_an_error_of_one_line(
    measure: Any, options: dict[str, int]
) -> None:
    with pytest.raises(DataError, match=r"the ELBO is -?(inf|nan) for \d+ of 60 images") as raised:
        measure(overflowing_air(), labeled(), **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_prints_no_evaluation_that_is_not_finite(
    form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    overflowing_air().save(tmp_path / "model")
    np.savez(tmp_path / "noise.npz", images=labeled().images)
    options = ["--data", str(tmp_path / "noise.npz"), "--split", "train", *form]
    assert main(["evaluate", str(tmp_path / "model"), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the ELBO is" in captured.err.splitlines()[-1]
