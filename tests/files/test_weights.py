"""The weights that come with the package: whole, small, and as good as their cards say."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attend_infer_repeat import AIR, DataError, load_dataset
from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint
from attend_infer_repeat.checkpoints.find import WEIGHTS, shipped
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data import Dataset

NAMES = ("digits", "multi-mnist", "sprites")


def card(name: str) -> str:
    return (WEIGHTS / name / "README.md").read_text()


def few_scenes(name: str) -> Dataset:
    try:
        return load_dataset(name, "test")[:400]
    except DataError as error:  # MNIST is neither here nor to be had
        pytest.skip(str(error))


def test_the_promised_weights_are_there() -> None:
    assert set(shipped()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_safetensors_with_the_checksum_on_their_card(name: str) -> None:
    files = sorted(path.name for path in (WEIGHTS / name).iterdir())
    (weights,) = (file for file in files if file.endswith(".safetensors"))
    assert files == ["README.md", weights, "state.json"]
    content = (WEIGHTS / name / weights).read_bytes()
    assert len(content) < 8 * 2**20
    digest = hashlib.sha256(content).hexdigest()
    assert digest in card(name)
    assert read_checkpoint(name).sha256 == {"model": digest}


@pytest.mark.parametrize("name", NAMES)
def test_weights_were_trained_by_the_command_on_their_card(name: str) -> None:
    command = re.search(r"`air train --data (\S+) -n (\d+) --lr-schedule (\w+)(.*?)`", card(name))
    config = read_checkpoint(name).train_config
    assert config is not None
    assert command is not None
    assert (
        config.dataset.data,
        str(config.optimizer.num_steps),
        config.optimizer.lr_schedule,
    ) == command.groups()[:3]
    assert (config.model.framing.boxes == "ink") == ("--boxes ink" in command[4])
    for heading in ("Data", "Command", "Measured", "Limits"):
        assert f"**{heading}" in card(name)


@pytest.mark.parametrize("name", NAMES)
def test_weights_count_as_well_as_their_card_says(name: str) -> None:
    torch.set_default_dtype(torch.float32)
    data = few_scenes(name)
    claimed = float(re.search(r"count accuracy \| ([\d.]+)%", card(name))[1]) / 100
    right = (AIR.load(name).infer(data.images).counts == data.counts).mean()
    assert claimed > 0.99
    # Five standard errors of 400 scenes.
    assert right >= claimed - 5 * (claimed * (1 - claimed) / len(data)) ** 0.5


def test_a_digit_on_paper_is_found_at_once(tmp_path: Path, capsys) -> None:
    torch.set_default_dtype(torch.float32)
    scene = load_dataset("digits", "test")
    rows = np.flatnonzero(scene.counts == 1)[:5]
    for i in rows:  # drawn larger, dark on paper, on a page of another shape
        digit = Image.fromarray(scene.images[i]).resize((200, 200), Image.Resampling.BICUBIC)
        page = np.full((200, 260), 235.0)
        page[:, 30:230] -= 0.8 * np.asarray(digit)
        Image.fromarray(page.astype(np.uint8)).save(tmp_path / f"{i}.jpg")
    assert main(["infer", "digits", str(tmp_path)]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["count"] for record in records] == [1] * 5
    for i, record in zip(sorted(map(str, rows)), records, strict=True):
        x0, y0, x1, y1 = 4 * scene.boxes[int(i), 0] + np.array([30, 0, 30, 0])
        u0, v0, u1, v1 = record["objects"][0]["box"]
        overlap = max(min(x1, u1) - max(x0, u0), 0) * max(min(y1, v1) - max(y0, v0), 0)
        union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - overlap
        assert overlap / union > 0.4


def test_a_shipped_model_is_evaluated_and_sampled_by_its_name(tmp_path: Path, capsys) -> None:
    assert main(["sample", "sprites", "-n", "3", "--out", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").is_file()
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 50, 50), np.uint8), counts=np.zeros(4, int))
    command = ["evaluate", "sprites", "--data", str(tmp_path / "x.npz"), "--split", "train"]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["count_accuracy"] == 1
