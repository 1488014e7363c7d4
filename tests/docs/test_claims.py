"""The figures in README and on the cards of weights are those of the committed results."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint
from attend_infer_repeat.checkpoints.find import WEIGHTS, shipped

ROOT = Path(__file__).parents[2]
NAMES = "demo objective reproduced hour throughput objects codes tutorial".split()

FIGURE = re.compile(r"\d+(?:\.\d+)?%")
"""What must be measured, wherever it stands in README."""
ASKED = ("98%", "99%", "95%")
"""Thresholds and intervals: they are stated, not measured."""


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], list[str]]]:
    """Return what makes README's sentences of the committed results."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from claims import CLAIMS

    return {make.__name__: make for make in CLAIMS}


def prose(path: Path) -> str:
    """Return a page on one line, sentences beginning with small letters."""
    text = " ".join(path.read_text().split())
    return re.sub(r"(?<=[.:;] )[A-Z](?=[a-z])", lambda letter: letter[0].lower(), text)


@pytest.mark.parametrize("name", NAMES)
def test_readme_says_what_the_committed_results_say(
    name: str, claims: dict[str, Callable[[], list[str]]]
) -> None:
    page = prose(ROOT / "README.md")
    assert [claim for claim in claims[name]() if claim not in page] == []


def test_no_percentage_in_readme_is_without_a_committed_result(
    claims: dict[str, Callable[[], list[str]]],
) -> None:
    assert sorted(claims) == sorted(NAMES)
    page = prose(ROOT / "README.md")
    for make in claims.values():
        for claim in make():
            page = page.replace(claim, "")
    assert [figure for figure in FIGURE.findall(page) if figure not in ASKED] == []


@pytest.mark.parametrize("name", shipped())
def test_a_card_is_made_of_the_committed_measurement_of_the_same_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import weights
    from runs import read_result

    result = read_result(weights.FOLDER / f"{name}.json")
    assert result["sha256"] == read_checkpoint(WEIGHTS / name).sha256["model"]
    assert (WEIGHTS / name / "README.md").read_text() == weights.card(name)
