"""What docs/reference/formats.md says of files is what is written: no key more, and none less."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from attend_infer_repeat import AIR, Scenes, load_dataset
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data.pictures.reading.array_files import NPZ_ARRAYS
from attend_infer_repeat.data.pictures.reading.decoding import SUFFIXES
from attend_infer_repeat.data.pictures.reading.labels import COUNTS_COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"


def section(heading: str) -> str:
    """Return the page's text below a heading, up to the next one, without cells of code."""
    text = re.sub(r"^```.*?^```$", "", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return found[heading]


def documented(heading: str, column: str, which: int = 0) -> list[str]:
    """Return the names in a table's first column, which has that header."""
    tables = re.findall(
        rf"^\| {re.escape(column)} \|.*\n\|.*\n((?:\|.*\n)+)", section(heading), re.M
    )
    cells = [row.split(" | ")[0] for row in tables[which].splitlines()]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def keys(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of an object's entries, those of objects in it as ``a.b`` and ``a[].b``."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield f"{prefix}{key}"
            yield from keys(entry, f"{prefix}{key}.")
    elif isinstance(value, list):
        for entry in value:
            yield from keys(entry, f"{prefix.rstrip('.')}[].")


def in_order(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train, infer and evaluate once, as the page does."""
    folder = tmp_path_factory.mktemp("formats")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for split, name in (("train", "scenes"), ("test", "scenes_test")):
            data = load_dataset("digits", split)[:100]
            np.savez(name, images=data.images, counts=data.counts, boxes=data.boxes)
        sizes = "--rnn-hidden-size 8 --predict-net 8 --encoder-net 8 --decoder-net 8"
        steps = "-n 4 -b 32 --progress-every 2"
        train = f"train --data scenes.npz --preset fast {steps} {sizes} --quiet --out"
        assert main(f"{train} run --composite-begin 1 --composite-every 1".split()) == 0
        behind = "--background-model constant --composite-weight 0"
        assert main(f"{train} behind {behind}".split()) == 0
        frames = [Image.fromarray(image) for image in data.images[data.counts > 0][:8]]
        frames[0].save("video.gif", save_all=True, append_images=frames[1:])
        Path("broken.png").write_text("not a picture")
        infer = "infer digits scenes_test.npz broken.png video.gif --samples 2 --quiet"
        assert main(f"{infer} --codes --reconstructions --out found".split()) == 1  # broken.png
        assert main("infer behind scenes_test.npz --quiet --out on_backgrounds".split()) == 0
        assert main(f"{infer} --format csv --no-annotate --out rows".split()) == 1
        assert main(f"{infer} --format coco --no-annotate --out coco".split()) == 1
    torch.set_default_dtype(before)
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_files_of_a_run(folder: Path) -> None:
    names = {path.name + ("/" if path.is_dir() else "") for path in (folder / "run").iterdir()}
    figures = {path.name for path in (folder / "run" / "figures").iterdir()}
    listed = set(documented("A run's folder", "file"))
    assert listed - {"report.html"} == names
    text = section("A run's folder")
    assert all(f"`{name}`" in text for name in figures)
    assert len(figures) == 5


def test_the_keys_of_config_json(folder: Path) -> None:
    record = json.loads((folder / "run" / "config.json").read_text())
    assert documented("config.json", "key") == list(record)
    assert all(f"`{name}`" in section("config.json") for name in record["versions"])


def test_the_keys_of_metrics(folder: Path) -> None:
    records = [
        record for run in ("run", "behind") for record in lines(folder / run / "metrics.jsonl")
    ]
    of_training = in_order([key for record in records if "split" not in record for key in record])
    of_evaluation = in_order([key for record in records if "split" in record for key in record])
    assert documented("metrics.jsonl", "key", 0) == of_training
    assert set(documented("metrics.jsonl", "key", 1)) == set(of_evaluation)


def test_the_files_and_tensors_of_a_checkpoint(folder: Path) -> None:
    checkpoint = folder / "run" / "checkpoint"
    names = {re.sub(r"-[0-9a-f]{16}\.", "-<sha256>.", path.name) for path in checkpoint.iterdir()}
    assert set(documented("checkpoint/", "file")) == names
    state = json.loads((checkpoint / "state.json").read_text())
    assert documented("checkpoint/", "key of `state.json`") == list(state)

    (path,) = checkpoint.glob("training-*")
    patterns = documented("checkpoint/", "names")
    absent = {"objective/baseline/*", "generator/cuda"}  # another objective's, a GPU's
    matches = {
        pattern: [n for n in load_file(path) if re.fullmatch(pattern.replace("*", ".*"), n)]
        for pattern in patterns
    }
    assert {pattern for pattern, names in matches.items() if not names} == absent
    assert {name for names in matches.values() for name in names} == load_file(path).keys()


def test_the_keys_of_the_json_lines(folder: Path) -> None:
    records = [
        r for run in ("found", "on_backgrounds") for r in lines(folder / run / "scenes.jsonl")
    ]
    written = in_order([key for record in records for key in keys(record)])
    assert set(documented("JSON lines", "key")) == set(written)
    assert any(line.get("count") for line in lines(folder / "found" / "scenes.jsonl"))


def test_the_columns_of_csv(folder: Path) -> None:
    with open(folder / "rows" / "scenes.csv", newline="") as file:
        assert documented("CSV", "column") == next(csv.reader(file))


def test_the_keys_of_coco(folder: Path) -> None:
    dataset = json.loads((folder / "coco" / "coco.json").read_text())
    parts = ("images[].", "annotations[].")
    written = in_order([key for key in keys(dataset) if key.startswith(parts)])
    assert set(documented("COCO", "field")) == {"info", "categories", *written}
    assert {"info", "categories", "images", "annotations"} == dataset.keys()
    (category,) = dataset["categories"]
    results = json.loads((folder / "coco" / "coco_results.json").read_text())
    text = section("COCO")
    assert all(f"`{name}`" in text for name in (*category, *results[0], *dataset["info"]))


def test_the_files_of_infer(folder: Path) -> None:
    listed = documented("The rest of `--out`", "file")
    found = folder / "found"
    settings = json.loads((found / "infer.json").read_text())
    assert documented("The rest of `--out`", "key of `infer.json`")[: len(settings)] == [*settings]
    pictures = [path.name for path in found.glob("*.png")]
    assert len(pictures) == len(list((found / "reconstructions").iterdir())) == 100 + 8
    others = {path.name for path in found.iterdir()} - {*pictures}
    assert others == {
        "infer.json",
        "scenes.jsonl",
        "sources.jsonl",
        "reconstructions",
        "z_what.npy",
    }
    assert {"infer.json", "NAME.png", "reconstructions/NAME.png", "z_what.npy"} <= {*listed}
    assert "sources.jsonl" in listed
    codes = np.load(found / "z_what.npy")
    num = sum(line.get("count", 0) for line in lines(found / "scenes.jsonl"))
    assert codes.dtype == "<f4"
    assert codes.shape == (num, settings["code_size"])


def test_the_keys_of_evaluate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_default_dtype(torch.float32)
    data = str(folder / "scenes.npz")
    assert main(["evaluate", str(folder / "run"), "--data", data, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    names = documented("`air evaluate --json`", "key")
    assert names == list(written)
    assert all(f"`{name}`" in section("`air evaluate --json`") for name in written["parts"])


def test_what_is_read() -> None:
    assert tuple(documented("A folder", "column")) == COUNTS_COLUMNS
    assert set(re.findall(r"`(\.[a-z]+)`", section("A folder").split("in any case")[0])) == {
        *SUFFIXES
    }
    assert tuple(documented("Arrays", "array")) == NPZ_ARRAYS


def test_the_outputs_of_an_exported_program() -> None:
    names = [field.name for field in dataclasses.fields(Scenes)]
    assert documented("reader.pt2", "output") == names
    torch.set_default_dtype(torch.float32)
    scenes = AIR.load("digits").infer(load_dataset("digits", "test").images[:2])
    for row in section("reader.pt2").splitlines():
        if row.startswith("| `"):
            name, _, kind = (cell.strip(" `") for cell in row.strip("|").split(" | "))
            if name != "z_background":  # this model has none
                assert str(getattr(scenes, name).dtype) == kind
