"""The training loop: what a run's folder holds, and going on after an interruption."""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from collections.abc import Callable
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
    progress,
    train,
)
from attend_infer_repeat.checkpoints import part_of, read_checkpoint, save_checkpoint
from attend_infer_repeat.cli import _parse
from attend_infer_repeat.data import Dataset, is_path
from attend_infer_repeat.objectives import OBJECTIVES
from attend_infer_repeat.schedules import cosine_decay
from attend_infer_repeat.training import TrainingError, count_prior_schedule

SIGNALS = [signal.SIGINT, signal.SIGTERM]


class Killed(Exception):
    """What ends a run without warning."""


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Write 40 small training scenes of 0 to 2 bright squares, and 10 test scenes."""
    rng = np.random.default_rng(0)
    path = tmp_path / "scenes.npz"
    for name, num in ((path, 40), (tmp_path / "scenes_test.npz", 10)):
        images = np.zeros((num, 12, 10), np.uint8)
        counts = rng.integers(0, 3, num)
        for image, count in zip(images, counts, strict=True):
            for _ in range(count):
                top, left = rng.integers(0, 7, 2)
                image[top : top + 3, left : left + 3] = 200
        np.savez(name, images=images, counts=counts.astype(np.int64))
    return path


@pytest.fixture
def figures_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures: they take longer than all the rest of a tiny run."""
    plots = types.ModuleType("attend_infer_repeat.plots")

    def plot_run(run: Path, data: Dataset | None = None) -> list[Path]:
        (run / "figures").mkdir(exist_ok=True)
        return [run / "figures" / "none.png"]

    plots.plot_run = plot_run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "attend_infer_repeat.plots", plots)


pytestmark = pytest.mark.usefixtures("figures_apart")


def tiny(data: Path, objective: str = "exact", **changes: Any) -> TrainConfig:
    settings = {
        "data": str(data),
        "num_steps": 12,
        "batch_size": 6,
        "learning_rate": 1e-2,
        "lr_schedule": "cosine",
        "explore": 0.5 if objective == "exact" else 0.0,
        "explore_steps": 8,
        "composite_weight": 1.0 if objective == "exact" else 0.0,
        "composite_begin": 4,
        "anneal_prior": "exp",
        "anneal_prior_from": 1e-3,
        "anneal_prior_duration": 8,
        "eval_every": 4,
        "save_every": 5,
        "progress_every": 1,
        "model": TINY,
    }
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
    assert {path.name for path in run.iterdir()} >= {
        "config.json", "metrics.jsonl", "checkpoint", "tensorboard",
    }  # fmt: skip
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

    def run(config: TrainConfig, *arguments: Any) -> tuple[Path, bool]:
        given.append(config)
        return Path("run"), True

    monkeypatch.setattr("attend_infer_repeat.training._run", run)
    assert train(kind(name)) == Path("run")
    # A path is never the name of a data set.
    typed = f"./{name}" if kind is Path and not is_path(name) else name
    assert given == [_parse(["train", "--data", typed]).training]


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


def test_unlabelled_images_train_without_an_accuracy(data_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "unlabelled.npz"
    np.savez(path, images=np.load(data_file)["images"])
    run = train(tiny(path, num_steps=4), tmp_path / "run", quiet=True)
    (line,) = metrics(run, split="validation")
    assert line["count_accuracy"] is None
    assert line["confusion"] is None
    assert metrics(run, split="test") == []  # there is no unlabelled_test.npz


# Schedules


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_annealing_moves_the_models_count_prior(
    objective: str, data_file: Path, tmp_path: Path
) -> None:
    config = tiny(data_file, objective, num_steps=5, anneal_prior_duration=10)
    run = train(config, tmp_path / "run", quiet=True)
    success = AIR.load(run).model.success
    assert success.item() == count_prior_schedule(config)(4)  # that of the last step taken
    assert success.dtype == torch.float64
    assert config.anneal_prior_from < success < config.model.z_pres_prior


def test_the_count_prior_ends_where_it_is_annealed_to(data_file: Path) -> None:
    config = tiny(data_file)
    assert count_prior_schedule(config)(0) == 1e-3
    assert count_prior_schedule(config)(10_000) == TINY.z_pres_prior
    assert count_prior_schedule(replace(config, anneal_prior_to=0.2))(10_000) == 0.2
    assert count_prior_schedule(replace(config, anneal_prior_from=None))(0) == TINY.z_pres_prior
    constant = count_prior_schedule(replace(config, anneal_prior="none", anneal_prior_to=0.2))
    assert {constant(step) for step in (0, 4, 100)} == {TINY.z_pres_prior}


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


@pytest.mark.parametrize("guide", ["pursuit", "residual", "improved", "basic"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    objective: str, guide: str, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(data_file, objective, model=replace(TINY, guide=guide))
    straight = train(config, tmp_path / "straight", quiet=True)
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
    objective: str, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(data_file, objective)
    straight = train(config, tmp_path / "straight", quiet=True)
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
    assert read_checkpoint(run).train_config.num_steps == 20
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
        patch.setattr("attend_infer_repeat.training._finish", lambda *_: kill())
        with pytest.raises(Killed):
            train(config, tmp_path / "run", quiet=True)
    assert metrics(tmp_path / "run", split="test") == []
    train(config, resume=tmp_path / "run", quiet=True)
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
    weights["guide.rnn.step.weight"] = weights["guide.rnn.step.weight"][:, -8:]
    del weights["guide.z_where_init"], weights["guide.z_what_init"]
    air.state_dict = lambda: weights  # type: ignore[method-assign]
    save_checkpoint(tmp_path / "run" / "checkpoint", air, train_config=config, step=1)
    read = {
        "load": partial(AIR.load, tmp_path / "run"),
        "resume": partial(train, config, resume=tmp_path / "run", quiet=True),
    }
    with pytest.raises(CheckpointError, match=r"do not fit .* another version") as caught:
        read[use]()
    assert "\n" not in str(caught.value)


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
