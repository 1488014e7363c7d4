"""The command ``air``. Torch is imported only once a command needs it, so help is instant."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import AirError, ConfigError, Stopped, nearest
from ..version import __version__
from .benchmark import Benchmark
from .codes import Codes
from .command import Command
from .evaluate import Evaluate
from .help import HELP, SHORT_HELP, help_of, help_of_all
from .infer import Infer
from .options import options_of
from .parsing import parse
from .plot import Plot
from .process import prepare_messages
from .report import Report
from .sample import Sample
from .serve import Serve
from .streams import explain, is_interrupt, standard_streams
from .train import OF_PYRO, Train

COMMANDS: dict[str, type[Command]] = {
    "train": Train,
    "evaluate": Evaluate,
    "codes": Codes,
    "infer": Infer,
    "sample": Sample,
    "plot": Plot,
    "report": Report,
    "serve": Serve,
    "benchmark": Benchmark,
}
VERSION = ("-V", "--version")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 2 after a user's mistake, or 130 after Ctrl-C.

    `air infer` returns 1 if a picture could not be read. A disk, a file or a stream that fails is
    one line and 2, too.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with standard_streams():
        try:
            return _run(arguments)
        except BaseException as error:
            if not is_interrupt(error):
                raise
            if not isinstance(error, Stopped):
                print("air: interrupted", file=sys.stderr)
            return 130


def _run(arguments: list[str]) -> int:
    try:
        try:
            command = read_command(arguments)
            prepare_messages()
            code = command.run() or 0
        except SystemExit:  # what was printed before may not have been written yet
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return code
    except AirError as error:
        print(f"air: {error}", file=sys.stderr)
    except BrokenPipeError:  # whoever read the output has seen enough
        return 0
    except OSError as error:
        print(f"air: {explain(error)}", file=sys.stderr)
    return 2


def read_command(arguments: Sequence[str]) -> Command:
    """Turn arguments into a command.

    Raises: ConfigError of one line for a usage error; SystemExit once help is printed.
    """
    name, *words = arguments or [""]
    if name in VERSION:
        _print_and_exit(f"air {__version__}")
    if name == "help":
        name, *words = [*words, HELP] if words else [HELP]
    if name in (SHORT_HELP, HELP):
        _print_and_exit(help_of_all(COMMANDS))
    if name not in COMMANDS:
        raise ConfigError(_no_command(name))
    kind = COMMANDS[name]
    if kind.passes_on and words and not words[0].startswith("-"):
        words.insert(1, "--")
    return _command(name, kind, words)


def _command(name: str, kind: type[Command], words: Sequence[str]) -> Command:
    """Make a command from its words, or print its help with the defaults that it would have."""
    end = words.index("--") if "--" in words else len(words)
    helps = [word for word in words[:end] if word in (SHORT_HELP, HELP)]
    base = None
    try:
        given = parse(options_of(kind), [word for word in words if word not in helps], _explain)
        base = kind.base(given)
        if not helps:
            return kind.of(given, base)
    except ConfigError as error:
        if not helps:
            raise ConfigError(_with_advice(str(error), f"air {name}")) from error
    except AirError:
        if not helps:
            raise
    _print_and_exit(help_of(name, kind, base, short=HELP not in helps))


def _print_and_exit(text: str) -> NoReturn:
    print(text)
    raise SystemExit(0)


def _with_advice(message: str, command: str) -> str:
    """Say where to read on, unless the message is a sentence that says what to do."""
    return message if message.endswith((".", "?")) else f"{message}; see {command} {HELP}."


def _no_command(name: str) -> str:
    if not name or name.startswith("-"):
        what = "no command" if not name else f"unknown option {name}"
        return f"{what}; the commands are {', '.join(COMMANDS)}. Try: air train."
    known = f"unknown command '{name}', known are {', '.join(COMMANDS)}."
    return known + nearest(name, COMMANDS)


def _explain(flag: str) -> str | None:
    """Say what to do in place of an option that a command lacks, or which commands have it."""
    owners = [
        f"air {name}"
        for name, kind in COMMANDS.items()
        if any(flag in option.flags for option in options_of(kind))
    ]
    return OF_PYRO.get(flag) or (f"it belongs to {', '.join(owners)}" if owners else None)
