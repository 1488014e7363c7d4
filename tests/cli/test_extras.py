"""What is left without the packages that only one feature needs, and what is said about them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attend_infer_repeat.errors import MissingError, extra

PYPROJECT = (Path(__file__).parents[2] / "pyproject.toml").read_text()
EXTRAS = {
    name: [package.replace("-", "_") for package in re.findall(r'"([a-z0-9-]+)>=', packages)]
    for name, packages in re.findall(r"^(\w+) = \[(.*)\]$", PYPROJECT, re.MULTILINE)
    if name in re.findall(r"\w+", re.search(r"^all = .*\[(.*)\]\"", PYPROJECT, re.M)[1])
}
ABSENT = {package for packages in EXTRAS.values() for package in packages}

COMMANDS = {
    "train": "train --data data.npz --preset fast -n 4 -b 8 --window-size 6 --rnn-hidden-size 8 "
    "--encoder-latent-size 4 --encoder-net 8 --decoder-net 8 --predict-net 8 --eval-every 2 "
    "--out run",
    "evaluate": "evaluate run --split train --json",
    "infer": "infer run picture.png --out found",
    "sample": "sample run",
    "plot": "plot run",
    "report": "report run",
    "serve": "serve run --port 0",
}

# Runs command lines in a process in which packages are as good as not installed.
PROGRAM = """
import contextlib, io, json, sys
absent, lines = json.loads(sys.argv[1])
sys.modules |= dict.fromkeys(absent)  # None: there is no such module
from attend_infer_repeat.cli.main import main
for name, line in lines.items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line.split())
    print(json.dumps([name, code, out.getvalue(), err.getvalue()]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with scenes whose boxes are known, and one of their images."""
    folder = tmp_path_factory.mktemp("extras")
    rng = np.random.default_rng(0)
    images = np.zeros((40, 12, 14), dtype=np.uint8)
    boxes = np.full((40, 1, 4), np.nan)
    for i in range(0, 40, 2):
        x, y = rng.integers(0, 8, size=2)
        images[i, y : y + 4, x : x + 4] = 255
        boxes[i, 0] = x, y, x + 4, y + 4
    counts = (np.arange(40) + 1) % 2
    np.savez(folder / "data.npz", images=images, counts=counts, boxes=boxes)
    Image.fromarray(images[0]).save(folder / "picture.png")
    return folder


@pytest.fixture(scope="module")
def ran(folder: Path) -> dict[str, tuple[int, str, str]]:
    """Return exit code, output and errors of each command."""
    program = [sys.executable, "-c", PROGRAM, json.dumps([sorted(ABSENT), COMMANDS])]
    printed = subprocess.run(program, cwd=folder, check=True, capture_output=True, text=True).stdout
    lines: list[Any] = [json.loads(line) for line in printed.splitlines()]
    return {name: (code, out, err) for name, code, out, err in lines}


def test_the_extras_are_those_of_the_features() -> None:
    assert {
        *("matplotlib", "jinja2", "pycocotools", "tensorboard", "lightning_fabric"),
        *("fastapi", "uvicorn", "av", "imagecodecs", "tifffile", "distributed", "zarr"),
    } == ABSENT
    assert set(re.findall(r"^all = .*\[(.*)\]\"", PYPROJECT, re.M)[0].split(",")) == EXTRAS.keys()


@pytest.mark.long
def test_training_goes_on_and_tells_once_what_is_left_out(ran, folder: Path) -> None:
    code, _, err = ran["train"]
    assert code == 0
    left_out = [line for line in err.splitlines() if line.startswith("Left out: ")]
    assert sorted(re.findall(r"needs (\w+), .*\[(\w+)\]'$", "\n".join(left_out), re.M)) == [
        ("matplotlib", "plots"),
        ("pycocotools", "coco"),
        ("tensorboard", "tensorboard"),
    ]
    assert len(left_out) == 3
    assert "Saved run" in err
    metrics = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in metrics if "split" in record] == [2, 4]
    assert not (folder / "run" / "tensorboard").exists()
    assert list((folder / "run").glob("checkpoint/*.safetensors"))


@pytest.mark.long
def test_evaluation_leaves_out_what_pycocotools_measures(ran) -> None:
    code, out, _ = ran["evaluate"]
    assert code == 0
    result = json.loads(out)
    assert result["box_ap50"] is None
    assert result["count_accuracy"] is not None


@pytest.mark.long
def test_inference_lacks_nothing(ran, folder: Path) -> None:
    code, out, err = ran["infer"]
    assert (code, err) == (0, "")
    assert json.loads(out)["file"] == "picture.png"
    with Image.open(folder / "found" / "picture.png") as annotated:
        assert min(annotated.size) > 100


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "package", "name"),
    [
        ("sample", "matplotlib", "plots"),
        ("plot", "matplotlib", "plots"),
        ("report", "jinja2", "report"),
        ("serve", "fastapi", "web"),
    ],
)
def test_a_command_that_cannot_do_without_is_refused_in_one_line(
    command: str, package: str, name: str, ran
) -> None:
    code, out, err = ran[command]
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("air: ")
    assert err.endswith(
        f" needs {package}, which is not installed; pip install 'attend-infer-repeat[{name}]'\n"
    )


def test_the_outermost_feature_is_named() -> None:
    absent = pytest.raises(MissingError)
    with absent as raised, extra("report", "air report"), extra("plots", "a figure"):
        import no_such_package.part  # noqa: F401
    assert str(raised.value) == (
        "air report needs no_such_package, which is not installed; "
        "pip install 'attend-infer-repeat[report]'"
    )
    assert isinstance(raised.value, ImportError)
