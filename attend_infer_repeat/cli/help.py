"""What ``--help`` and ``-h`` print.

The layout is our own, not argparse's: that repeats each value beside each name of an option, breaks
examples, and differs from one version of Python to the next.
"""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, replace
from functools import reduce

from .command import Command
from .options import Option, options_of

SHORT_HELP, HELP = "-h", "--help"

UNBROKEN = "\0"
"""A space at which no line ends."""


def help_of_all(commands: Mapping[str, type[Command]]) -> str:
    """Return the help of `air` itself."""
    text = (
        "Attend, Infer, Repeat: count, locate and describe the objects in images, without labels."
        "\n\nTry: air train, then air infer."
    )
    options = {
        f"{SHORT_HELP}, {HELP}": "Show this. `air COMMAND -h` shows what most people need of a "
        "command, `air COMMAND --help` or `air help COMMAND` all of it.",
        "-V, --version": "Show the version.",
    }
    summaries = {name: _text_of(kind).split("\n")[0] for name, kind in commands.items()}
    lists = [_list("Commands", summaries.items()), _list("Options", options.items())]
    return "\n\n".join(["usage: air COMMAND [OPTIONS]", *_paragraphs(text), *lists])


def help_of(name: str, kind: type[Command], base: Command | None, short: bool) -> str:
    """Return the help of a command.

    Args:
        name: the command's.
        kind: its class.
        base: the command whose values are the defaults; None for the fields' own.
        short: whether to show only the options that most people need.
    """
    options = [_with_default(option, base) for option in options_of(kind)]
    text, essential, note = _text_of(kind), kind.essential if short else (), ""
    if short:
        summary, *_, examples = text.split("\n\n")
        text = f"{summary}\n\n{examples}"
        note = f"This is the short help; air {name} {HELP} shows all {len(options)} options."
    operands = [_shown(option) for option in options if not option.flags]
    usage = " ".join([f"usage: air {name} [OPTIONS]", *operands])
    groups: dict[str, list[Option]] = {}
    heading = "Options"
    for option in options:
        heading = kind.headings.get(option.name, heading)
        if option.name in essential or not essential:
            groups.setdefault(heading if option.flags else "Arguments", []).append(option)
    lists = [
        _list(title, [(_shown(option), _help(option)) for option in group])
        for title, group in groups.items()
    ]
    return "\n\n".join([_wrap(usage), *_paragraphs(text), *lists, *([_wrap(note)] if note else [])])


def _text_of(kind: type[Command]) -> str:
    return inspect.getdoc(kind) or ""


def _with_default(option: Option, base: Command | None) -> Option:
    if base is None:
        return option
    return replace(option, default=reduce(getattr, option.paths[0], base))


def _shown(option: Option) -> str:
    """Return an option as it stands in help: its flags and what follows them."""
    flags = ", ".join(option.flags)
    if option.kind is bool:  # where it is off, there is no need to turn it off
        return option.flags[0] if option.default is False else flags
    if not flags:
        return option.metavar if option.default is MISSING else f"[{option.metavar}]"
    return f"{flags} [{option.metavar}...]" if option.is_many else f"{flags} {option.metavar}"


def _help(option: Option) -> str:
    """Return an option's text with its default, where that says something."""
    default = option.default
    if default is MISSING or default is None or default is False:
        return option.help
    if default is True:
        default = "on"
    elif isinstance(default, tuple):
        default = " ".join(map(str, default)) or "none"
    return f"{option.help} (default:{UNBROKEN}{default})"


# Layout


def _width() -> int:
    """Return the width of help: the terminal's, up to what is read with ease."""
    return max(40, min(100, shutil.get_terminal_size().columns))


def _list(heading: str, entries: Iterable[tuple[str, str]]) -> str:
    return "\n".join([f"{heading}:", *(_entry(left, text) for left, text in entries)])


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()),
        _width(),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ).replace(UNBROKEN, " ")


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a docstring, each with its lines joined; examples keep theirs."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if not paragraph.startswith("Examples:"):
            yield _wrap(paragraph)
            continue
        heading, *lines = paragraph.splitlines()
        yield "\n".join([heading, *_examples(lines)])


def _examples(lines: Sequence[str]) -> list[str]:
    """Set commands beside their comments, or where there is no room, above them."""
    split = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines]
    column = 2 + max((len(command) for command, *comment in split if comment), default=0) + 2
    beside = [f"  {command}".ljust(column) + "".join(comment) for command, *comment in split]
    if max(map(len, beside)) > _width():
        return [
            "\n".join([f"  {command}", *(_wrap(text, " " * 6) for text in comment)])
            for command, *comment in split
        ]
    return [line.rstrip() for line in beside]


def _entry(left: str, text: str) -> str:
    """Lay out an option and its text: side by side where there is room."""
    column = min(30, _width() // 3)
    body = _wrap(text, " " * column)
    if len(left) + 4 > column:
        return f"{_wrap(left, '  ')}\n{body}".rstrip()
    return f"  {left}".ljust(column) + body[column:]
