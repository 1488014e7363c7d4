"""Runs and weights of earlier versions: they are read, measured and gone on with as before.

``tests/fixtures/run-6b500e8`` was written by the code of commit 6b500e8: ``run`` by the command in
its ``config.json``; ``evaluations.json`` by ``air evaluate run --json``; and the model in
``resumed.safetensors`` by ``air train --resume run -n 12`` on a copy. Only the images' path, which
was absolute, has been replaced by ``IMAGES``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from attend_infer_repeat import AIR, evaluate, load_dataset, train
from attend_infer_repeat.checkpoints.checkpoint import load_checkpoint
from attend_infer_repeat.checkpoints.find import shipped
from attend_infer_repeat.checkpoints.names import current_names
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.config import TrainConfig, flat, replace, to_dict
from attend_infer_repeat.config.migrate import VERSION, migrate
from attend_infer_repeat.errors import CheckpointError
from attend_infer_repeat.training.run import resumable

OLD = Path(__file__).parents[1] / "fixtures" / "run-6b500e8"


@pytest.fixture(autouse=True)
def single_precision() -> Iterator[None]:
    """Compute as the command did."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(dtype)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a copy of the old run, which finds its images."""
    folder = tmp_path / "run"
    shutil.copytree(OLD / "run", folder)
    for file in (folder / "config.json", folder / "checkpoint" / "state.json"):
        images = json.dumps(str(OLD / "images.npz"))
        file.write_text(file.read_text().replace('"IMAGES"', images))
    return folder


def test_an_old_run_is_loaded_with_its_settings(run: Path) -> None:
    record = json.loads((run / "config.json").read_text())["config"]
    checkpoint, air = load_checkpoint(run, AIR)
    config = checkpoint.train_config
    assert config is not None
    assert config == resumable(run)[0]
    assert config.model == air.config
    model = record.pop("model")
    written = record | model | {"channels": record["channels"], "model.channels": model["channels"]}
    assert written.pop("composite_share") == 0.5  # which is the only one now
    del written["propose_net"]  # which it did not use
    found = json.loads(json.dumps(flat(config)))
    defaults = json.loads(json.dumps(flat(TrainConfig())))
    assert found == written | {name: defaults[name] for name in ADDED}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_old_run_is_measured_as_it_was(run: Path, split: str) -> None:
    expected = json.loads((OLD / "evaluations.json").read_text())[split]
    data = load_dataset(OLD / "images.npz", split, invert="no")
    found = evaluate(AIR.load(run), data).to_dict()
    assert found["confusion"] == expected["confusion"]
    assert found["elbo"] == pytest.approx(expected["elbo"], rel=1e-5)
    assert found["parts"] == pytest.approx(expected["parts"], rel=1e-5)


def test_an_old_run_goes_on_to_the_same_weights(run: Path) -> None:
    config = resumable(run)[0]
    train(replace(config, num_steps=12), resume=run, quiet=True, figures=False)
    written = load_file(OLD / "resumed.safetensors")
    expected = current_names(written)
    weights = AIR.load(run).state_dict()
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_are_read_with_the_settings_that_were_written(name: str) -> None:
    checkpoint, air = load_checkpoint(name, AIR)
    written = json.loads((checkpoint.folder / "state.json").read_text())
    assert checkpoint.train_config is not None
    for config, kind in ((air.config, "model"), (checkpoint.train_config, "train")):
        assert json.loads(json.dumps(to_dict(config))) == filled(to_dict(config), written[kind])


ADDED = {
    "range",
    "subtract",
    "subtract_level",
    "subtract_width",
    "objects",
    "contrast",
    "stretch",
} | {
    "common_image",
    "select",
    "presence_bound",
    "inhibition",
    "count_spread",
    "trained_colors",
    "composite_zoom",
    "refinement",
    "size_range",
}
"""Settings that came since, whose defaults are what was done before."""


def filled(config: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    """Return written settings with the defaults of those that came since."""
    defaults = flat(TrainConfig())
    return {
        name: filled(value, written[name])
        if isinstance(value, dict)
        else json.loads(json.dumps(defaults[name]))
        if name in ADDED
        else written[name]
        for name, value in config.items()
    }


def refusal(run: Path, path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line that refuses a run of which a file holds something else."""
    path.write_text(content)
    if path.name == "config.json":  # it is read of a run without a checkpoint
        shutil.rmtree(run / "checkpoint")
    assert main(["train", "--resume", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    return line


@pytest.mark.parametrize("file", ["config.json", "checkpoint/state.json"])
def test_what_a_newer_version_wrote_is_refused_with_one_line(run: Path, file: str, capsys) -> None:
    path = run / file
    newer = json.loads(path.read_text()) | {"version": VERSION + 1}
    line = refusal(run, path, json.dumps(newer), capsys)
    assert f"of version {VERSION + 1}, and this package reads versions up to {VERSION}" in line
    assert "update it: pip install" in line


@pytest.mark.parametrize(
    ("written", "instead", "named"),
    [
        ('"composite_share": 0.5', '"composite_share": 1.0', "composite_share 1.0"),
        ('"guide": "memoryless"', '"guide": "residual"', "guide 'residual'"),
        ('"guide": "memoryless"', '"guide": "pursuit"', "guide 'pursuit'"),
    ],
)
@pytest.mark.parametrize("file", ["config.json", "checkpoint/state.json"])
def test_what_this_version_can_no_longer_do_is_refused_with_one_line(
    run: Path, file: str, written: str, instead: str, named: str, capsys
) -> None:
    path = run / file
    assert written in path.read_text()
    line = refusal(run, path, path.read_text().replace(written, instead), capsys)
    assert f"{named}: of an earlier version" in line
    assert "train anew" in line


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.5, None])
def test_what_is_no_version_is_damage(run: Path, version: object) -> None:
    path = run / "checkpoint" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    with pytest.raises(CheckpointError, match="damaged or of another version: version is"):
        load_checkpoint(run, AIR)


def test_elimination_is_a_part_of_refinement() -> None:
    written = {"version": 3, "config": {"model": {"inference": {"elimination": True}}}}
    read = migrate(written, "config.json")
    assert read == {
        "version": VERSION,
        "config": {"model": {"inference": {"refinement": True}}},
    }


def test_what_is_written_is_of_this_version_and_stays_as_it_is(run: Path) -> None:
    train(replace(resumable(run)[0], num_steps=9), resume=run, quiet=True, figures=False)
    for file in ("config.json", "checkpoint/state.json"):
        record = json.loads((run / file).read_text())
        assert record["version"] == VERSION
        assert migrate(record, file) == record
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["model"]["appearance"]["window_size"] == 6
