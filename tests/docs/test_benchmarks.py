"""The benchmarks' scripts, as far as that takes no long measurement."""

from __future__ import annotations

import json
import math
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from attend_infer_repeat.cli.benchmark import BENCHMARKS
from attend_infer_repeat.cli.main import main

Printed = Callable[..., list[str]]

ROOT = Path(__file__).parents[2]
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


TABLES = {  # the benchmarks whose tables stand on a page, and their options
    "performance": [
        *((name, "--table", *OPTIONS.get(name, [])) for name in BENCHMARKS),
        ("objects", "--table", "--device", "cuda"),
    ],
    "pictures": [("pictures", "table"), ("real", "table"), ("intervals", "table")],
    "howto/large": [("large", "table")],
    "many": [("many", "table")],
    "details": [(name, "table") for name in ("reproduce", "ablation", "objective", "codes")],
}
MEASURED = re.compile(r"\d\.\d+%")
"""What only a benchmark can have put into a table."""


@pytest.fixture
def page(request: pytest.FixtureRequest, printed: Printed) -> tuple[str, list[str]]:
    """Return a page and the lines that its benchmarks print."""
    text = (ROOT / "docs" / f"{request.param}.md").read_text()
    lines = [line for command in TABLES[request.param] for line in printed(*command)]
    return text, [line for line in lines if line]


def rows(lines: list[str]) -> list[str]:
    """Return the lines that belong to tables."""
    return [line for line in lines if line.startswith("|")]


@pytest.mark.parametrize("page", TABLES, indirect=True)
def test_documented_tables_are_those_of_the_committed_results(page: tuple[str, list[str]]) -> None:
    documented, lines = page
    assert len(rows(lines)) > 3
    assert [line for line in rows(lines) if line not in documented.splitlines()] == []


@pytest.mark.parametrize("page", TABLES, indirect=True)
def test_no_documented_table_is_of_other_results(page: tuple[str, list[str]]) -> None:
    """A row that was measured is printed, and so is every row under a header that is printed."""
    documented, lines = page
    kept, header = set(rows(lines)), ""
    stale = []
    for line in documented.splitlines():
        if not line.startswith("|"):
            header = ""
        header = header or line
        ours = header in kept or MEASURED.search(line) is not None
        if line.startswith("|") and ours and line not in kept:
            stale.append(line)
    assert stale == []


@pytest.mark.parametrize("page", ["pictures", "many", "details"], indirect=True)
def test_documented_sentences_are_those_of_the_committed_results(
    page: tuple[str, list[str]],
) -> None:
    documented, lines = page
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
