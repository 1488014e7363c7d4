"""What the pages for contributors, and the settings of their tools, say of the project is so."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from attend_infer_repeat import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "attend_infer_repeat"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*ROOT.glob("*.md"), *ROOT.glob(".github/**/*.md"), *ROOT.glob(".github/**/*.yml"))
}
CONTRIBUTING = PAGES["CONTRIBUTING.md"]
MAKE = re.compile(r"(?:`|^ {4}|run: )make ((?:[a-z-]+ )*[a-z-]+)", re.MULTILINE)
"""`make` with its targets: between backticks, in a block, or as a step of a workflow."""


def test_every_make_target_that_contributors_are_told_of_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {page: set(" ".join(MAKE.findall(text)).split()) for page, text in PAGES.items()}
    assert named["CONTRIBUTING.md"] >= {name for name in targets if name.startswith("test")}
    assert named["CONTRIBUTING.md"] >= {"setup", "test", "lint"}
    assert named[".github/PULL_REQUEST_TEMPLATE.md"] >= {"test", "lint"}
    assert named[".github/workflows/docs.yml"] == {"docs"}
    assert [(page, names - targets) for page, names in named.items() if names - targets] == []


def test_every_file_that_contributors_are_told_of_exists() -> None:
    names = set(re.findall(r"[`(]([\w./-]+\.(?:cff|md|py|toml|txt))[`)]", CONTRIBUTING))
    folders = ("tests", "benchmarks", "docs")
    paths = [f"/{path.relative_to(ROOT)}" for name in folders for path in (ROOT / name).rglob("*")]
    paths += [f"/{path.name}" for path in ROOT.iterdir()]
    assert len(names) > 5
    assert [name for name in names if not any(path.endswith(f"/{name}") for path in paths)] == []


def test_the_map_of_the_house_has_every_folder_and_no_other() -> None:
    drawn = re.findall(r"^    (\w+)/ ", CONTRIBUTING, re.MULTILINE)
    assert sorted(drawn) == sorted({path.parent.name for path in PACKAGE.glob("*/*.py")})


def test_citation_and_changelog_are_of_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert re.search(rf"(?<![\d.]){re.escape(__version__)}(?![\d.]*\d)", PAGES["CHANGELOG.md"])


def test_pre_commit_runs_the_tested_ruff() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    [rev] = [repo["rev"] for repo in config["repos"] if repo["repo"].endswith("/ruff-pre-commit")]
    assert f"ruff=={rev.removeprefix('v')}" in (ROOT / "constraints.txt").read_text().splitlines()


def test_ci_runs_every_python_that_the_package_declares() -> None:
    declared = re.findall(r":: Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    jobs = yaml.safe_load(PAGES[".github/workflows/ci.yml"])["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == declared
