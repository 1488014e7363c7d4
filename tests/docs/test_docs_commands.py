"""Every command line in the README and the documentation is one that the programs accept.

In blocks a command stands as it is typed. Inline, between backticks, it may be a way to speak of
one, as in `air infer --out`: what it lacks is filled in, what it has must be known.
"""

from __future__ import annotations

import functools
import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from attend_infer_repeat.cli import main as cli
from attend_infer_repeat.cli.benchmark import BENCHMARKS
from attend_infer_repeat.cli.train import base_config
from attend_infer_repeat.config import TrainConfig, get_preset
from attend_infer_repeat.errors import ConfigError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]

COMMAND = re.compile(r"(air|python benchmarks/\w+\.py)(\s|$)")
# Settings of the environment, and torchrun with its own options.
BEFORE = re.compile(r"^(?:\w+=\S*\s+)*(?:torchrun\s.*?--no-python\s+)?")
# Redirections, a comment, the next command.
AFTER = re.compile(r"\s(?:\d?>|<|#|;|\|\|)")
FENCED = re.compile(r"^```.*?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Command(NamedTuple):
    """A command line, and where it stands."""

    page: str
    text: str
    inline: bool

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def in_blocks(text: str) -> Iterator[str]:
    """Yield the lines of code blocks, continued lines joined, shell variables filled in."""
    indented = [m.group() for m in re.finditer(r"(?:^ {4}.*\n)+", FENCED.sub("", text), re.M)]
    for block in [*FENCED.findall(text), *indented]:
        block = re.sub(r"\\\n\s*", " ", block)
        variables = dict(re.findall(r'^(\w+)="(.*)"$', block, re.MULTILINE))
        for line in block.splitlines():
            for name, value in variables.items():
                line = line.replace(f"${name}", value)
            yield line


def commands(page: str, text: str) -> Iterator[Command]:
    """Yield the command lines of a page."""
    spans = re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCED.sub("", text))
    for line, inline in [(x, False) for x in in_blocks(text)] + [(x, True) for x in spans]:
        for part in re.split(r"\s(?:\||&&)\s", " ".join(line.split())):
            found = AFTER.split(BEFORE.sub("", part))[0].strip()
            if COMMAND.match(found):
                yield Command(page, found, inline)


FOUND = [
    command
    for page in PAGES
    for command in commands(page.relative_to(ROOT).as_posix(), page.read_text())
]
OF_AIR = [c for c in FOUND if c.text.startswith("air") and "benchmark" not in c.words[1:2]]
OF_BENCHMARKS = [c for c in FOUND if c not in OF_AIR]


def parse(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a command of `air` as it does itself, without running it: ConfigError if it does not.

    Whatever --resume names is taken for a run of the default preset.
    """

    def without_a_run(preset: str | None, data: str | None, resume: Path | None) -> TrainConfig:
        return get_preset("fast") if resume is not None else base_config(preset, data, resume)

    monkeypatch.setattr("attend_infer_repeat.cli.train.base_config", without_a_run)
    words = [word.replace("COMMAND", "train") for word in command.words[1:]]
    if not words:
        return
    name, *rest = words
    tries = [words]
    if command.inline:  # a model and a picture, the value of the last option
        tries += [[name, *given, *rest, *last] for given in ((), "M", "MP") for last in ((), "1")]
    failures = []
    for arguments in tries:
        try:
            with redirect_stdout(io.StringIO()):
                cli.read_command(list(arguments))
        except ConfigError as error:
            failures.append(error)
        except SystemExit as end:  # --help, --version
            if end.code:
                raise
            return
        else:
            return
    raise failures[0]


@functools.cache
def script_help(script: str, subcommand: str | None) -> str:
    """Return what a benchmark's --help prints."""
    printed, argv, path = io.StringIO(), sys.argv, list(sys.path)
    sys.argv = [script, *([subcommand] if subcommand else []), "--help"]
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        with redirect_stdout(printed), suppress(SystemExit):
            runpy.run_path(str(ROOT / "benchmarks" / script), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = argv, path
    return printed.getvalue()


def check_benchmark(command: Command) -> None:
    """Look the script and its options up: AssertionError if one is not there."""
    words = command.words
    if words[0] == "air":
        words = words[1:]  # benchmark NAME ...
        if len(words) == 1:
            return
        assert words[1] in BENCHMARKS
        script, options = f"{words[1]}.py", words[2:]
    else:
        script, options = Path(words[1]).name, words[2:]
    assert (ROOT / "benchmarks" / script).is_file()
    subcommand = options[0] if options and not options[0].startswith("-") else None
    if subcommand is not None:
        assert re.search(rf"[{{,]{subcommand}[,}}]", script_help(script, None)), subcommand
    for option in options:
        if option.startswith("-"):
            assert re.search(rf"{option}\b", script_help(script, subcommand)), option


def test_commands_of_all_kinds_are_found() -> None:
    assert len({command.text for command in OF_AIR}) >= 40
    assert len({command.text for command in OF_BENCHMARKS}) >= 12
    assert {command.page for command in FOUND} >= {"README.md", "docs/pictures.md"}
    named = {command.words[1] for command in OF_AIR if len(command.words) > 1}
    assert named >= cli.COMMANDS.keys() - {"benchmark"}
    sources = """
    AIR_DATA_DIR=a/b air train --data multi-mnist \\
        -n 20 --out runs/x   # why
    find . -name '*.png' | air infer runs/x - > found.jsonl

```bash
given="-n 3"
OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 --no-python air train $given 2> /dev/null
```
Or `python benchmarks/codes.py
table`, not `air` itself, nor fresh air train."""
    assert [command.text for command in commands("page", sources)] == [
        "air train -n 3",
        "air train --data multi-mnist -n 20 --out runs/x",
        "air infer runs/x -",
        "python benchmarks/codes.py table",
        "air",
    ]


def test_documented_commands_of_air_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = []
    for command in dict.fromkeys(OF_AIR):
        try:
            parse(command, monkeypatch)
        except ConfigError as error:
            wrong.append(f"{command.page}: {command.text}: {error}")
    assert wrong == []


def test_documented_benchmarks_are_accepted() -> None:
    for command in dict.fromkeys(OF_BENCHMARKS):
        check_benchmark(command)


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "air train --batch 64",
        "air train --preset tutorial --bl-net 200",
        "air infer runs/mnist picture.png --output found",
        "air evaluate --importance 100",
        "air explain runs/mnist",
    ],
)
def test_a_renamed_option_is_not_accepted(
    text: str, inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError):
        parse(Command("page", text, inline), monkeypatch)


@pytest.mark.parametrize(
    "text",
    [
        "python benchmarks/reproduce.py run --seed 0",
        "python benchmarks/reproduce.py tables",
        "python benchmarks/reproduction.py table",
        "air benchmark throughput --compiled",
    ],
)
def test_a_renamed_benchmark_is_not_accepted(text: str) -> None:
    with pytest.raises(AssertionError):
        check_benchmark(Command("page", text, False))
