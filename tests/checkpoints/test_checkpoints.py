"""Checkpoints: what was saved is what is loaded, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import TINY, make_air, random_images

from attend_infer_repeat import AIR, CheckpointError, ModelConfig, TrainConfig
from attend_infer_repeat.checkpoints import versions
from attend_infer_repeat.checkpoints.checkpoint import (
    JOURNAL_FILE,
    read_checkpoint,
    save_checkpoint,
)
from attend_infer_repeat.checkpoints.versions import commit_of
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.config import flat, to_dict
from attend_infer_repeat.config.base import in_parts
from attend_infer_repeat.storage import owned

BASIC = replace(TINY, guide="basic", z_pres_prior_raw=True, embed_net=(5,), channels=3)


def weights_file(folder: Path, part: str = "model") -> Path:
    (path,) = folder.glob(f"{part}-*.safetensors")
    return path


def kinds(folder: Path) -> list[str]:
    """Return the names of a folder's files without their hashes."""
    return sorted(f"{path.stem.split('-')[0]}{path.suffix}" for path in folder.iterdir())


def assert_same_weights(first: AIR, second: AIR) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
        assert ours[name].dtype == theirs[name].dtype, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", [TINY, BASIC], ids=["improved", "basic"])
def test_a_loaded_model_infers_what_the_saved_one_did(
    config: ModelConfig, dtype: torch.dtype, tmp_path: Path
) -> None:
    torch.set_default_dtype(dtype)
    air = make_air(config, gain=3)
    air.model.count_prior.success.fill_(
        1e-10
    )  # as annealing leaves it; in float64, whatever the weights are
    air.save(tmp_path / "model")
    loaded = AIR.load(tmp_path / "model")
    assert loaded.config == config
    assert_same_weights(air, loaded)
    images = random_images(6, config)
    one, other = air.infer(images, sample=True), loaded.infer(images, sample=True)
    for name in ("counts", "count_probs", "boxes", "z_what", "reconstruction"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_runs_folder_leads_to_its_checkpoint(tmp_path: Path) -> None:
    air = make_air()
    config = TrainConfig(model=TINY, seed=4)
    training = {"adam/exp_avg/x": torch.arange(3.0), "generator/cpu": torch.get_rng_state()}
    save_checkpoint(
        tmp_path / "checkpoint", air, train_config=config, step=7, seconds=1.5, training=training
    )
    for given in (tmp_path, tmp_path / "checkpoint", str(tmp_path)):
        checkpoint = read_checkpoint(given)
        assert checkpoint.model_config == TINY
        assert checkpoint.train_config == config
        assert (checkpoint.step, checkpoint.seconds) == (7, 1.5)
        restored = checkpoint.tensors("training")
        assert restored.keys() == training.keys()
        assert all(torch.equal(restored[name], training[name]) for name in training)
        assert_same_weights(AIR.load(given), air)


def test_a_model_without_a_run_has_no_training_state(tmp_path: Path) -> None:
    make_air().save(tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.train_config is None
    with pytest.raises(CheckpointError, match="no training state"):
        checkpoint.tensors("training")


def test_a_checkpoint_holds_nothing_that_could_run(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make_air(), step=3, training={"x": torch.ones(1)})
    assert kinds(tmp_path) == ["model.safetensors", "state.json", "training.safetensors"]


def test_a_second_save_leaves_no_stale_files(tmp_path: Path) -> None:
    for step in (3, 4):
        save_checkpoint(tmp_path, make_air(), step=step, training={"x": torch.ones(1)})
    save_checkpoint(tmp_path, make_air(), step=5)
    assert kinds(tmp_path) == ["model.safetensors", "state.json"]
    assert read_checkpoint(tmp_path).step == 5


OTHERS = (
    *("mine.safetensors", "model.safetensors", "model-final.safetensors", "training-1.safetensors"),
    *("model-0123456789abcdef.safetensors", "model-0123456789ABCDEF.safetensors"),
    *("notes.tmp", ".notes.tmp", ".notes.0123abcd.tmp", "state.json.tmp", "next.json", ".lock"),
)


def test_files_of_the_users_stay_whatever_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OTHERS:
        (tmp_path / name).write_text(name)
    make_air(seed=1).save(tmp_path)
    with monkeypatch.context() as patch:
        crash_at(patch, "state")
        with pytest.raises(Crash):
            make_air(seed=2).save(tmp_path)
    make_air(seed=3).save(tmp_path)
    assert all((tmp_path / name).read_text() == name for name in OTHERS)
    assert len(os.listdir(tmp_path)) == len(OTHERS) + 2
    assert_same_weights(AIR.load(tmp_path), make_air(seed=3))


@pytest.mark.parametrize("content", ["[1, 2]", '{"lives": 3}', "notes", '{"sha256": 3}'])
def test_another_programs_state_is_not_replaced(content: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"state\.json: not a checkpoint's"):
        make_air().save(tmp_path)
    assert os.listdir(tmp_path) == ["state.json"]
    assert (tmp_path / "state.json").read_text() == content


# Damage


@pytest.mark.parametrize("where", [0, 100, -1])
def test_a_flipped_byte_is_noticed(where: int, tmp_path: Path) -> None:
    make_air().save(tmp_path)
    path = weights_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=path.name):
        AIR.load(tmp_path)


@pytest.mark.parametrize("size", [0, 4, 500])
def test_truncated_weights_are_noticed(size: int, tmp_path: Path) -> None:
    make_air().save(tmp_path)
    path = weights_file(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=path.name):
        AIR.load(tmp_path)


@pytest.mark.parametrize("part", ["model", "training"])
def test_missing_tensors_are_noticed(part: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make_air(), training={"x": torch.ones(1)})
    path = weights_file(tmp_path, part)
    path.unlink()
    with pytest.raises(CheckpointError, match=path.name):
        read_checkpoint(tmp_path).tensors(part)


def without(key: str) -> Callable[[str], str]:
    return lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != key})


def with_value(key: str, value: object) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | {key: value})


DAMAGE: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "not an object": lambda text: "[]",
    "null": lambda text: "null",
    **{f"without {key}": without(key) for key in ("model", "train", "step", "seconds", "sha256")},
    "model of another version": with_value("model", {"color": True}),
    "model out of range": with_value("model", {"channels": -1}),
    "model is a list": with_value("model", []),
    "train is a number": with_value("train", 3),
    "sha256 is null": with_value("sha256", None),
    "sha256 is empty": with_value("sha256", {}),
    "sha256 is a list": with_value("sha256", ["model"]),
    **{
        f"sha256 of the model is {value!r}": with_value("sha256", {"model": value})
        for value in (None, 3, [], "", "0" * 63, "G" * 64, "../../../../x" + "0" * 51)
    },
    "sha256 of another part": with_value("sha256", {"model": "0" * 64, "../x": "0" * 64}),
    **{
        f"{key} is {value!r}": with_value(key, value)
        for key in ("step", "seconds")
        for value in (None, "3", [], {}, True, -1, float("nan"), float("inf"))
    },
    "step is a fraction": with_value("step", 1.5),
    "model with a number that no float holds": with_value("model", {"likelihood_sd": 10**400}),
    "nested without end": lambda text: "[" * 100_000,
    "train of other sizes": lambda text: with_value("train", to_dict(TrainConfig()))(text),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_json_is_noticed_and_named(damage: Callable[[str], str], tmp_path: Path) -> None:
    make_air().save(tmp_path)
    state = tmp_path / "state.json"
    state.write_text(damage(state.read_text()))
    with pytest.raises(CheckpointError, match=r"state\.json"):
        AIR.load(tmp_path)


SIZES: dict[str, tuple[ModelConfig, dict[str, object]]] = {
    "window": (TINY, {"window_size": 10**6}),
    "window beyond 64 bits": (TINY, {"window_size": 10**12}),
    "layers": (TINY, {"decoder_net": [10**9, 10**9]}),
    "memory": (TINY, {"rnn_hidden_size": 10**9}),
    "codes": (TINY, {"encoder_latent_size": 10**9}),
    "channels": (TINY, {"channels": 10**9}),
    "canvas": (replace(TINY, guide="memoryless"), {"canvas_size": [10**6, 10**6]}),
    "canvas beyond 64 bits": (TINY, {"canvas_size": [10**12, 10**12]}),
    "one side": (replace(TINY, guide="memoryless"), {"canvas_size": [1, 10**9]}),
    "steps": (TINY, {"model_steps": 10**12}),
    "steps without a bound": (
        replace(TINY, guide="memoryless", unbounded=True),
        {"step_limit": 10**12},
    ),
}


@pytest.mark.parametrize(("config", "sizes"), SIZES.values(), ids=SIZES)
def test_sizes_that_no_memory_holds_are_refused_before_it_is_taken(
    config: ModelConfig, sizes: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    make_air(config).save(tmp_path)
    state = tmp_path / "state.json"
    values = json.loads(state.read_text())
    values["model"] = in_parts(ModelConfig, flat(config) | sizes)
    state.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"state\.json"):
        AIR.load(tmp_path)
    assert main(["evaluate", str(tmp_path), "--data", "digits"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def with_header(change: Callable[[dict[str, dict[str, object]]], None]) -> Callable[[bytes], bytes]:
    """Change the header of a safetensors file."""

    def changed(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + length :]

    return changed


def change_all(**values: object) -> Callable[[bytes], bytes]:
    def change(header: dict[str, dict[str, object]]) -> None:
        for entry in header.values():
            entry.update(values)

    return with_header(change)


WEIGHTS_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "garbage": lambda content: bytes(range(256)) * 40,
    "text": lambda content: b"not weights at all, but long enough for a header",
    "a header of 2**63 bytes": lambda content: (2**63).to_bytes(8, "little") + content[8:],
    "truncated": lambda content: content[:-1],
    "with more": lambda content: content + b"x",
    "a header that is a list": lambda content: (2).to_bytes(8, "little") + b"[]",
    "no tensors": lambda content: (2).to_bytes(8, "little") + b"{}",
    "no shapes": with_header(lambda header: [entry.pop("shape") for entry in header.values()]),
    "shapes of text": change_all(shape=["x"]),
    "negative shapes": change_all(shape=[-1]),
    "huge shapes": change_all(shape=[10**30]),
    "offsets elsewhere": change_all(data_offsets=[10**15, 10**16]),
    "offsets of text": change_all(data_offsets="xy"),
    "an unknown type": change_all(dtype="F7"),
    "numbers without infinity": change_all(dtype="F8_E4M3"),
    "a tensor less": with_header(lambda header: header.pop(min(header))),
}


@pytest.mark.parametrize("damage", WEIGHTS_DAMAGE.values(), ids=WEIGHTS_DAMAGE)
def test_damaged_weights_are_named_in_one_line_though_their_digest_agrees(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    make_air().save(tmp_path)
    content = damage(weights_file(tmp_path).read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / f"model-{digest[:16]}.safetensors").write_bytes(content)
    state = tmp_path / "state.json"
    state.write_text(with_value("sha256", {"model": digest})(state.read_text()))
    with pytest.raises(CheckpointError, match=digest[:16]) as raised:
        AIR.load(tmp_path)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value: float, tmp_path: Path) -> None:
    names = make_air().state_dict().keys()
    for name in (*sorted(names)[::7], "model.z_where_loc", "model.count_prior.success"):
        air = make_air()
        air.state_dict()[name].flatten()[-1:].fill_(value)
        air.save(tmp_path)
        with pytest.raises(CheckpointError, match=f"{name} is not finite"):
            AIR.load(tmp_path)


def test_weights_in_training_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    training = {"weights/x": torch.tensor([1.0, torch.nan]), "objective/y": torch.ones(1)}
    save_checkpoint(tmp_path, make_air(), training=training)
    with pytest.raises(CheckpointError, match="x is not finite"):
        read_checkpoint(tmp_path).tensors("training")


def test_json_that_is_not_text_is_noticed(tmp_path: Path) -> None:
    make_air().save(tmp_path)
    (tmp_path / "state.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"state\.json"):
        AIR.load(tmp_path)


def test_weights_of_another_config_are_refused(tmp_path: Path) -> None:
    make_air().save(tmp_path)
    state = tmp_path / "state.json"
    values = json.loads(state.read_text())
    values["model"]["inference"]["rnn_hidden_size"] = 9
    state.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="do not fit"):
        AIR.load(tmp_path)


def repository(folder: Path, package: Path, project: str, tracked: bool) -> str:
    """Make a repository with a package in it, and return its commit."""
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{project}"\n')
    (folder / "mine.txt").touch()

    def git(*command: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        return subprocess.run(
            ["git", "-C", str(folder), *identity, *command],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    git("init", "-q")
    git("add", "." if tracked else "mine.txt")
    git("commit", "-q", "-m", "first")
    return git("describe", "--always", "--dirty")


@pytest.mark.parametrize(
    ("inside", "project", "tracked", "recorded"),
    [
        ("attend_infer_repeat", "attend-infer-repeat", True, True),
        (".venv/lib/site-packages/attend_infer_repeat", "mine", False, False),
        (".venv/lib/site-packages/attend_infer_repeat", "mine", True, False),
        (".venv/lib/site-packages/attend_infer_repeat", "attend-infer-repeat", True, False),
        ("attend_infer_repeat", "mine", True, False),  # a copy among the user's own packages
        ("attend_infer_repeat", "attend-infer-repeat", False, False),
    ],
)
def test_a_commit_is_recorded_only_of_a_checkout_of_this_project(
    inside: str,
    project: str,
    tracked: bool,
    recorded: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    commit = repository(tmp_path / "a", tmp_path / "a" / inside, project, tracked)
    repository(tmp_path / "b", tmp_path / "b" / "x", "another", True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "b" / ".git"))  # as in a hook of b's
    assert commit_of(tmp_path / "a" / inside) == (commit if recorded else None)


def test_without_a_repository_or_without_git_no_commit_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "attend_infer_repeat").mkdir()
    assert commit_of(tmp_path / "attend_infer_repeat") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path / "attend_infer_repeat") is None


def test_git_is_asked_once_however_many_checkpoints_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.versions()
    asked: list[object] = []
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: asked.append(command))
    for step in range(3):
        save_checkpoint(tmp_path, make_air(), step=step)
    assert asked == []


def test_a_place_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path.name}: holds no checkpoint"):
        AIR.load(tmp_path)
    with pytest.raises(CheckpointError, match=r"nowhere: no such"):
        AIR.load(tmp_path / "nowhere")


# Interruption


class Crash(Exception):
    """What ends a save half-way."""


def crash_at(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """Let the save stop just before a file that starts with ``prefix`` takes its place."""
    replace_file = os.replace

    def crashing(source: Path, target: Path) -> None:
        if Path(target).name.startswith(prefix):
            raise Crash
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", crashing)


@pytest.mark.parametrize("steps", [(3, 4), (3, 3)], ids=["later step", "same step"])
@pytest.mark.parametrize("prefix", ["model", "training", "state"])
def test_an_interrupted_save_leaves_the_previous_checkpoint(
    prefix: str, steps: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_air(seed=1), make_air(seed=2)
    save_checkpoint(tmp_path, old, step=steps[0], training={"x": torch.zeros(1)})
    with monkeypatch.context() as patch:
        crash_at(patch, prefix)
        with pytest.raises(Crash):
            save_checkpoint(tmp_path, new, step=steps[1], training={"x": torch.ones(1)})
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.step == steps[0]
    assert_same_weights(AIR.load(tmp_path), old)
    assert checkpoint.tensors("training")["x"] == 0

    save_checkpoint(tmp_path, new, step=5)
    assert_same_weights(AIR.load(tmp_path), new)


@pytest.mark.parametrize("prefix", ["model", "training", "state"])
def test_the_save_after_an_interrupted_one_clears_up(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, prefix)
        with pytest.raises(Crash):
            save_checkpoint(tmp_path, make_air(), step=3, training={"x": torch.ones(1)})
    save_checkpoint(tmp_path, make_air(), step=4)
    assert kinds(tmp_path) == ["model.safetensors", "state.json"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("prefix", ["model", "training", "state", JOURNAL_FILE, "removal"])
def test_the_save_after_one_that_was_killed_clears_up(prefix: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make_air(seed=1), step=1, training={"x": torch.zeros(1)})
    child = os.fork()
    if not child:  # killed between two moves, or before it removes what it has replaced
        move, remove = os.replace, os.unlink

        def crashing(source: str, target: str) -> None:
            if Path(target).name.startswith(prefix):
                os._exit(9)
            move(source, target)

        def removing(path: str, **options: int) -> None:
            if prefix == "removal" and "safetensors" in str(path):
                os._exit(9)
            remove(path, **options)

        os.replace, os.unlink = crashing, removing  # type: ignore[assignment]
        save_checkpoint(tmp_path, make_air(seed=2), step=2, training={"x": torch.ones(1)})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert read_checkpoint(tmp_path).step == (2 if prefix == "removal" else 1)
    assert_same_weights(AIR.load(tmp_path), make_air(seed=2 if prefix == "removal" else 1))
    save_checkpoint(tmp_path, make_air(seed=3), step=3)
    assert kinds(tmp_path) == ["model.safetensors", "state.json"]


def test_a_checkpoint_is_loaded_while_others_take_its_place(tmp_path: Path) -> None:
    models = [make_air(seed=seed) for seed in (1, 2)]
    models[0].save(tmp_path)
    ended = threading.Event()

    def save_on_and_on() -> None:
        while not ended.is_set():
            for air in models:
                air.save(tmp_path)

    writer = threading.Thread(target=save_on_and_on)
    writer.start()
    try:
        for _ in range(100):
            loaded = AIR.load(tmp_path).state_dict()
            assert any(
                all(torch.equal(value, air.state_dict()[name]) for name, value in loaded.items())
                for air in models
            )
    finally:
        ended.set()
        writer.join()


# What is not read


@pytest.mark.parametrize("name", ["model.pt", "weights.pth", "x.ckpt", "x.pkl", "without-suffix"])
def test_a_pickle_is_refused_unread_with_the_reason(name: str, tmp_path: Path) -> None:
    trap = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trap,)

    path = tmp_path / name
    torch.save({"weights": Trap()}, path)
    with pytest.raises(CheckpointError, match="a pickle, which can run any program"):
        AIR.load(path)
    if path.suffix:  # beside others in a folder
        with pytest.raises(CheckpointError, match="a pickle"):
            AIR.load(tmp_path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="a pickle"):
        AIR.load(path)
    assert not trap.exists()


def test_another_file_is_refused(tmp_path: Path) -> None:
    make_air().save(tmp_path)
    for path in (tmp_path / "state.json", weights_file(tmp_path)):
        with pytest.raises(CheckpointError, match="give a folder that"):
            AIR.load(path)


def test_a_name_that_nearly_is_one_that_is_shipped_is_suggested() -> None:
    with pytest.raises(CheckpointError, match="Did you mean 'multi-mnist'"):
        AIR.load("multi-mnits")


def test_a_save_waits_for_another_one_to_the_same_folder(tmp_path: Path) -> None:
    first, folder = ExitStack(), tmp_path / "model"
    first.enter_context(owned(folder))
    timer = threading.Timer(0.2, first.close)
    timer.start()
    make_air().save(folder)
    timer.join()
    AIR.load(folder)


@pytest.mark.parametrize("guide", ["pursuit", "memoryless", "improved"])
def test_a_model_of_large_canvases_is_loaded_as_it_was_saved(guide: str, tmp_path: Path) -> None:
    """Such a model's sizes are checked before any memory is taken."""
    config = ModelConfig(canvas_size=(96, 96), channels=3, guide=guide)
    air = AIR(config)
    air.save(tmp_path / "saved")
    loaded = AIR.load(tmp_path / "saved")
    assert_same_weights(air, loaded)
    images = random_images(2, config)
    torch.testing.assert_close(vars(loaded.infer(images)), vars(air.infer(images)), equal_nan=True)
