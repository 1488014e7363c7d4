"""Runs on the user's own images: found from everywhere, and known when they are others."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact import TINY
from PIL import Image

from attend_infer_repeat import ConfigError, DataError, TrainConfig, train
from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data import fingerprint
from attend_infer_repeat.training.data import load_held_out, load_training_data

NOISE = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
NOISE[:, 0] = 0
pytestmark = pytest.mark.usefixtures("no_figures")
CONFIG = TrainConfig(num_steps=2, batch_size=4, eval_every=0, composite_begin=1, model=TINY)


def fill(path: Path, indices: Any) -> None:
    """Put some of the noise into a folder, or into an archive if it is to be called so."""
    if path.suffix == ".npz":
        np.savez(path, images=NOISE[indices], counts=np.ones(len(indices), np.int64))
        return
    path.mkdir(parents=True, exist_ok=True)
    for i in indices:
        Image.fromarray(NOISE[i]).save(path / f"{i:02}.png")
    lines = "".join(f"{i:02}.png,1\n" for i in indices)
    (path / "counts.csv").write_text(f"file,count\n{lines}")


def fill_both(path: Path) -> None:
    """Fill the training and the test part."""
    fill(path, range(30))
    fill(path.with_stem(f"{path.stem}_test") if path.suffix else path / "test", range(30, 34))


@pytest.fixture(params=["pictures", "pictures.npz"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "here" / request.param
    path.parent.mkdir()
    fill_both(path)
    return path


def a_run(data: Path, folder: Path, **changes: Any) -> Path:
    config = replace(CONFIG, data=str(data), **changes)
    return train(config, folder / "run", quiet=True, figures=False)


def changed(data: Path, part: str, how: str) -> None:
    """Add, remove or exchange an image of the training or the test part."""
    if part == "test":
        data = data.with_stem(f"{data.stem}_test") if data.suffix else data / "test"
    first, last = (30, 34) if part == "test" else (0, 30)
    indices = {
        "added": [*range(first, last), 39],
        "removed": [*range(first, last - 1)],
        "exchanged": [*range(first, last - 1), 39],
    }[how]
    if data.is_dir():
        for path in data.glob("*.png"):
            path.unlink()
    fill(data, indices)


HOW = pytest.mark.parametrize("how", ["added", "removed", "exchanged"])


@pytest.mark.parametrize("how", ["added", "exchanged"])
def test_a_run_does_not_go_on_with_other_images(data: Path, how: str, tmp_path: Path) -> None:
    run = a_run(data, tmp_path)
    before = (run / "checkpoint" / "state.json").read_bytes()
    changed(data, "train", how)
    more = replace(CONFIG, data=str(data), num_steps=4)
    with pytest.raises(DataError, match=r"have changed since the run began \(30 images") as error:
        train(more, resume=run, quiet=True, figures=False)
    assert "\n" not in str(error.value)
    assert "--out" in str(error.value)
    assert (run / "checkpoint" / "state.json").read_bytes() == before


@HOW
@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_other_images_than_those_of_the_run_are_told_of(
    data: Path, how: str, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(CONFIG, data=str(data))
    parts = [load_training_data(config, part) for part in ("train", "test")]
    config = replace(config, fingerprints=tuple(map(fingerprint, parts)))
    caplog.set_level(logging.WARNING)
    load_training_data(config, split)
    assert caplog.messages == []
    part, num = ("test", 4) if split == "test" else ("train", 30)
    changed(data, part, how)
    load_training_data(config, split)
    (message,) = caplog.messages
    assert f"the {part} images have changed since the run was trained ({num} images" in message


def test_evaluate_and_report_tell_of_other_images(tmp_path: Path, capsys: Any) -> None:
    data = tmp_path / "pictures.npz"
    fill(data, range(30))
    run = a_run(data, tmp_path)
    evaluate = ["evaluate", str(run), "--split", "validation", "--json"]
    assert main(evaluate) == 0
    assert capsys.readouterr().err == ""
    changed(data, "train", "added")
    for arguments in (evaluate, ["report", str(run), "--samples", "0"]):
        assert main(arguments) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert "have changed since the run was trained (30 images then, 31 now)" in line


def test_data_given_by_a_relative_path_is_found_from_everywhere(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    run = a_run(Path(data.name), tmp_path)
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["dataset"]["data"] == str(data)
    monkeypatch.chdir("/")
    assert main(["evaluate", str(run), "--json"]) == 0
    assert main(["train", "--resume", str(run), "-n", "3", "--quiet"]) == 0
    assert read_checkpoint(run).step == 3


@pytest.mark.parametrize("form", ["relative", "absolute", "by a link", "roundabout"])
def test_a_run_goes_on_whatever_form_the_path_of_its_data_has(
    data: Path, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = a_run(data, tmp_path)
    (tmp_path / "link").symlink_to(data.parent)
    given = {
        "relative": data.relative_to(tmp_path),
        "absolute": data,
        "by a link": tmp_path / "link" / data.name,
        "roundabout": data.parent / ".." / data.parent.name / data.name,
    }[form]
    more = replace(CONFIG, data=str(given), num_steps=3)
    train(more, resume=run, quiet=True, figures=False)
    assert read_checkpoint(run).step == 3


def test_data_that_was_moved_is_missed_and_taken_from_where_it_is(
    data: Path, tmp_path: Path, capsys: Any
) -> None:
    run = a_run(data, tmp_path)
    there = tmp_path / "there"
    shutil.move(data.parent, there)
    for command in ("evaluate", "train --resume"):
        name, *options = command.split()
        assert main([name, *options, str(run), *(["-n", "3"] if options else [])]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(data) in line
    moved = ["--data", str(there / data.name)]
    assert main(["evaluate", str(run), *moved, "--json"]) == 0
    assert main(["train", "--resume", str(run), *moved, "-n", "3", "--quiet"]) == 0
    checkpoint = read_checkpoint(run)
    assert (checkpoint.step, checkpoint.train_config.dataset.data) == (3, str(there / data.name))
    assert main(["evaluate", str(run), "--json"]) == 0


def forget_fingerprints(run: Path) -> None:
    """Make of a run one of a version without fingerprints."""
    for path, place in ((run / "config.json", "config"), (run / "checkpoint/state.json", "train")):
        content = json.loads(path.read_bytes())
        del content[place]["fingerprints"]
        path.write_text(json.dumps(content))


def test_a_run_without_fingerprints_goes_on_and_is_measured_with_a_warning_where_it_matters(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = a_run(data, tmp_path)
    forget_fingerprints(run)
    config = read_checkpoint(run).train_config
    assert config.fingerprints is None
    load_training_data(config, "test")
    assert caplog.messages == []
    load_training_data(config, "validation")
    train(replace(CONFIG, data=str(data), num_steps=3), resume=run, quiet=True, figures=False)
    assert len(caplog.messages) == 2
    assert all("the run does not tell" in message for message in caplog.messages)
    fill(tmp_path / "other.npz", range(30))
    with pytest.raises(ConfigError, match="data: "):  # which is then known by its place alone
        train(replace(CONFIG, data=str(tmp_path / "other.npz"), num_steps=4), resume=run)


def test_a_test_part_that_cannot_be_read_stops_the_run_before_it_begins(
    data: Path, tmp_path: Path
) -> None:
    if data.is_dir():
        shutil.rmtree(data / "test")
        (data / "test").write_text("hello")
    else:
        data.with_stem("pictures_test").write_text("hello")
    with pytest.raises(DataError, match="test"):
        a_run(data, tmp_path)
    assert not (tmp_path / "run").exists()


def test_without_validation_all_images_are_trained_on_and_none_are_held_out(
    data: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, data=str(data), eval_every=1)
    run = train(config, tmp_path / "run", quiet=True, figures=False, validate=False)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("split") for line in lines if "split" in line] == ["test"]


@pytest.mark.parametrize("files", [[], ["notes.txt"], [".hidden.png", "sub/x.png"]])
def test_a_test_folder_without_images_is_no_test_part(
    files: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "pictures"
    fill(data, range(30))
    (data / "test").mkdir()
    for name in files:
        (data / "test" / name).parent.mkdir(exist_ok=True)
        (data / "test" / name).write_text("hello")
    run = a_run(data, tmp_path)
    assert [m for m in caplog.messages if "holds no images" in m] == caplog.messages
    assert len(caplog.messages) == 1
    config = read_checkpoint(run).train_config
    assert [part.split(":")[0] for part in config.fingerprints] == ["train"]
    assert load_held_out(config).split == "validation"
    with pytest.raises(DataError, match="no images"):
        load_training_data(config, "test")


def test_a_test_folder_whose_images_cannot_be_read_stops_the_run(tmp_path: Path) -> None:
    data = tmp_path / "pictures"
    fill(data, range(30))
    (data / "test").mkdir()
    (data / "test" / "x.png").write_text("hello")
    with pytest.raises(DataError, match="none of its 1 images can be read"):
        a_run(data, tmp_path)
    assert not (tmp_path / "run").exists()
