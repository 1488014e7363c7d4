"""A collapsed training is told from a sound one, whose first evaluations may be poor."""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import SQUARES, TINY, counting_air, squares

from attend_infer_repeat import AIR, Dataset, TrainConfig, train
from attend_infer_repeat.config import PRESETS
from attend_infer_repeat.evaluation import evaluate
from attend_infer_repeat.training.collapse import MIN_STEPS, collapse_advice, find_collapse
from attend_infer_repeat.viz.report import write_report

# Histories of evaluations: gain, same count, confusion.

Told = tuple[float | None, int | None, list[list[int]] | None]

DEAD: Told = (0.0, 0, None)
STUCK: Told = (60.0, 3, None)
POOR: Told = (-18.0, None, None)
SOUND: Told = (170.0, None, None)
BLANK: Told = (None, None, None)  # all images alike
COUNTED: Told = (170.0, None, [[30, 0, 0, 0], [0, 30, 0, 0], [0, 1, 28, 1]])
# The tutorial's preset without the flags that were published with it: some, or more than there are.
SENSELESS: Told = (170.0, None, [[28, 0, 0, 2], [5, 0, 0, 25], [0, 0, 0, 30]])
CONSTANT: Told = (170.0, None, [[0, 0, 0, 30], [0, 0, 0, 30], [0, 0, 0, 30]])


def history(*evaluations: Told, every: int = 125) -> list[dict[str, Any]]:
    return [
        {"step": every * (i + 1), "elbo_gain": gain, "same_count": same, "confusion": confusion}
        for i, (gain, same, confusion) in enumerate(evaluations)
    ]


def steps(evaluations: list[Told], finished: bool) -> int:
    return 125 * len(evaluations) * (1 if finished else 2)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("evaluations", "shows"),
    [
        ([DEAD] * 2, "explain nothing"),
        ([DEAD] * 10, "explain nothing"),
        ([POOR] * 10, "explain nothing"),
        ([STUCK] * 10, "count 3"),
        ([SOUND, SOUND, DEAD, DEAD, DEAD], "explain nothing"),
        ([SOUND, SOUND, STUCK, STUCK, STUCK], "60.0 nats by objects, and had gained 170.0"),
        ([SOUND, (80.0, None, None), (80.0, None, None)], "80.0 nats"),
        ([SENSELESS] * 6, "no better than .* 93% of 0, 0% of 1, 0% of 2"),
        ([COUNTED, CONSTANT, CONSTANT, CONSTANT], "no better than"),
        ([SOUND, (math.nan, None, None), (math.nan, None, None)], "not a finite number"),
        ([(math.inf, None, None)] * 4, "not a finite number"),
    ],
)
def test_a_dead_run_is_told(evaluations: list[Told], shows: str, finished: bool) -> None:
    reason = find_collapse(history(*evaluations), steps(evaluations, finished))
    assert reason is not None
    assert re.search(shows, reason)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    "evaluations",
    [
        [],
        [SOUND],
        [SOUND] * 10,
        [POOR, SOUND],
        [DEAD, DEAD, SOUND],
        [DEAD, DEAD, DEAD, SOUND, SOUND, DEAD],  # it was alive in the second half
        [SOUND, (100.0, None, None)],
        [BLANK] * 10,
        [COUNTED] * 10,
        [SENSELESS, SENSELESS, COUNTED],
        [(170.0, None, [[0, 0], [0, 50]])] * 10,  # all images have one object, and get it
    ],
)
def test_a_sound_run_is_not(evaluations: list[Told], finished: bool) -> None:
    assert find_collapse(history(*evaluations), steps(evaluations, finished)) is None


def test_a_young_run_is_not_called_dead() -> None:
    assert find_collapse(history(POOR), 250) is None  # by one evaluation
    assert find_collapse(history(POOR), 125) is not None
    assert find_collapse(history(POOR, POOR, every=MIN_STEPS // 2 - 1), MIN_STEPS - 2) is None
    assert find_collapse(history(*[POOR] * 10), 200_000) is None
    assert find_collapse(history(*[CONSTANT] * 10), 125 * 21) is None
    assert find_collapse(history(*[CONSTANT] * 10), 125 * 20) is not None
    assert find_collapse(history(*[POOR] * 160), 200_000) is not None


def test_records_of_an_earlier_version_are_passed_over() -> None:
    old = [{"step": 125, "elbo": 430.0}]
    assert find_collapse(old * 3, 125) is None
    assert find_collapse(old + history(DEAD), 125) is not None


def test_a_record_without_the_evidence_of_counts_is_judged_by_its_gain() -> None:
    lines = [{"step": 125 * k, "elbo_gain": 0.0} for k in (1, 2)]
    assert "explain nothing" in (find_collapse(lines, 250) or "")
    assert find_collapse([line | {"elbo_gain": 170.0} for line in lines], 250) is None


def test_a_long_sound_run_is_told_by_its_last_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []
    monkeypatch.setattr(
        "attend_infer_repeat.training.collapse._evidence",
        lambda *evaluation: judged.append(evaluation),
    )
    assert find_collapse(history(*[COUNTED] * 2_000), 125 * 2_000) is None
    assert len(judged) == 1


@pytest.mark.parametrize(
    ("config", "tries"),
    [
        (replace(PRESETS["fast"], learning_rate=10.0), "it was 10, and the preset's is 0.003"),
        (PRESETS["tutorial"], "published with the tutorial (-blr 0.1 --z-pres-prior 0.01"),
        (PRESETS["many"], "--seed"),
    ],
)
def test_what_to_try_depends_on_the_settings(config: TrainConfig, tries: str) -> None:
    assert tries in collapse_advice(config)


# The evidence of an evaluation.


def always_two() -> AIR:
    """Return a model that finds two objects in every picture."""
    air = counting_air(replace(SQUARES, unbounded=False, model_steps=2))
    with torch.no_grad():
        air.guide.predict[-1].weight.zero_()
        air.guide.predict[-1].bias[0] = 30.0
    return air


def data(counts: list[int], known: bool) -> Dataset:
    arrays = squares(counts)
    return Dataset("squares", "test", **(arrays if known else {"images": arrays["images"]}))


@pytest.mark.parametrize("known", [True, False])
def test_the_same_count_everywhere_is_noticed_where_images_differ(known: bool) -> None:
    result = evaluate(always_two(), data([0, 1, 2] * 4, known))
    assert result.same_count == 2
    assert evaluate(counting_air(), data([0, 1, 2] * 4, known)).same_count is None


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_the_same_count_is_right_where_images_have_it(count: int, known: bool) -> None:
    air = counting_air(replace(SQUARES, unbounded=False, model_steps=2))
    result = evaluate(air, data([count] * 12, known))
    assert result.same_count is None
    assert result.elbo_gain is None or result.elbo_gain > 10


def test_a_few_images_may_have_one_count() -> None:
    assert evaluate(always_two(), data([0, 1, 2], known=False)).same_count is None


def test_one_image_of_another_count_does_not_make_the_same_count_wrong() -> None:
    assert evaluate(always_two(), data([2] * 30 + [1], known=False)).same_count is None


def test_what_objects_add_to_the_elbo_is_measured() -> None:
    counts = [0, 1, 2, 3]
    sound = evaluate(counting_air(), data(counts, known=False))
    air = counting_air()
    with torch.no_grad():
        air.guide.predict[-1].bias[0] = -300.0
    dead = evaluate(air, data(counts, known=False))
    assert dead.elbo_gain == pytest.approx(0, abs=1e-6)
    assert sound.elbo_gain == pytest.approx(sound.elbo - dead.elbo)
    assert sound.elbo_gain > 10
    assert evaluate(air, data([0] * 4, known=False)).elbo_gain is None


# A real one.


def config_on_squares(folder: Path, num: int, **settings: Any) -> TrainConfig:
    """Write pictures of 0 to 3 squares; return settings to train on them.

    They have a little noise: of equal ones, all would be held out, or none.
    """
    arrays = squares(np.random.default_rng(0).integers(0, 4, num).tolist())
    noise = np.random.default_rng(0).integers(0, 4, arrays["images"].shape, dtype=np.uint8)
    np.savez(folder / "squares.npz", **arrays | {"images": arrays["images"] ^ noise})
    return TrainConfig(data=str(folder / "squares.npz"), **settings)


def evaluations(run: Path) -> list[dict[str, Any]]:
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if "split" in record]


def test_a_learning_rate_of_ten_is_told_in_the_log_the_metrics_and_the_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_on_squares(
        tmp_path,
        60,
        num_steps=120,
        batch_size=8,
        learning_rate=10.0,
        eval_every=60,
        model=replace(TINY, canvas_size=(12, 12)),
    )
    with caplog.at_level(logging.WARNING):
        run = train(config, tmp_path / "run", quiet=True, figures=False)
    lines = [
        r.getMessage() for r in caplog.records if r.name.startswith("attend_infer_repeat.training")
    ]
    assert len(lines) == 1
    assert lines[0].startswith(f"The model in {run} is dead: ")
    assert "try a lower --learning-rate (it was 10, and the preset's is 0.003)" in lines[0]
    assert [record["collapsed"] for record in evaluations(run)] == [False, True]
    assert "Training has collapsed: " in write_report(run, num_samples=0).read_text()

    caplog.clear()
    longer = replace(config, num_steps=180)
    with caplog.at_level(logging.WARNING):
        train(longer, resume=run, quiet=True, figures=False)
    lines = [
        r.getMessage() for r in caplog.records if r.name.startswith("attend_infer_repeat.training")
    ]
    assert [record["collapsed"] for record in evaluations(run)] == [False, True, True]
    assert len(lines) == 1  # it was told before


def test_a_sound_training_is_not_called_dead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_on_squares(
        tmp_path,
        200,
        num_steps=100,
        batch_size=16,
        learning_rate=2e-2,
        eval_every=50,
        ema_decay=0.0,
        anneal_prior="none",
        explore=0.2,
        composite_weight=0.0,
        model=replace(SQUARES, guide="pursuit", unbounded=False, decoder_net=(8,)),
    )
    run = train(config, tmp_path / "run", quiet=True, figures=False)
    assert not any(record["collapsed"] for record in evaluations(run))
    assert evaluations(run)[-1]["elbo_gain"] > 10
    assert not caplog.records
