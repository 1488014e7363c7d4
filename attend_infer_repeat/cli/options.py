"""Command lines from dataclasses: a field is an option, and the text below it is its help.

A field is a ``bool`` (``--x``, ``--no-x``), an ``int``, ``float``, ``str``, ``Path`` or
``Literal``, a tuple of one of these (any number of values), or one of these or None. A field that
is a dataclass itself gives its fields. ``Annotated`` says what the type does not: ``arg``,
``Positional``, ``Suppress``.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import functools
import inspect
import re
import shutil
import textwrap
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from ..config.annotations import arg
from ..errors import ConfigError, nearest

T = TypeVar("T")

Given = Mapping[tuple[str, ...], Any]
"""What was given on a command line: values by the path of their field."""


NUMBER = re.compile(r"-\.?\d")
METAVARS = {int: "N", float: "X", Path: "PATH"}
EXPECTED = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Option:
    """An option, or an operand if it has no flags.

    Attributes:
        path: the names of the fields that lead to it.
        flags: as they are typed, the short ones first.
        kind: the type of one value.
        choices: the values that there are, if they can be listed.
        is_many: whether it takes any number of values.
        may_be_none: whether it takes ``none`` for the value None.
        default: MISSING if it must be given.
        metavar: what stands for its value in help.
        help: its text.
    """

    path: tuple[str, ...]
    flags: tuple[str, ...]
    kind: type
    choices: tuple[str, ...]
    is_many: bool
    may_be_none: bool
    default: Any
    metavar: str
    help: str

    @property
    def shown(self) -> str:
        """The option as it stands in help: its flags and what follows them."""
        flags = ", ".join(self.flags)
        if self.kind is bool:  # where it is off, there is no need to turn it off
            return self.flags[0] if self.default is False else flags
        if not flags:
            return self.metavar if self.default is MISSING else f"[{self.metavar}]"
        return f"{flags} [{self.metavar}...]" if self.is_many else f"{flags} {self.metavar}"

    def convert(self, word: str) -> Any:
        """Turn a word into a value: argparse.ArgumentTypeError if it is none."""
        if self.may_be_none and word.lower() == "none":
            return None
        if self.choices and word not in self.choices:
            raise argparse.ArgumentTypeError(
                f"unknown '{word}', known are {', '.join(self.choices)}."
                f"{nearest(word, self.choices)}"
            )
        try:
            return self.kind(word)
        except (ValueError, OverflowError):
            expected = EXPECTED[self.kind]
            raise argparse.ArgumentTypeError(f"expected {expected}, got '{word}'") from None


def options_of(command: Any) -> list[Option]:
    """Return the options and operands of a command.

    Args:
        command: a dataclass; or one of its objects, whose values are the defaults.
    """
    return list(_options_of(command, ()))


def _options_of(command: Any, above: tuple[str, ...]) -> Iterator[Option]:
    kind = command if isinstance(command, type) else type(command)
    hints, texts = get_type_hints(kind, include_extras=True), field_texts(kind)
    for field in dataclasses.fields(kind):
        value = field.default if isinstance(command, type) else getattr(command, field.name)
        inner, notes = _unwrap(hints[field.name])
        if any(note.hidden for note in notes):
            continue
        path = (*above, field.name)
        if dataclasses.is_dataclass(inner):
            yield from _options_of(inner if value is MISSING else value, path)
        else:
            yield _option(path, inner, notes, value, texts.get(field.name, ""))


def _unwrap(hint: Any) -> tuple[Any, list[arg]]:
    """Return a type without its notes, and these."""
    if get_origin(hint) is not Annotated:
        return hint, []
    inner, *notes = get_args(hint)
    return inner, [note for note in notes if isinstance(note, arg)]


def _option(path: tuple[str, ...], hint: Any, notes: list[arg], default: Any, help: str) -> Option:
    name = path[-1].replace("_", "-")
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    (kind,) = (kind for kind in kinds if kind is not type(None))
    is_many = get_origin(kind) is tuple
    if is_many:
        kind = get_args(kind)[0]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    kind = str if choices else kind
    flags = [f"--{name}", f"--no-{name}"] if kind is bool else [f"--{name}"]
    for note in notes:  # short names come first, other long ones last
        flags = [a for a in note.aliases if a[1] != "-"] + flags
        flags += [a for a in note.aliases if a[1] == "-"]
    if any(note.positional for note in notes):
        flags = []
    metavar = "|".join(choices) or METAVARS.get(kind, path[-1].split("_")[-1].upper())
    for note in notes:
        metavar = note.metavar or metavar
    may_be_none = type(None) in kinds
    return Option(path, tuple(flags), kind, choices, is_many, may_be_none, default, metavar, help)


@functools.cache
def field_texts(kind: type) -> dict[str, str]:
    """Return the text below each field of a dataclass, on one line."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, SyntaxError):  # without its source there is no help, but there are options
        return {}
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            texts[ast.unparse(field.target)] = " ".join(str(ast.literal_eval(below.value)).split())
    return texts


class _Parser(argparse.ArgumentParser):
    """One whose errors are ConfigErrors."""

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        message = message.replace("expected one argument", "needs a value")
        message = message.replace("ignored explicit argument", "takes no value, got")
        raise ConfigError(message)


def parse(
    options: Sequence[Option], arguments: Sequence[str], explain: Callable[[str], str | None]
) -> dict[tuple[str, ...], Any]:
    """Return what was given, by the path of its field.

    Options and operands may stand in any order; after ``--`` there are only operands.

    Args:
        options: those that there are.
        arguments: the command line.
        explain: says of an option that there is not what to do instead, if that is known.
    Raises: ConfigError if an option is unknown, or a value is missing, wrong or one too many. It
        ends as a sentence does if it says what to do.
    """
    _check_known(options, arguments, explain)
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    # As Python 3.14 has it: before, -1e-3 is taken for an option.
    parser._negative_number_matcher = NUMBER
    named = {f"option{i}": option for i, option in enumerate(options) if option.flags}
    for name, option in named.items():
        if option.kind is bool:
            parser.add_argument(*_yes(option), dest=name, action="store_true")
            parser.add_argument(*_no(option), dest=name, action="store_false")
        else:
            parser.add_argument(
                *option.flags, dest=name, type=option.convert, nargs="*" if option.is_many else None
            )
    words = [_dashed(word) for word in arguments]
    end = words.index("--") if "--" in words else len(words)
    given, operands = parser.parse_known_args(words[:end])
    values = {named[name].path: value for name, value in vars(given).items()}
    for option in named.values():
        if option.is_many and option.path in values:
            many = values[option.path]
            values[option.path] = None if many == [None] else tuple(many)
    return values | _operands(options, [*operands, *arguments[end + 1 :]], arguments)


def _yes(option: Option) -> list[str]:
    return [flag for flag in option.flags if not flag.startswith("--no-")]


def _no(option: Option) -> list[str]:
    return [flag for flag in option.flags if flag.startswith("--no-")]


def _dashed(word: str) -> str:
    """Write an option with dashes, which may be given as the field's name is spelled."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


def _operands(
    options: Sequence[Option], words: Sequence[str], line: Sequence[str]
) -> dict[tuple[str, ...], Any]:
    """Give operands their words, in order; the last one may take all that are left."""
    rest = list(words)
    values: dict[tuple[str, ...], Any] = {}
    operands = [option for option in options if not option.flags]
    for option in operands:
        if option.is_many:
            values[option.path], rest = tuple(_operand(option, word) for word in rest), []
        elif rest:
            values[option.path] = _operand(option, rest.pop(0))
        elif option.default is MISSING:
            what = option.help[:1].lower() + option.help[1:].rstrip(".")
            raise ConfigError(f"{option.metavar} is missing: {what}")
    if rest:
        raise ConfigError(f"unexpected '{rest[0]}'{_why(options, operands, rest[0], line)}")
    return values


def _operand(option: Option, word: str) -> Any:
    try:
        return option.convert(word)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{option.metavar}: {error}") from error


def _why(
    options: Sequence[Option], operands: Sequence[Option], word: str, line: Sequence[str]
) -> str:
    """Say why a word is one too many."""
    at = line.index(word)
    flag = line[at - 2] if at > 1 else ""
    if any(flag in o.flags and o.kind is not bool and not o.is_many for o in options):
        return f": {flag} takes one value"
    if at and any(line[at - 1] in o.flags and o.kind is bool for o in options):
        return f": {line[at - 1]} takes no value"
    return f": there is one {operands[0].metavar} only" if operands else ""


def _check_known(
    options: Sequence[Option], arguments: Sequence[str], explain: Callable[[str], str | None]
) -> None:
    """Refuse options that there are not, saying which may be meant."""
    known = [flag for option in options for flag in option.flags]
    for word in arguments:
        if word == "--":
            return
        flag = _dashed(word).split("=")[0]
        is_option = flag.startswith("-") and flag != "-" and not NUMBER.match(flag)
        joined = re.match(r"-[a-zA-Z]\d", flag) and flag[:2] in known  # -n5
        if not is_option or joined or flag in known:
            continue
        if reason := explain(flag):
            raise ConfigError(f"unknown option {flag}: {reason}")
        raise ConfigError(f"unknown option {flag}{_meant(flag, known)}")


def _meant(flag: str, known: Collection[str]) -> str:
    """Return a question after the options that may be meant, or nothing."""
    longer = [name for name in known if name.startswith(flag)] if flag.startswith("--") else []
    if longer:
        *others, last = longer[:4]
        return f". Did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
    names = {name.strip("-"): name for name in known}
    close = difflib.get_close_matches(flag.strip("-"), names, n=1, cutoff=0.65)
    return f". Did you mean {names[close[0]]}?" if close else ""


def build(kind: type[T], given: Given, base: Any = None) -> T:
    """Make a command, or the settings in it, from what was given.

    Args:
        kind: the dataclass.
        given: values by the path of their field, as ``parse`` returns them.
        base: an object with the other values; the defaults if None.
    """
    values = {path[0]: value for path, value in given.items() if len(path) == 1}
    for name in dict.fromkeys(path[0] for path in given if len(path) > 1):
        inner = {path[1:]: value for path, value in given.items() if path[0] == name}
        default = {field.name: field.default for field in dataclasses.fields(kind)}[name]  # type: ignore[arg-type]
        part = default if base is None else getattr(base, name)
        values[name] = build(type(part), inner, part)
    made: T = kind(**values) if base is None else dataclasses.replace(base, **values)
    return made


# Help

UNBROKEN = "\0"
"""A space at which no line ends."""


def width() -> int:
    """Return the width of help: the terminal's, up to what is read with ease."""
    return max(40, min(100, shutil.get_terminal_size().columns))


def show_help(
    name: str, text: str, options: Sequence[Option], groups: Mapping[Option, str], note: str = ""
) -> str:
    """Return a command's help.

    Args:
        name: the command.
        text: what it does, with its examples.
        options: those to show.
        groups: the heading below which each one stands.
        note: a last line.
    """
    operands = [option for option in options if not option.flags]
    usage = " ".join([f"usage: air {name} [OPTIONS]", *(option.shown for option in operands)])
    parts = [_wrap(usage), *_paragraphs(text)]
    headings = dict.fromkeys(groups[option] for option in options)
    for heading in headings:
        inside = [option for option in options if groups[option] == heading]
        parts.append("\n".join([f"{heading}:", *(_entry(o.shown, _help(o)) for o in inside)]))
    return "\n\n".join([*parts, *([_wrap(note)] if note else [])])


def show_commands(text: str, options: Mapping[str, str], commands: Mapping[str, str]) -> str:
    """Return the help of `air` itself: its options and its commands, each with its text."""
    lists = [("Commands", commands), ("Options", options)]
    parts = [
        "\n".join([f"{heading}:", *(_entry(name, text) for name, text in entries.items())])
        for heading, entries in lists
    ]
    return "\n\n".join(["usage: air COMMAND [OPTIONS]", *_paragraphs(text), *parts])


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()),
        width(),
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
    if max(map(len, beside)) > width():
        return [
            "\n".join([f"  {command}", *(_wrap(text, " " * 6) for text in comment)])
            for command, *comment in split
        ]
    return [line.rstrip() for line in beside]


def _entry(left: str, text: str) -> str:
    """Lay out an option and its text: side by side where there is room."""
    column = min(30, width() // 3)
    body = _wrap(text, " " * column)
    if len(left) + 4 > column:
        return f"{_wrap(left, '  ')}\n{body}".rstrip()
    return f"  {left}".ljust(column) + body[column:]


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
