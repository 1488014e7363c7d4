"""The training loop: what a run's folder holds, and going on after an interruption."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import TINY
from torch import Tensor

from attend_infer_repeat import (
    AIR,
    AirError,
    CheckpointError,
    ConfigError,
    TrainConfig,
    load_dataset,
    train,
)
from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from attend_infer_repeat.checkpoints.state_dicts import part_of
from attend_infer_repeat.cli.main import read_command
from attend_infer_repeat.data import Dataset, is_path
from attend_infer_repeat.errors import BusyError, DataError, TrainingError, warn_once
from attend_infer_repeat.evaluation import Evaluation, evaluate
from attend_infer_repeat.objectives import OBJECTIVES
from attend_infer_repeat.objectives.processes import Processes
from attend_infer_repeat.objectives.schedules import cosine_decay, count_prior_schedule
from attend_infer_repeat.storage import LOCK_FILE, write_atomically
from attend_infer_repeat.training import progress
from attend_infer_repeat.training.data import load_training_data
from attend_infer_repeat.training.metrics import metrics_log, read_metrics
from attend_infer_repeat.training.run import new_run

SIGNALS = [signal.SIGINT, signal.SIGTERM]


FIGURES = ("first.png", "second.png")


class Killed(Exception):
    """What ends a run without warning."""


def draw(path: Path) -> None:
    """Stand in for a figure."""
    path.write_text("figure")


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 40 small training scenes of 0 to 2 bright squares, and 10 test scenes."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "scenes.npz"
    for name, num in ((path, 40), (path.with_name("scenes_test.npz"), 10)):
        images = np.zeros((num, 12, 10), np.uint8)
        counts = rng.integers(0, 3, num)
        for image, count in zip(images, counts, strict=True):
            for _ in range(count):
                top, left = rng.integers(0, 7, 2)
                image[top : top + 3, left : left + 3] = 200
        np.savez(name, images=images, counts=counts.astype(np.int64))
    return path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[TrainConfig], Path]:
    """Return what trains from start to end, once for each config; the run is only looked at."""
    runs: dict[str, Path] = {}

    def trained(config: TrainConfig) -> Path:
        key = repr(config)
        if key not in runs:
            runs[key] = train(config, tmp_path_factory.mktemp("uninterrupted") / "run", quiet=True)
        return runs[key]

    return trained


@pytest.fixture
def figures_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures: they take longer than all the rest of a tiny run."""
    monkeypatch.setitem(sys.modules, "attend_infer_repeat.viz.plots", stand_in())


def stand_in() -> types.ModuleType:
    """Return a module whose ``plot_run`` writes two files."""
    plots = types.ModuleType("attend_infer_repeat.viz.plots")

    def plot_run(run: Path, data: Dataset | None = None) -> list[Path]:
        (run / "figures").mkdir(exist_ok=True)
        for name in FIGURES:
            draw(run / "figures" / name)
        return [run / "figures" / name for name in FIGURES]

    plots.plot_run = plot_run  # type: ignore[attr-defined]
    return plots


pytestmark = pytest.mark.usefixtures("figures_apart")


def tiny(data: Path, objective: str = "exact", **changes: Any) -> TrainConfig:
    settings = {
        "data": str(data),
        "num_steps": 12,
        "batch_size": 6,
        "learning_rate": 1e-2,
        "lr_schedule": "cosine",
        "anneal_prior": "exp",
        "anneal_prior_from": 1e-3,
        "anneal_prior_duration": 8,
        "eval_every": 4,
        "save_every": 5,
        "progress_every": 1,
        "model": TINY,
    }
    of_exact = {"explore": 0.5, "explore_steps": 8, "composite_weight": 1.0, "composite_begin": 4}
    settings |= of_exact if objective == "exact" else {"explore": 0.0, "composite_weight": 0.0}
    return TrainConfig(objective=objective, **(settings | changes))


def at_step(
    monkeypatch: pytest.MonkeyPatch, objective: str, step: int, happens: Callable[[], None]
) -> None:
    """Let something happen while the objective takes a step (counted from 0)."""
    kind = OBJECTIVES[objective]
    take_step = kind.step

    def patched(self: Any, number: int, lr_factor: float) -> Tensor:
        if number == step:
            happens()
        return take_step(self, number, lr_factor)

    monkeypatch.setattr(kind, "step", patched)


def kill() -> None:
    raise Killed


def send(*numbers: signal.Signals) -> Callable[[], None]:
    def happens() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return happens


def metrics(run: Path, **having: Any) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if having.items() <= line.items()]


def training_lines(run: Path) -> list[dict[str, Any]]:
    return [line for line in metrics(run) if "split" not in line]


def without_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "images_per_second")}
        for line in lines
    ]


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same_end(run: Path, other: Path) -> None:
    """Compare the last checkpoints of two runs bit by bit: weights, moments, generators."""
    first, second = read_checkpoint(run), read_checkpoint(other)
    assert first.step == second.step
    for part in ("model", "training"):
        ours, theirs = first.tensors(part), second.tensors(part)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), name


# What a run leaves behind


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_holds_what_the_contract_promises(
    objective: str, data_file: Path, tmp_path: Path
) -> None:
    config = tiny(data_file, objective)
    run = train(config, tmp_path / "run", quiet=True)
    assert run == tmp_path / "run"
    held = {path.name for path in run.iterdir()}
    assert held == {"config.json", "metrics.jsonl", "checkpoint", "figures"}
    written = json.loads((run / "config.json").read_text())["config"]
    assert written["seed"] == config.seed
    assert written["model"]["canvas_size"] == [12, 10]

    lines = training_lines(run)
    assert [line["step"] for line in lines] == list(range(1, 13))
    for line in lines:
        assert set(line) == {"step", "seconds", "images_per_second", "elbo"}
    seconds = [line["seconds"] for line in metrics(run)]
    assert seconds == sorted(seconds)

    num_held_out = len(load_dataset(str(data_file), "validation"))
    for split, steps, num in (("validation", [4, 8, 12], num_held_out), ("test", [12], 10)):
        evaluations = metrics(run, split=split)
        assert [line["step"] for line in evaluations] == steps
        for line in evaluations:
            assert {"seconds", "elbo", "count_accuracy", "confusion"} <= set(line)
            assert np.sum(line["confusion"]) == num
            assert np.trace(line["confusion"]) / num == pytest.approx(line["count_accuracy"])


def test_the_trained_model_fits_the_data(data_file: Path, tmp_path: Path) -> None:
    run = train(tiny(data_file), tmp_path / "run", quiet=True)
    data = load_dataset(str(data_file), "test")
    scenes = AIR.load(run).infer(data.images)
    assert scenes.reconstruction.shape == (10, 12, 10)


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", ["digits", "sprites", "pictures", "a/scenes.npz"])
def test_a_data_set_alone_stands_for_what_the_command_line_takes_for_it(
    name: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def carry_out(config: TrainConfig, *arguments: Any) -> Path:
        given.append(config)
        return Path("run")

    monkeypatch.setattr("attend_infer_repeat.trainer.carry_out", carry_out)
    assert train(kind(name)) == Path("run")
    # A path is never the name of a data set.
    typed = f"./{name}" if kind is Path and not is_path(name) else name
    assert given == [read_command(["train", "--data", typed]).training]


def test_the_bar_moves_at_every_step(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a bar, as on a terminal
    moved = []

    class Bar(progress.RichProgress):
        def update(self, task: Any, *, completed: Any = None, **fields: Any) -> None:
            moved.append(completed)
            super().update(task, completed=completed, **fields)

    monkeypatch.setattr(progress, "RichProgress", Bar)
    train(tiny(data_file, num_steps=7, progress_every=5, eval_every=0), tmp_path / "run")
    assert list(dict.fromkeys(step for step in moved if step is not None)) == [*range(1, 8)]


def test_progress_lines_average_over_their_steps(data_file: Path, tmp_path: Path) -> None:
    each, some = (
        training_lines(train(tiny(data_file, progress_every=k), tmp_path / str(k), quiet=True))
        for k in (1, 5)
    )
    assert [line["step"] for line in some] == [5, 10, 12]
    elbos = [line["elbo"] for line in each]
    means = [np.mean(part) for part in (elbos[:5], elbos[5:10], elbos[10:])]
    assert [line["elbo"] for line in some] == pytest.approx(means)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_seed_decides_everything(objective: str, data_file: Path, tmp_path: Path) -> None:
    runs = []
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        torch.manual_seed(len(name))
        config = tiny(data_file, objective, num_steps=4, seed=seed)
        runs.append(train(config, tmp_path / name, quiet=True))
    assert_same_end(runs[0], runs[1])
    assert without_time(metrics(runs[0])) == without_time(metrics(runs[1]))
    assert without_time(metrics(runs[0])) != without_time(metrics(runs[2]))


def test_evaluating_and_saving_more_often_changes_nothing_else(
    data_file: Path, tmp_path: Path
) -> None:
    seldom = tiny(data_file, eval_every=0, save_every=0)
    often = replace(seldom, eval_every=1, save_every=1)
    runs = [
        train(config, tmp_path / name, quiet=True)
        for name, config in (("seldom", seldom), ("often", often))
    ]
    assert_same_end(*runs)
    assert len(metrics(runs[0], split="validation")) == 1
    assert len(metrics(runs[1], split="validation")) == 12


def test_unlabeled_images_train_without_an_accuracy(data_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "unlabeled.npz"
    np.savez(path, images=np.load(data_file)["images"])
    run = train(tiny(path, num_steps=4), tmp_path / "run", quiet=True)
    (line,) = metrics(run, split="validation")
    assert line["count_accuracy"] is None
    assert line["confusion"] is None
    assert metrics(run, split="test") == []  # there is no unlabeled_test.npz


# Schedules


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_annealing_moves_the_models_count_prior(
    objective: str, data_file: Path, tmp_path: Path
) -> None:
    config = tiny(data_file, objective, num_steps=5, anneal_prior_duration=10)
    run = train(config, tmp_path / "run", quiet=True)
    success = AIR.load(run).model.count_prior.success
    assert success.item() == count_prior_schedule(config)(4)  # that of the last step taken
    assert success.dtype == torch.float64
    assert config.annealing.anneal_prior_from < success < config.model.count.z_pres_prior


def test_the_count_prior_ends_where_it_is_annealed_to(data_file: Path) -> None:
    config = tiny(data_file)
    assert count_prior_schedule(config)(0) == 1e-3
    assert count_prior_schedule(config)(10_000) == TINY.count.z_pres_prior
    assert count_prior_schedule(replace(config, anneal_prior_to=0.2))(10_000) == 0.2
    assert (
        count_prior_schedule(replace(config, anneal_prior_from=None))(0) == TINY.count.z_pres_prior
    )
    constant = count_prior_schedule(replace(config, anneal_prior="none"))
    assert {constant(step) for step in (0, 4, 100)} == {TINY.count.z_pres_prior}


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_follows_its_schedule(
    schedule: str, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = []
    kind = OBJECTIVES["exact"]
    take_step = kind.step

    def patched(self: Any, number: int, lr_factor: float) -> Tensor:
        factors.append(lr_factor)
        return take_step(self, number, lr_factor)

    monkeypatch.setattr(kind, "step", patched)
    train(tiny(data_file, lr_schedule=schedule), tmp_path / "run", quiet=True)
    expected = [cosine_decay(k, 12) if schedule == "cosine" else 1.0 for k in range(12)]
    assert factors == expected


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_averaging_changes_what_is_saved_and_not_what_is_trained(
    objective: str, data_file: Path, tmp_path: Path
) -> None:
    checkpoints = [
        read_checkpoint(
            train(tiny(data_file, objective, ema_decay=decay), tmp_path / f"{decay}", quiet=True)
        )
        for decay in (0.0, 0.9)
    ]
    last, mean = (checkpoint.tensors("model") for checkpoint in checkpoints)
    trained, also = (part_of(c.tensors("training"), "weights") for c in checkpoints)
    assert trained.keys() == last.keys()
    for name in trained:
        assert torch.equal(trained[name], also[name])
        assert torch.equal(trained[name], last[name])
    assert any(not torch.equal(mean[name], last[name]) for name in last)


# Interruption and resumption


@pytest.mark.parametrize(
    ("objective", "guide"),
    [
        *(("exact", guide) for guide in ("pursuit", "basic")),
        *(("tracegraph", guide) for guide in ("pursuit", "improved")),
    ],
)
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    objective: str,
    guide: str,
    data_file: Path,
    uninterrupted: Callable[[TrainConfig], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny(data_file, objective, model=replace(TINY, guide=guide))
    straight = uninterrupted(config)
    run = tmp_path / "interrupted"
    with monkeypatch.context() as patch:
        at_step(patch, objective, 5, send(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train(config, run, quiet=True)
    assert read_checkpoint(run).step == 6
    torch.manual_seed(12345)  # another process has other generators
    assert train(config, resume=run, quiet=True) == run
    assert_same_end(run, straight)
    assert without_time(metrics(run)) == without_time(metrics(straight))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_after_the_step_and_leaves_a_usable_checkpoint(
    number: signal.Signals, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    before = [signal.getsignal(known) for known in SIGNALS]
    at_step(monkeypatch, "exact", 6, send(number))
    with pytest.raises(KeyboardInterrupt):
        train(tiny(data_file, save_every=0), run, quiet=True)
    assert [signal.getsignal(known) for known in SIGNALS] == before
    assert read_checkpoint(run).step == 7
    assert training_lines(run)[-1]["step"] == 7
    AIR.load(run).infer(load_dataset(str(data_file), "test").images)


def test_a_second_signal_stops_at_once_and_leaves_the_last_checkpoint(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    at_step(monkeypatch, "exact", 8, send(signal.SIGINT, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(tiny(data_file), run, quiet=True)
    assert read_checkpoint(run).step == 5
    AIR.load(run)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_killed_run_goes_on_from_its_last_checkpoint_without_duplicate_lines(
    objective: str,
    data_file: Path,
    uninterrupted: Callable[[TrainConfig], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny(data_file, objective)
    straight = uninterrupted(config)
    run = tmp_path / "killed"
    with monkeypatch.context() as patch:
        at_step(patch, objective, 8, kill)
        with pytest.raises(Killed):
            train(config, run, quiet=True)
    assert training_lines(run)[-1]["step"] == 8  # after the checkpoint of step 5
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "secon')  # it was killed while writing
    train(config, resume=run, quiet=True)
    assert without_time(metrics(run)) == without_time(metrics(straight))
    assert_same_end(run, straight)


def test_a_resumed_run_can_take_more_steps(data_file: Path, tmp_path: Path) -> None:
    config = tiny(data_file, lr_schedule="constant")
    straight = train(replace(config, num_steps=20), tmp_path / "straight", quiet=True)
    run = train(config, tmp_path / "run", quiet=True)
    train(replace(config, num_steps=20), resume=run, quiet=True)
    assert_same_end(run, straight)
    assert read_checkpoint(run).train_config.optimizer.num_steps == 20
    assert [line["step"] for line in training_lines(run)] == list(range(1, 21))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_on_a_gpu_goes_on_after_an_interruption(
    objective: str, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = tmp_path / "run", tiny(data_file, objective)
    with monkeypatch.context() as patch:
        at_step(patch, objective, 5, send(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train(config, run, device="cuda", quiet=True)
    train(config, resume=run, device="cuda", quiet=True)
    assert [line["step"] for line in training_lines(run)] == list(range(1, 13))


PHASES = {
    "before config.json": "attend_infer_repeat.training.session.write_config",
    "before the first line": "attend_infer_repeat.training.loop.metrics_log",
    "before the first checkpoint": "attend_infer_repeat.training.state.save_checkpoint",
    "in the first checkpoint": "attend_infer_repeat.checkpoints.checkpoint._file_name",
    "before it is tested": "attend_infer_repeat.training.session._test",
    "in its figures": "test_training.draw",
    "before it is noted that all is done": "attend_infer_repeat.training.session.mark_finished",
}


@pytest.mark.parametrize("name", PHASES.values(), ids=PHASES)
def test_a_run_that_is_killed_in_any_phase_goes_on_to_the_same_end(
    name: str,
    data_file: Path,
    uninterrupted: Callable[[TrainConfig], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny(data_file, save_every=0)
    straight = uninterrupted(config)
    run, calls = tmp_path / "run", []
    with monkeypatch.context() as patch:
        module, function = name.rsplit(".", 1)
        genuine = getattr(sys.modules[__name__ if module == "test_training" else module], function)

        def killing(*arguments: Any, **options: Any) -> Any:
            calls.append(function)
            if len(calls) > (function == "draw"):  # one figure is there, and the other is not
                raise Killed
            return genuine(*arguments, **options)

        patch.setattr(f"{__name__ if module == 'test_training' else module}.{function}", killing)
        with pytest.raises(Killed):
            train(config, run, quiet=True)
    if function == "write_config":  # nothing is there, nor in the way
        train(config, run, quiet=True)
    else:
        train(config, resume=run, quiet=True)
    assert_same_end(run, straight)
    assert without_time(metrics(run)) == without_time(metrics(straight))
    assert {path.name for path in (run / "figures").iterdir()} == set(FIGURES)
    with pytest.raises(ConfigError, match="all of its 12 steps"):
        train(config, resume=run, quiet=True)


def interrupted(config: TrainConfig, run: Path, step: int = 8) -> Path:
    """Kill a run in a step (from 0)."""
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, config.estimator.objective, step, kill)
        with pytest.raises(Killed):
            train(config, run, quiet=True)
    return run


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"commands": 3}',
        b'{"commands": [3]}',
        b"[" * 10**5,
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_damaged_config_file_beside_a_sound_checkpoint_stops_nothing(
    content: bytes, data_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny(data_file)
    run = interrupted(config, tmp_path / "run")
    (run / "config.json").write_bytes(content)
    train(config, resume=run, quiet=True)
    assert caplog.text.count("commands in it begins anew") == 1
    assert len(json.loads((run / "config.json").read_text())["commands"]) == 1
    assert read_checkpoint(run).step == 12


def test_without_a_checkpoint_a_damaged_config_file_is_named(
    data_file: Path, tmp_path: Path
) -> None:
    config = tiny(data_file)
    run = interrupted(config, tmp_path / "run", step=2)
    for content in ("", "[]", '{"config": 3}', "{}", '{"config": {"lives": 9}}'):
        (run / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json: damaged"):
            train(config, resume=run, quiet=True)


LINES = {
    "half": '{"step": 3, "sec',
    "empty": "",
    "null": "null",
    "a number": "3",
    "a list": "[1]",
    "text": '"step"',
    "no step": '{"elbo": 3.0}',
    "step is null": '{"step": null}',
    "step is text": '{"step": "3"}',
    "step is true": '{"step": true}',
    "step is a fraction": '{"step": 1.5}',
    "step is huge": f'{{"step": {10**400}}}',
    "elbo is text": '{"step": 3, "elbo": "3"}',
    "elbo_gain is text": '{"step": 3, "split": "validation", "elbo_gain": "x"}',
    "box_iou is text": '{"step": 3, "split": "validation", "box_iou": "x"}',
    "same_count is text": '{"step": 3, "split": "validation", "same_count": "x"}',
    "num_images is a list": '{"step": 3, "split": "validation", "num_images": []}',
    "seconds is a list": '{"step": 3, "seconds": []}',
    "split is a number": '{"step": 3, "split": 3}',
    "confusion is text": '{"step": 3, "split": "test", "count_accuracy": 1, "confusion": "x"}',
    "confusion is ragged": '{"step": 3, "split": "test", "confusion": [[1], [1, 2]]}',
    "confusion by itself": '{"step": 3, "confusion": [[1]]}',
    "nested without end": "[" * 100_000,
    "not text": "\udcff\udcfe",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_of_metrics_that_means_nothing_takes_no_other_with_it(
    line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    good = [json.dumps({"step": step, "elbo": float(step)}) for step in range(1, 7)]
    text = "\n".join([*good[:3], line, *good[3:]]) + "\n" + '{"step": 7, "el'  # cut while writing
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert [record.message.count("line 4 is left out") for record in caplog.records] == [1]
    with metrics_log(tmp_path, 5) as log:  # as a run does that goes on
        log.write({"step": 6, "elbo": 0.5})
    caplog.clear()
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert path.read_text().splitlines()[:5] == good[:5]
    assert not caplog.records


@pytest.mark.parametrize("line", ['{"step": 1, "split": "validation", "elbo_gain": "x"}', "null"])
def test_a_run_goes_on_beside_a_line_that_means_nothing_and_tells_of_it_once(
    line: str,
    data_file: Path,
    uninterrupted: Callable[[TrainConfig], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = tiny(data_file)
    straight = uninterrupted(config)
    run = interrupted(config, tmp_path / "run")
    path = run / "metrics.jsonl"
    path.write_text(f"{line}\n" + path.read_text())
    train(config, resume=run, quiet=True)
    assert caplog.text.count("line 1 is left out") == 1
    assert without_time(metrics(run)) == without_time(metrics(straight))


def events_of(path: Path) -> list[Any]:
    """Read one of TensorBoard's files."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    return [Event.FromString(event) for event in RawEventFileLoader(str(path)).Load()]


def sessions(run: Path) -> list[list[int]]:
    """Return, for each of TensorBoard's files, the steps from which a session begins anew."""
    return [
        [event.step for event in events_of(path) if event.HasField("session_log")]
        for path in sorted((run / "tensorboard").iterdir())
    ]


@pytest.mark.parametrize("step", [0, 5])
def test_tensorboard_shows_no_step_of_an_interrupted_run_twice(step: int, tmp_path: Path) -> None:
    for at in (0, step):
        with metrics_log(tmp_path, at, tensorboard=True) as log:
            log.write({"step": at + 1, "elbo": 0.5})
    assert sessions(tmp_path) == [[], [step + 1]]


def scalars(run: Path) -> set[tuple[int, str, float]]:
    """Return the step, tag and value of every scalar in TensorBoard's files."""
    return {
        (event.step, value.tag, value.simple_value)
        for path in (run / "tensorboard").iterdir()
        for event in events_of(path)
        for value in event.summary.value
    }


def test_tensorboard_has_the_numbers_of_the_metrics(data_file: Path, tmp_path: Path) -> None:
    run = train(tiny(data_file), tmp_path / "run", quiet=True, tensorboard=True)
    expected = {
        (line["step"], f"{line.get('split', 'train')}/{name}", np.float32(value).item())
        for line in metrics(run)
        for name, value in line.items()
        if isinstance(value, float)
    }
    assert {(12, "train/elbo"), (12, "test/count_accuracy")} < {key[:2] for key in expected}
    assert scalars(run) == expected


def test_the_command_writes_tensorboards_events_unless_told_not_to() -> None:
    assert read_command(["train"]).tensorboard
    assert not read_command(["train", "--no-tensorboard"]).tensorboard


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_goes_on_without_tensorboard_and_warns_once_if_it_was_asked_for(
    asked: bool,
    data_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    warn_once.cache_clear()
    run = train(tiny(data_file), tmp_path / "run", quiet=True, tensorboard=asked)
    assert caplog.text.count("a log for TensorBoard needs tensorboard") == asked
    assert len(training_lines(run)) == 12
    assert not (run / "tensorboard").exists()


def test_metrics_are_never_written_with_a_value_that_json_does_not_have(tmp_path: Path) -> None:
    with metrics_log(tmp_path, 0) as log, pytest.raises(ValueError, match="JSON"):
        log.write({"step": 1, "elbo": float("nan")})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


# One writer


@pytest.mark.parametrize("resumed", [False, True], ids=["out", "resume"])
def test_a_folder_that_a_process_writes_to_is_refused_by_its_name(
    resumed: bool,
    data_file: Path,
    uninterrupted: Callable[[TrainConfig], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, run = tiny(data_file), tmp_path / "run"
    if resumed:
        interrupted(config, run)
    straight = uninterrupted(config)
    place = {"resume": run} if resumed else {"out": run}
    refused = []

    def second() -> None:
        before = snapshot(run)
        with pytest.raises(BusyError, match=f"run: process {os.getpid()} on ") as raised:
            train(config, quiet=True, **place)
        with pytest.raises(BusyError):
            train(config, resume=run, quiet=True)
        assert {k: v for k, v in snapshot(run).items() if v} == {
            k: v for k, v in before.items() if v
        }
        refused.append(str(raised.value))

    with monkeypatch.context() as patch:
        at_step(patch, "exact", 10, second)
        train(config, quiet=True, **place)
    assert len(refused) == 1
    assert len(refused[0].splitlines()) == 1
    assert_same_end(run, straight)
    assert LOCK_FILE not in os.listdir(run)


def test_what_a_killed_process_left_in_an_empty_folder_is_not_in_the_way(
    data_file: Path, tmp_path: Path
) -> None:
    (tmp_path / LOCK_FILE).write_text('{"process": 1, "host": "gone"}')
    (tmp_path / ".config.json.0123abcd.tmp").write_text("{")
    config = tiny(data_file, num_steps=1)
    assert read_checkpoint(train(config, tmp_path / "out", quiet=True)).step == 1
    folder = tmp_path / "left"
    folder.mkdir()
    for path in (tmp_path / LOCK_FILE, tmp_path / ".config.json.0123abcd.tmp"):
        path.rename(folder / path.name)
    assert read_checkpoint(train(config, folder, quiet=True)).step == 1
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_only_the_first_of_several_processes_looks_at_the_folder_and_locks_it(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Second(Processes):
        def __init__(self, device: str) -> None:
            super().__init__(torch.device("cpu"))
            self.rank = 1

    monkeypatch.setattr("attend_infer_repeat.training.session.join_processes", Second)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).touch()
    (tmp_path / "run" / "config.json").touch()  # the first one is ahead
    train(tiny(data_file, num_steps=1), tmp_path / "run", quiet=True)
    assert sorted(os.listdir(tmp_path / "run")) == [LOCK_FILE, "config.json"]


def test_runs_without_a_name_that_begin_at_once_get_folders_of_their_own(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as each sees it before the other
    with ExitStack() as stack:
        runs = [stack.enter_context(new_run(tiny(data_file), None)) for _ in range(3)]
    assert len(set(runs)) == 3


# A disk that refuses


def full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("what", ["checkpoint", "metrics", "events", "figures", "config"])
def test_a_full_disk_ends_a_run_in_one_line_that_says_how_to_go_on(
    what: str,
    data_file: Path,
    uninterrupted: Callable[[TrainConfig], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, run = tiny(data_file), tmp_path / "run"
    straight = uninterrupted(config)
    fsync, write, limits = os.fsync, write_atomically, resource.getrlimit(resource.RLIMIT_FSIZE)

    def writing_config(path: Path, content: bytes) -> None:
        full(0) if run / "figures" in run.iterdir() else write(path, content)

    def happens() -> None:
        if what == "checkpoint":
            monkeypatch.setattr(os, "fsync", full)
        elif what == "config":
            monkeypatch.setattr("attend_infer_repeat.training.run.write_atomically", writing_config)
        elif what == "figures":
            monkeypatch.setattr(f"{__name__}.draw", full)
        else:
            (path,) = run.glob({"metrics": "metrics.jsonl", "events": "tensorboard/*"}[what])
            # A little more is taken, and then no more.
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, limits[1]))

    at_step(monkeypatch, "exact", 8, happens)
    try:
        with pytest.raises(TrainingError, match=f"go on with: air train --resume {run}") as raised:
            train(config, run, quiet=True, tensorboard=what == "events")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.undo()
    assert len(str(raised.value).splitlines()) == 1
    assert read_checkpoint(run).step == {"figures": 12, "config": 12}.get(what, 5)
    AIR.load(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "attend_infer_repeat.viz.plots", stand_in())
        train(config, resume=run, quiet=True)
    assert os.fsync is fsync
    assert_same_end(run, straight)
    assert without_time(metrics(run)) == without_time(metrics(straight))


@pytest.mark.parametrize(
    ("refuses", "error"),
    [("owned", ConfigError), ("is_empty", ConfigError), ("write_atomically", TrainingError)],
)
@pytest.mark.parametrize("exists", [False, True])
def test_a_disk_that_refuses_a_run_from_the_start_advises_no_resuming(
    refuses: str,
    error: type[AirError],
    exists: bool,
    data_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*arguments: Any) -> None:
        full(0)

    run, config = tmp_path / "run", tiny(data_file)
    if exists:
        run.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(f"attend_infer_repeat.training.run.{refuses}", refused)
        with pytest.raises(error, match="give another --out") as raised:
            train(config, run, quiet=True)
    assert "--resume" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert read_checkpoint(train(config, run, quiet=True)).step == 12


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 4 MiB; needs the right to."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_room(
    small_disk: Path,
    data_file: Path,
    uninterrupted: Callable[[TrainConfig], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, run = tiny(data_file), small_disk / "run"
    straight = uninterrupted(config)

    def fill() -> None:
        with (small_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    with monkeypatch.context() as patch:
        at_step(patch, "exact", 7, fill)
        with pytest.raises(TrainingError, match="No space left on device"):
            train(config, run, quiet=True)
    AIR.load(run)
    assert read_checkpoint(run).step == 5
    (small_disk / "filler").unlink()
    train(config, resume=run, quiet=True)
    assert_same_end(run, straight)
    assert without_time(metrics(run)) == without_time(metrics(straight))


def test_a_disk_that_cannot_be_written_to_is_named_in_one_line(
    small_disk: Path, data_file: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tiny(data_file)
    run = interrupted(config, small_disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for place, error in (
        ({"out": small_disk / "new"}, ConfigError),
        ({"resume": run}, TrainingError),
    ):
        with pytest.raises(error, match="Read-only file system") as raised:
            train(config, quiet=True, **place)
        assert len(str(raised.value).splitlines()) == 1
    assert read_checkpoint(run).step == 5


@pytest.mark.parametrize("out", ["x" * 300, "file/run", "file"])
def test_a_place_where_no_folder_can_be_is_refused_in_one_line(
    out: str, data_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("a user's")
    with pytest.raises(ConfigError, match="give another --out") as raised:
        train(tiny(data_file), tmp_path / out, quiet=True)
    assert len(str(raised.value).splitlines()) == 1


# Refusals


def test_a_run_is_never_written_into_another_ones_folder(data_file: Path, tmp_path: Path) -> None:
    run = train(tiny(data_file, num_steps=2), tmp_path / "run", quiet=True)
    before = snapshot(run)
    with pytest.raises(ConfigError, match="already holds files"):
        train(tiny(data_file, num_steps=2, seed=1), run, quiet=True)
    assert snapshot(run) == before


def test_an_empty_folder_may_become_a_run(data_file: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = train(tiny(data_file, num_steps=1), tmp_path / "run", quiet=True)
    assert read_checkpoint(run).step == 1


def test_runs_without_a_name_get_folders_of_their_own(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny(data_file, num_steps=1)
    runs = [train(config, quiet=True) for _ in range(2)]
    assert runs[0] != runs[1]
    assert all(run.parent == Path("runs") for run in runs)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 1e-3}, "learning_rate: 0.01 -> 0.001"),
        ({"batch_size": 7}, "batch_size: 6 -> 7"),
        ({"model": replace(TINY, window_size=5)}, "window_size: 4 -> 5"),
        ({"anneal_prior": "lin"}, "anneal_prior: exp -> lin"),
    ],
)
def test_a_run_resumes_only_with_its_own_settings(
    change: dict[str, Any],
    named: str,
    data_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    config = tiny(data_file)
    with monkeypatch.context() as patch:
        at_step(patch, "exact", 6, send(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train(config, run, quiet=True)
    before = snapshot(run)
    with pytest.raises(ConfigError, match=named):
        train(replace(config, **change), resume=run, quiet=True)
    assert snapshot(run) == before


def test_a_run_stopped_before_its_figures_is_finished_by_resuming(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(data_file, num_steps=2)
    with monkeypatch.context() as patch:
        patch.setattr("attend_infer_repeat.training.session._test", lambda *_: kill())
        with pytest.raises(Killed):
            train(config, tmp_path / "run", quiet=True)
    assert metrics(tmp_path / "run", split="test") == []
    figures = tmp_path / "run" / "figures"
    figures.mkdir()
    (figures / f".{FIGURES[0]}.0123abcd.tmp").write_text("half a fig")  # killed while it drew
    train(config, resume=tmp_path / "run", quiet=True)
    assert {path.name for path in figures.iterdir()} == set(FIGURES)
    assert len(metrics(tmp_path / "run", split="test")) == 1
    assert len(training_lines(tmp_path / "run")) == 2


def test_a_finished_run_is_not_resumed(data_file: Path, tmp_path: Path) -> None:
    config = tiny(data_file, num_steps=2)
    run = train(config, tmp_path / "run", quiet=True)
    before = snapshot(run)
    with pytest.raises(ConfigError, match="all of its 2 steps"):
        train(config, resume=run, quiet=True)
    assert snapshot(run) == before


def test_a_model_without_a_run_is_not_resumed(data_file: Path, tmp_path: Path) -> None:
    AIR(TINY).save(tmp_path / "model")
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(tiny(data_file), resume=tmp_path / "model", quiet=True)


@pytest.mark.parametrize("use", ["load", "resume"])
def test_a_basic_guide_of_an_earlier_version_is_refused_in_one_line(
    use: str, data_file: Path, tmp_path: Path
) -> None:
    """Its LSTM did not take in the last step, so that it lacks weights that the guide now has."""
    config = tiny(data_file, model=replace(TINY, guide="basic"))
    air = AIR(config.model)
    weights = air.state_dict()
    name = "guide.memory.lstm.step.weight"
    weights[name] = weights[name][:, -8:]
    del weights["guide.memory.z_where_init"], weights["guide.memory.z_what_init"]
    air.state_dict = lambda: weights  # type: ignore[method-assign]
    save_checkpoint(tmp_path / "run" / "checkpoint", air, train_config=config, step=1)
    read = {
        "load": partial(AIR.load, tmp_path / "run"),
        "resume": partial(train, config, resume=tmp_path / "run", quiet=True),
    }
    with pytest.raises(CheckpointError, match=r"do not fit .* another version") as caught:
        read[use]()
    assert "\n" not in str(caught.value)


def test_a_run_is_resumed_by_its_own_folder_alone(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tiny(data_file), tmp_path / "run")
    before = snapshot(tmp_path)
    monkeypatch.chdir(tmp_path)
    for given, message in (
        (run / "checkpoint", "give the run's folder"),
        ("digits", "give the run's folder"),
        ("nowhere", "no such run"),
        (tmp_path, "holds no checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=message):
            train(tiny(data_file), resume=given, quiet=True)
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_checkpoint_is_not_resumed_and_nothing_is_touched(
    data_file: Path, tmp_path: Path
) -> None:
    run = train(tiny(data_file, num_steps=2), tmp_path / "run", quiet=True)
    (weights,) = (run / "checkpoint").glob("training-*")
    weights.write_bytes(weights.read_bytes()[:-1])
    before = snapshot(run)
    with pytest.raises(CheckpointError, match=weights.name):
        train(tiny(data_file, num_steps=4), resume=run, quiet=True)
    assert snapshot(run) == before


def test_a_run_without_figures_draws_none(data_file: Path, tmp_path: Path) -> None:
    run = train(tiny(data_file, num_steps=2), tmp_path / "run", quiet=True, figures=False)
    assert not (run / "figures").exists()


def test_a_run_folder_is_made_only_once_the_settings_are_known_good(
    data_file: Path, tmp_path: Path
) -> None:
    for config, device in (
        (tiny(tmp_path / "missing.npz"), "cpu"),
        (tiny(data_file), "warp-drive"),
    ):
        with pytest.raises(AirError):
            train(config, tmp_path / "run", device=device, quiet=True)
    assert not (tmp_path / "run").exists()


# Divergence


def spoil(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the weights become NaN in a step, as a step too large can."""
    kind = OBJECTIVES["exact"]
    take_step = kind.step

    def patched(self: Any, number: int, lr_factor: float) -> Tensor:
        elbo = take_step(self, number, lr_factor)
        if number == step:
            with torch.no_grad():
                for parameter in self.air.parameters():
                    parameter.fill_(torch.nan)
        return elbo

    monkeypatch.setattr(kind, "step", patched)


def test_a_diverged_run_stops_with_what_to_do(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, step=7)
    with pytest.raises(TrainingError, match="learning-rate"):
        train(tiny(data_file, eval_every=0), tmp_path / "run", quiet=True)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_an_evaluation_that_is_not_finite_stops_a_run_as_the_elbo_of_training_does(
    split: str, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(air: AIR, data: Dataset) -> Evaluation:
        if data.split == split:
            raise DataError("the ELBO is nan.")
        return evaluate(air, data)

    monkeypatch.setattr("attend_infer_repeat.training.loop.evaluate", diverged)
    message = rf"step \d+: {split} split: the ELBO is nan. .* last sound checkpoint"
    with pytest.raises(TrainingError, match=message):
        train(tiny(data_file), tmp_path / "run", quiet=True)
    assert metrics(tmp_path / "run", split=split) == []


@pytest.mark.parametrize("eval_split", ["validation", "test"])
def test_the_test_split_is_loaded_once(
    eval_split: str, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(config: TrainConfig, split: str = "train") -> Dataset:
        loaded.append(split)
        return load_training_data(config, split)

    monkeypatch.setattr("attend_infer_repeat.training.data.load_training_data", load)
    config = tiny(data_file, num_steps=1, eval_split=eval_split)
    train(config, tmp_path / "run", quiet=True)
    assert loaded == ["test"]


@pytest.mark.parametrize("progress_every", [1, 12])
def test_a_diverged_run_leaves_its_last_sound_checkpoint(
    progress_every: int, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, step=7)
    config = tiny(data_file, progress_every=progress_every, eval_every=0, save_every=5)
    with pytest.raises(TrainingError):
        train(config, tmp_path / "run", quiet=True)
    weights = read_checkpoint(tmp_path / "run").tensors("model")
    assert all(torch.isfinite(value).all() for value in weights.values())
