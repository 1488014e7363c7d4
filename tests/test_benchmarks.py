"""The benchmarks' scripts, as far as that takes no long measurement."""

from __future__ import annotations

import json
import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from attend_infer_repeat.cli import BENCHMARKS, main

Printed = Callable[..., list[str]]

ROOT = Path(__file__).parents[1]
OPTIONS = {name: ["--device", "cpu"] for name in ("throughput", "scaling", "objects")}


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """Run a benchmark's script as its command does, and return the lines that it prints."""

    def lines(name: str, *arguments: str) -> list[str]:
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, OPTIONS.get(name, [])) for name in BENCHMARKS), ("objects", ["--device", "cuda"])],
)
def test_documented_tables_are_those_of_the_committed_results(
    name: str, options: list[str], printed: Printed
) -> None:
    documented = (ROOT / "docs" / "performance.md").read_text()
    lines = [line for line in printed(name, "--table", *options) if line[:1] == "|"]
    assert len(lines) > 3
    assert [line for line in lines if line not in documented] == []


@pytest.mark.parametrize(
    ("name", "page"), [("pictures", "pictures"), ("many", "many"), ("codes", "details")]
)
def test_documented_figures_are_those_of_the_committed_results(
    name: str, page: str, printed: Printed
) -> None:
    documented = (ROOT / "docs" / f"{page}.md").read_text()
    lines = [line for line in printed(name, "table") if line]
    assert sum(line.startswith("|") for line in lines) > 2
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
