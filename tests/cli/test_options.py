"""Command lines from dataclasses: what is parsed, what is refused and how, what help shows."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest

from attend_infer_repeat.cli import main as cli
from attend_infer_repeat.cli.command import Command
from attend_infer_repeat.cli.help import help_of
from attend_infer_repeat.cli.main import COMMANDS, main, read_command
from attend_infer_repeat.cli.options import build, options_of
from attend_infer_repeat.cli.parsing import parse
from attend_infer_repeat.cli.train import OF_PYRO, Train
from attend_infer_repeat.config import TUTORIAL
from attend_infer_repeat.config.annotations import Positional, Suppress, arg
from attend_infer_repeat.errors import ConfigError

Size = Annotated[int, "above 0"]  # as those have it who check types


@dataclass(frozen=True)
class Inner:
    """Settings within a command."""

    sizes: tuple[int, ...] = (3, 4)
    """Sizes."""
    layers: Annotated[tuple[Size, ...] | None, "a list"] = None
    bias: Annotated[float, arg(aliases=("-bi",))] = 0.5
    """A number
    on two lines."""


@dataclass(frozen=True)
class Example(Command):
    """One
    paragraph.

    Examples:
      air x   comment
      air longer
    """  # noqa: D205 - lines that are joined

    essential: ClassVar = ("bias",)

    model: Positional[str]
    """What to open."""
    files: Positional[Annotated[tuple[str, ...], arg(metavar="FILE...")]] = ()
    inner: Inner = Inner()
    out: Path | None = None
    bold: bool = False
    kind: Literal["a", "b"] = "a"
    num: Annotated[int, arg(aliases=("-n",))] = 1
    hidden: Suppress[int] = 7


def parsed(line: str) -> Example:
    given = parse(options_of(Example), line.split(), lambda flag: None)
    return build(Example, given)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("m", Example("m")),
        ("m a b --bold", Example("m", ("a", "b"), bold=True)),
        ("m a --num 3 b", Example("m", ("a", "b"), num=3)),
        ("--num=3 m", Example("m", num=3)),
        ("-n3 m", Example("m", num=3)),
        ("m -n 3 -n 4", Example("m", num=4)),
        ("m --no-bold", Example("m")),
        ("m --out a/b", Example("m", out=Path("a/b"))),
        ("m --out None", Example("m")),
        ("m --kind b", Example("m", kind="b")),
        ("m --sizes", Example("m", inner=Inner(sizes=()))),
        ("m --sizes 1 2", Example("m", inner=Inner(sizes=(1, 2)))),
        ("m --layers None", Example("m")),
        ("m --layers 5", Example("m", inner=Inner(layers=(5,)))),
        ("m --bias -1e-3", Example("m", inner=Inner(bias=-1e-3))),
        ("m -bi -2", Example("m", inner=Inner(bias=-2.0))),
        ("m -", Example("m", ("-",))),
        ("m -- --num a_b", Example("m", ("--num", "a_b"))),
    ],
)
def test_a_command_line_is_read(line: str, expected: Example) -> None:
    assert parsed(line) == expected


def test_options_may_have_underscores_and_values_keep_theirs() -> None:
    line = ["m", "--out=a_b"]
    assert build(Example, parse(options_of(Example), line, lambda f: None)).out == Path("a_b")
    config = read_command("train --num_steps 3 --learning_rate=1e-2".split()).training
    assert (config.optimizer.num_steps, config.optimizer.learning_rate) == (3, 1e-2)


@dataclass(frozen=True)
class Parts:
    """Settings in parts, two of which have a field of one name."""

    first: Inner = Inner()
    second: Inner = field(default_factory=lambda: Inner(sizes=(9,)))
    bias: Suppress[int] = 3


def test_fields_of_one_name_are_one_option_that_sets_all_of_them() -> None:
    options = options_of(Parts)
    assert [option.name for option in options] == ["sizes", "layers", "bias"]
    given = parse(options, "--bias 2 --layers 4".split(), lambda flag: None)
    first, second = Inner((3, 4), (4,), 2.0), Inner((9,), (4,), 2.0)
    assert build(Parts, given) == Parts(first, second, bias=3)


@dataclass(frozen=True)
class Switch:
    """A setting that may be left to be found out."""

    is_dark: Literal["auto", "yes", "no"] = "auto"
    files: Positional[tuple[str, ...]] = ()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a --is-dark b", Switch("yes", ("a", "b"))),
        ("--no-is-dark a", Switch("no", ("a",))),
        ("--is-dark no a", Switch("no", ("a",))),
        ("--is-dark=auto a", Switch("auto", ("a",))),
        ("--is_dark", Switch("yes")),
        ("-- --is-dark", Switch("auto", ("--is-dark",))),
    ],
)
def test_an_option_of_the_values_yes_and_no_may_stand_alone(line: str, expected: Switch) -> None:
    assert build(Switch, parse(options_of(Switch), line.split(), lambda flag: None)) == expected


def test_only_what_was_given_is_changed() -> None:
    given = parse(options_of(Example), "m --sizes 1".split(), lambda flag: None)
    base = Example("x", inner=Inner(bias=9.0), num=8)
    assert build(Example, given, base) == Example("m", (), Inner((1,), bias=9.0), num=8)


MISTAKES = {
    "train --dta x": "air: unknown option --dta. Did you mean --data?",
    "train --dta=x": "air: unknown option --dta. Did you mean --data?",
    "infer m a.png --ouput x": "air: unknown option --ouput. Did you mean --out?",
    "train --batch 3": "air: unknown option --batch. Did you mean --batch-size?",
    "train -l 5": "air: unknown option -l. Did you mean -lr?",
    "train --xyzzy": "air: unknown option --xyzzy; see air train --help.",
    "train --baseline- 3": "Did you mean --baseline-learning-rate or --baseline-scalar?",
    "train -n": "air: -n/--num-steps: needs a value; see air train --help.",
    "train --out --quiet": "air: --out: needs a value; see air train --help.",
    "train -n ten": "air: -n/--num-steps: expected a whole number, got 'ten'; see air train",
    "train -n 1.5": "-n/--num-steps: expected a whole number, got '1.5'",
    "train -lr fast": "-lr/--learning-rate: expected a number, got 'fast'",
    "train --predict-net 3 x": "--predict-net: expected a whole number, got 'x'",
    "train --objective exakt": "--objective: unknown 'exakt', known are exact, tracegraph. Did you",
    "train -n 1 2": "air: unexpected '2': -n takes one value; see air train --help.",
    "train --quiet 2": "air: unexpected '2': --quiet takes no value; see air train --help.",
    "train --quiet=2": "air: --quiet: takes no value, got '2'; see air train --help.",
    "train picture.png": "air: unexpected 'picture.png'; see air train --help.",
    "plot a b": "air: unexpected 'b': there is one RUN only; see air plot --help.",
    "plot": "air: RUN is missing: a run's folder; see air plot --help.",
    "evaluate": "air: MODEL is missing: a run's folder, a checkpoint's, or the name of shipped",
    "benchmark": "air: NAME is missing: throughput, before, latency",
    "infer m a.png --preset x": "unknown option --preset: it belongs to air train; see air infer",
    "sample m --split test": "--split: it belongs to air evaluate, air codes, air report; see",
    "trian": "Did you mean 'train'?",
    "help trian": "Did you mean 'train'?",
    "--bogus": "air: unknown option --bogus; the commands are train,",
    "": "air: no command; the commands are train,",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_usage_error_is_one_line_that_says_what_to_do(line: str, capsys) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert MISTAKES[line] in err
    assert err.count("\n") == 1
    assert err.isascii()


def in_terminal(arguments: list[str], **environment: str) -> tuple[int, str]:
    """Run `air` on a terminal of its own; return the exit code and what is shown there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(environment)
        os.execv(sys.executable, [sys.executable, "-m", "attend_infer_repeat", *arguments])
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not part:
            break
        shown += part
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return code, shown.decode().replace("\r\n", "\n")


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("line", ["train --dta x", "train -n ten", "trian", "infer"])
def test_a_terminal_shows_the_same_line_as_a_pipe(line: str) -> None:
    program = [sys.executable, "-m", "attend_infer_repeat", *line.split()]
    piped = subprocess.run(program, capture_output=True, text=True)
    assert in_terminal(line.split(), TERM="xterm-256color") == (2, piped.stderr)
    assert piped.returncode == 2
    assert piped.stderr.count("\n") == 1


# Pyro's examples/air/main.py, by its own names.
PYRO = (
    "-n 1 --num-steps 1 -b 2 --batch-size 2 -lr 1e-4 --learning-rate 1e-4 -blr 0.1 "
    "--baseline-learning-rate 0.1 --progress-every 1 --eval-every 0 --baseline-scalar 2 "
    "--encoder-net 9 8 --decoder-net 8 9 --predict-net 7 --embed-net 6 --bl-predict-net 5 "
    "--non-linearity ReLU --save-every 100 -t 2 --model-steps 2 --rnn-hidden-size 6 "
    "--encoder-latent-size 4 --decoder-output-bias -2 --decoder-output-use-sigmoid "
    "--window-size 5 --z-pres-prior 0.9 --z-pres-prior-raw --anneal-prior exp "
    "--anneal-prior-to 1e-7 --anneal-prior-begin 0 --anneal-prior-duration 100 "
    "--pos-prior-mean 0 --pos-prior-sd 1 --scale-prior-mean 3 --scale-prior-sd 0.1 "
    "--no-masking --seed 1"
)


def test_the_options_of_pyros_example_are_taken_where_there_is_the_same() -> None:
    config = read_command(["train", "--preset", "tutorial", *PYRO.split()]).training
    assert config.model.inference.encoder_net == (9, 8)
    assert config.model.appearance.decoder_output_bias == -2
    assert config.estimator.baseline_scalar == 2


@pytest.mark.parametrize("flag", ["--no-baselines", "--no-baseline"])
def test_baselines_are_left_out_by_the_abbreviation_of_pyros_tests_too(flag: str) -> None:
    assert not read_command(["train", "--preset", "tutorial", flag]).training.estimator.baselines


@pytest.mark.parametrize("flag", OF_PYRO)
def test_other_options_of_pyros_are_answered_by_what_takes_their_place(flag: str, capsys) -> None:
    assert main(["train", "--preset", "tutorial", flag, "value"]) == 2
    assert capsys.readouterr().err == f"air: unknown option {flag}: {OF_PYRO[flag]}\n"


def test_what_takes_their_place_is_there() -> None:
    flags = {flag for kind in COMMANDS.values() for o in options_of(kind) for flag in o.flags}
    assert not flags & OF_PYRO.keys()
    named = set(re.findall(r"--[a-z-]+", " ".join(OF_PYRO.values())))
    assert named == {"--device", "--compile", "--eval-every", "--out", "--resume"}
    assert named <= flags


def printed(arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


LINES = [[], *([name] for name in COMMANDS)]


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("name", LINES, ids=" ".join)
def test_help_fits_its_terminal(name, columns, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = printed([*name, "--help"], capsys).splitlines()
    examples = [line for line in lines if re.match("  (air|find|torchrun) ", line)]  # never broken
    assert all(len(line) <= min(columns, 100) for line in lines if line not in examples)
    assert len(examples) >= 1 or not name


def test_texts_are_joined_before_they_are_wrapped(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert help_of("x", Example, None, short=True).splitlines()[2:-2] == [
        *("One paragraph.", "", "Examples:", "  air x  comment", "  air longer", "", "Options:"),
        "  -bi, --bias X           A number on two lines. (default: 0.5)",
    ]
    monkeypatch.setenv("COLUMNS", "40")
    assert help_of("x", Example, None, short=True).split("\n\n")[-2].splitlines()[1:] == [
        "  -bi, --bias X",
        "             A number on two lines.",
        "             (default: 0.5)",
    ]


@pytest.mark.parametrize("name", LINES, ids=" ".join)
def test_help_is_plain_text_without_python(name: list[str], capsys) -> None:
    text = printed([*name, "--help"], capsys)
    assert text.isascii()
    assert not re.search(r"\{None\}|\[INT|\bINT\b|\bSTR\b|\bFLOAT\b|\bNone\b|True\)|False\)", text)


@pytest.mark.parametrize("name", LINES, ids=" ".join)
def test_air_help_is_help(name: list[str], capsys) -> None:
    assert printed(["help", *name], capsys) == printed([*name, "--help"], capsys)


@pytest.mark.parametrize("name", [name for name, kind in COMMANDS.items() if kind.essential])
def test_short_help_is_a_part_of_help(name: str, capsys) -> None:
    assert set(COMMANDS[name].essential) <= {option.name for option in options_of(COMMANDS[name])}
    short, full = printed([name, "-h"], capsys), printed([name, "--help"], capsys)
    assert f"air {name} --help shows all" in short
    assert len(short.splitlines()) < len(full.splitlines())
    options = re.findall(r"^  (--?\w.*)", short, re.MULTILINE)
    assert len(options) >= 4
    assert all(f"  {option}\n" in full for option in options)


def test_the_help_of_training_stands_in_groups(capsys) -> None:
    text = printed(["train", "--help"], capsys)
    headings = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert headings == ["Examples", *dict.fromkeys(Train.headings.values())]
    assert Train.headings.keys() <= {option.name for option in options_of(Train)}


def test_every_option_has_a_text() -> None:
    for kind in COMMANDS.values():
        assert [option.name for option in options_of(kind) if not option.help] == []


def test_a_presets_defaults_are_shown_also_when_another_option_is_wrong(capsys) -> None:
    for more in ([], ["--device"], ["--resume", "nowhere"]):
        text = printed(["train", "--preset", "tutorial", *more, "--help"], capsys)
        shown = f"(default: {TUTORIAL.optimizer.num_steps})" in text
        assert shown is not bool(more)


def test_a_presets_defaults_are_its_own_whatever_is_given(capsys) -> None:
    text = printed("train --preset tutorial -n 5 --help".split(), capsys)
    assert f"(default: {TUTORIAL.optimizer.num_steps})" in text


@pytest.mark.parametrize(
    "line", ["train -n 3", "train --preset tutorial -h", "train --dta", "infer -n", "plot a --help"]
)
def test_a_command_line_is_read_once(line: str, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(cli, "parse", lambda *a: calls.append(a) or parse(*a))
    with contextlib.suppress(ConfigError, SystemExit):
        read_command(line.split())
    assert len(calls) == 1


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_is_printed_and_in_help(flag: str, capsys) -> None:
    assert re.fullmatch(r"air \d+\.\d+\.\d+\n", printed([flag], capsys))
    assert flag in printed(["--help"], capsys)


def test_python_m_is_the_same_command(capsys) -> None:
    program = [sys.executable, "-m", "attend_infer_repeat", "-V"]
    run = subprocess.run(program, capture_output=True, text=True, check=True)
    assert run.stdout == printed(["-V"], capsys)


def test_values_are_refused_by_their_settings(capsys) -> None:
    with pytest.raises(ConfigError, match="num_steps"):
        read_command("train -n 0".split())
