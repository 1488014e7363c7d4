"""The benchmarks' scripts, as far as that takes no long measurement."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from attend_infer_repeat.cli import BENCHMARKS, main

ROOT = Path(__file__).parents[1]
OPTIONS = {name: ["--device", "cpu"] for name in ("throughput", "scaling", "objects")}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_documented_tables_are_those_of_the_committed_results(name: str) -> None:
    command = [sys.executable, f"benchmarks/{name}.py", "--table", *OPTIONS.get(name, [])]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    documented = (ROOT / "docs" / "performance.md").read_text()
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(lines) > 3
    assert [line for line in lines if line not in documented] == []


def test_documented_figures_of_own_pictures_are_those_of_the_committed_results() -> None:
    command = [sys.executable, "benchmarks/pictures.py", "table"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    documented = (ROOT / "docs" / "pictures.md").read_text()
    lines = printed.splitlines()
    assert len(lines) > 6
    assert [line for line in lines if line not in documented] == []


def test_documented_figures_of_many_objects_are_those_of_the_committed_results() -> None:
    command = [sys.executable, "benchmarks/many.py", "table"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    documented = (ROOT / "docs" / "many.md").read_text()
    lines = printed.splitlines()
    assert len(lines) > 6
    assert [line for line in lines if line not in documented] == []


def test_documented_figures_of_the_codes_are_those_of_the_committed_results() -> None:
    command = [sys.executable, "benchmarks/codes.py", "table"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    documented = (ROOT / "docs" / "details.md").read_text()
    lines = [line for line in printed.splitlines() if line]
    assert sum(line.startswith("| z_what") for line in lines) == 3
    assert [line for line in lines if line not in documented] == []


def test_results_name_command_machine_and_versions() -> None:
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        result = json.loads(path.read_text())
        assert result["command"].startswith("air benchmark")
        assert {"cpu", "cores", "threads", "versions"} <= result["machine"].keys()
        assert result["machine"]["versions"]["commit"]


def test_the_reference_takes_training_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from reference import Reference

    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    reference = Reference(torch.rand(8, 50, 50), batch_size=4)
    before = {name: value.clone() for name, value in reference.named_parameters()}
    assert all(math.isfinite(reference.step()) for _ in range(2))
    unmoved = [n for n, value in reference.named_parameters() if torch.equal(value, before[n])]
    assert unmoved == []


def test_a_benchmarks_options_reach_its_script(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "latency", "--bogus"])
    assert end.value.code == 2
    assert "--bogus" in capfd.readouterr().err


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "latencies"]) == 2
    assert "Did you mean 'latency'?" in capsys.readouterr().err
