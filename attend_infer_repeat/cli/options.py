"""Command lines from dataclasses: a field is an option, and the text below it is its help.

A field is a ``bool`` (``--x``, ``--no-x``), an ``int``, ``float``, ``str``, ``Path`` or
``Literal``, a tuple of one of these (any number of values), or one of these or None. A field that
is a dataclass itself gives its fields, each by its own name; fields of one name are one option.
``Annotated`` says what the type does not: ``arg``, ``Positional``, ``Suppress``.

Our own, since none of tyro, cyclopts, jsonargparse, simple-parsing, cappa and typer gives all that
``air`` promises: nested settings without a prefix, tuples without brackets, errors of one line,
what was given told apart from what is a default, and help in 0.3 s.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from itertools import pairwise
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from ..config.annotations import arg
from ..errors import nearest

T = TypeVar("T")

FieldPath = tuple[str, ...]
"""The names of the fields that lead to a value: ("training", "model", "window_size")."""
Given = Mapping[FieldPath, Any]
"""What was given on a command line: values by the path of their field."""

METAVARS = {int: "N", float: "X", Path: "PATH"}
EXPECTED = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Option:
    """An option, or an operand if it has no flags.

    Attributes:
        paths: of the fields that it sets, all of one name.
        flags: as they are typed, the short ones first.
        kind: the type of one value.
        choices: the values that there are, if they can be listed.
        is_many: whether it takes any number of values.
        may_be_none: whether it takes ``none`` for the value None.
        default: MISSING if it must be given.
        metavar: what stands for its value in help.
        help: its text.
    """

    paths: tuple[FieldPath, ...]
    flags: tuple[str, ...]
    kind: type
    choices: tuple[str, ...]
    is_many: bool
    may_be_none: bool
    default: Any
    metavar: str
    help: str

    @property
    def name(self) -> str:
        """The name of the fields that it sets."""
        return self.paths[0][-1]

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


def options_of(kind: type) -> tuple[Option, ...]:
    """Return the options and operands of a command, in the order of its fields."""
    return _joined_options(kind)


@functools.cache
def _joined_options(kind: type) -> tuple[Option, ...]:
    """Make one option of all fields of one name."""
    options: dict[str, Option] = {}
    for option in _options_of(kind, ()):
        first = options.setdefault(option.name, option)
        if first is not option:
            paths = (*first.paths, *option.paths)
            options[option.name] = dataclasses.replace(first, paths=paths)
    return tuple(options.values())


def _options_of(kind: type, above: FieldPath) -> Iterator[Option]:
    hints, texts = get_type_hints(kind), field_texts(kind)
    noted = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint, note = hints[field.name], _note_of(noted[field.name])
        path = (*above, field.name)
        if note.hidden:
            continue
        if dataclasses.is_dataclass(hint):
            yield from _options_of(hint, path)  # type: ignore[arg-type]
        else:
            yield _option(path, hint, note, _default(field), texts.get(field.name, ""))


def _note_of(hint: Any) -> arg:
    """Return what a type's notes say of its option; ``Positional`` adds one to a field's own."""
    beside = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    notes = [note for note in beside if isinstance(note, arg)]
    return arg(
        aliases=tuple(alias for note in notes for alias in note.aliases),
        metavar=next((note.metavar for note in notes if note.metavar), None),
        positional=any(note.positional for note in notes),
        hidden=any(note.hidden for note in notes),
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _option(path: FieldPath, hint: Any, note: arg, default: Any, help: str) -> Option:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    (kind,) = (kind for kind in kinds if kind is not type(None))
    is_many = get_origin(kind) is tuple
    if is_many:
        kind = get_args(kind)[0]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    kind = str if choices else kind
    name = path[-1].replace("_", "-")
    short = [alias for alias in note.aliases if alias[1] != "-"]
    long = [alias for alias in note.aliases if alias[1] == "-"]
    flags = [*short, f"--{name}", *([f"--no-{name}"] if kind is bool else []), *long]
    metavar = "|".join(choices) or METAVARS.get(kind, name.split("-")[-1].upper())
    return Option(
        paths=(path,),
        flags=() if note.positional else tuple(flags),
        kind=kind,
        choices=choices,
        is_many=is_many,
        may_be_none=type(None) in kinds,
        default=default,
        metavar=note.metavar or metavar,
        help=help,
    )


@functools.cache
def field_texts(kind: type) -> dict[str, str]:
    """Return the text below each field of a dataclass, on one line."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, SyntaxError):  # without its source there is no help, but there are options
        return {}
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for field, below in pairwise(tree.body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            texts[ast.unparse(field.target)] = " ".join(str(ast.literal_eval(below.value)).split())
    return texts


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
        (field,) = (field for field in dataclasses.fields(kind) if field.name == name)  # type: ignore[arg-type]
        part = _default(field) if base is None else getattr(base, name)
        values[name] = build(type(part), inner, part)
    made: T = kind(**values) if base is None else dataclasses.replace(base, **values)
    return made
