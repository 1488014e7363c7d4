"""Command lines, read once: from words to what was given. argparse does the work."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING
from itertools import pairwise
from typing import Any, NoReturn

from ..errors import ConfigError
from .options import FieldPath, Given, Option

NEGATIVE_NUMBER = re.compile(r"-\.?\d")


class _Parser(argparse.ArgumentParser):
    """One whose errors are ConfigErrors."""

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        message = message.replace("expected one argument", "needs a value")
        message = message.replace("ignored explicit argument", "takes no value, got")
        raise ConfigError(message)


def parse(
    options: Sequence[Option], words: Sequence[str], explain: Callable[[str], str | None]
) -> Given:
    """Return what was given, by the path of its field.

    Options and operands may stand in any order; after ``--`` there are only operands.

    Args:
        options: those that there are.
        words: the command line.
        explain: says of an option that there is not what to do instead, if that is known.
    Raises: ConfigError if an option is unknown, or a value is missing, wrong or one too many. It
        ends as a sentence does if it says what to do.
    """
    end = words.index("--") if "--" in words else len(words)
    named = [option for option in options if option.flags]
    before = _complete(named, [_dashed(word) for word in words[:end]])
    _check_known([flag for option in named for flag in option.flags], before, explain)
    found, operands = _parser(named).parse_known_args(before)
    values: dict[FieldPath, Any] = {}
    for option in named:
        if option.name in found:
            value = getattr(found, option.name)
            if option.is_many:
                value = None if value == [None] else tuple(value)
            values |= dict.fromkeys(option.paths, value)
    return values | _operands(options, [*operands, *words[end + 1 :]], words)


def _parser(options: Sequence[Option]) -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    # As Python 3.14 has it: before, -1e-3 is taken for an option.
    parser._negative_number_matcher = NEGATIVE_NUMBER
    for option in options:
        if option.kind is bool:
            yes = [flag for flag in option.flags if not flag.startswith("--no-")]
            no = [flag for flag in option.flags if flag.startswith("--no-")]
            parser.add_argument(*yes, dest=option.name, action="store_true")
            parser.add_argument(*no, dest=option.name, action="store_false")
        else:
            nargs = "*" if option.is_many else None
            parser.add_argument(*option.flags, dest=option.name, type=option.convert, nargs=nargs)
    return parser


def _dashed(word: str) -> str:
    """Write an option with dashes, which may be given as the field's name is spelled."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


def _complete(options: Sequence[Option], words: Sequence[str]) -> list[str]:
    """Let an option of the values yes and no stand alone: ``--x`` for yes, ``--no-x`` for no."""
    switches = {
        f"--{option.name}".replace("_", "-"): option.choices
        for option in options
        if {"yes", "no"} <= set(option.choices)
    }
    complete = []
    for word, after in pairwise([*words, ""]):
        opposite = word.replace("--no-", "--", 1)
        if word in switches and after not in switches[word]:
            complete += [word, "yes"]
        elif opposite != word and opposite in switches:
            complete += [opposite, "no"]
        else:
            complete.append(word)
    return complete


def _check_known(
    known: Collection[str], words: Sequence[str], explain: Callable[[str], str | None]
) -> None:
    """Refuse options that there are not, saying which may be meant."""
    for word in words:
        flag = word.split("=")[0]
        is_option = flag.startswith("-") and flag != "-" and not NEGATIVE_NUMBER.match(flag)
        joined = re.match(r"-[a-zA-Z]\d", flag) and flag[:2] in known  # -n5
        if is_option and not joined and flag not in known:
            reason = explain(flag)
            advice = _meant(flag, known) if reason is None else f": {reason}"
            raise ConfigError(f"unknown option {flag}{advice}")


def _meant(flag: str, known: Collection[str]) -> str:
    """Return a question after the options that may be meant, or nothing."""
    longer = [name for name in known if name.startswith(flag)] if flag.startswith("--") else []
    if longer:
        *others, last = longer[:4]
        return f". Did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
    names = {name.strip("-"): name for name in known}
    close = difflib.get_close_matches(flag.strip("-"), names, n=1, cutoff=0.65)
    return f". Did you mean {names[close[0]]}?" if close else ""


def _operands(
    options: Sequence[Option], words: Sequence[str], line: Sequence[str]
) -> dict[FieldPath, Any]:
    """Give operands their words, in order; the last one may take all that are left."""
    rest = list(words)
    values: dict[FieldPath, Any] = {}
    operands = [option for option in options if not option.flags]
    for option in operands:
        if option.is_many:
            values[option.paths[0]], rest = tuple(rest), []
        elif rest:
            values[option.paths[0]] = option.kind(rest.pop(0))
        elif option.default is MISSING:
            what = option.help[:1].lower() + option.help[1:].rstrip(".")
            raise ConfigError(f"{option.metavar} is missing: {what}")
    if rest:
        raise ConfigError(f"unexpected '{rest[0]}'{_why(options, operands, rest[0], line)}")
    return values


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
