"""What all settings have in common: parts, flat names, validation, plain values.

A class of settings is a frozen dataclass whose fields are options or parts, which are settings
again. Its fields' types say what is valid; pydantic checks them when it is made. A setting has one
name in the whole tree, the name of its flag, and is set by it wherever it lies:

>>> from attend_infer_repeat.config import ModelConfig, replace
>>> config = ModelConfig(window_size=20)
>>> config.appearance.window_size
20
>>> replace(config, guide="pursuit").inference.guide
'pursuit'

No torch is imported here.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from ..errors import ConfigError, nearest

RULES = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

PATHS: dict[type[Settings], dict[str, tuple[str, ...]]] = {}
"""Where each setting of a class lies, by its flat name: the fields that lead to it.

Where two have one name, the later one's name is its path, with dots.
"""


class Idle(NamedTuple):
    """A setting that has no effect beside the others."""

    name: str
    why: str
    """What makes it so, and what to do."""
    switch: str = ""
    """A setting that may be switched on a command that also gives this one, so as to compare."""


class Settings:
    """Base of all settings: a subclass becomes a frozen dataclass, checked by pydantic."""

    def __init__(self, **given: Any) -> None:
        """Take fields, and settings of the parts by their flat names.

        Raises: ConfigError of one line if a name is unknown, a value is out of range, or a setting
            that is given by its flat name has no effect beside the others.
        """
        raise NotImplementedError  # replaced in every subclass

    def idle(self) -> Iterator[Idle]:
        """Yield the settings that have no effect beside others of this class."""
        return iter(())

    def __init_subclass__(cls) -> None:
        """Make the subclass a dataclass."""
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True, config=RULES)(cls)
        checked = cls.__init__

        def __init__(self: Settings, **given: Any) -> None:
            try:
                checked(self, **_routed(cls, given))
            except ValidationError as error:
                raise ConfigError(_one_line(error)) from None
            refuse_idle(
                self, given.keys() - {field.name for field in dataclasses.fields(cast(Any, cls))}
            )

        cls.__init__ = __init__  # type: ignore[method-assign]
        paths = PATHS[cls] = {}
        for path in _paths(cls):
            paths[path[-1] if path[-1] not in paths else ".".join(path)] = path

    if not TYPE_CHECKING:  # a type checker knows the fields

        def __getattr__(self, name: str) -> Any:
            """Say where a setting lies that was read as if it were no part's."""
            path = PATHS[type(self)].get(name, ())
            where = f": it is {'.'.join(path)}" if len(path) > 1 else ""
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'{where}.")


Config = TypeVar("Config", bound=Settings)


def replace(config: Config, **settings: Any) -> Config:
    """Return the same settings but for some, given by their flat names or as whole parts.

    Raises: ConfigError as the class itself.
    """
    return dataclasses.replace(cast(Any, config), **settings)


def _routed(kind: type[Settings], given: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings that were given by flat names into their parts; return the fields."""
    fields: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(cast(Any, kind))}
    own: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, value in given.items():
        if name in fields:
            part = fields[name]
            is_part = isinstance(part, Settings) and isinstance(value, Mapping)
            own[name] = type(part)(**value) if is_part else value
        elif name in PATHS[kind]:
            inside[PATHS[kind][name][0]][name.rpartition(".")[2]] = value
        else:
            known = [*fields, *PATHS[kind]]
            raise ConfigError(f"{name}: no such setting.{nearest(name, known)}")
    for name, settings in inside.items():
        own[name] = replace(own.get(name, fields[name]), **settings)
    return own


def _paths(kind: Any) -> Iterator[tuple[str, ...]]:
    for field in dataclasses.fields(kind):
        if isinstance(field.default, Settings):
            yield from ((field.name, *path) for path in _paths(type(field.default)))
        else:
            yield (field.name,)


def idle(config: Settings) -> Iterator[Idle]:
    """Yield the settings that have no effect beside others."""
    yield from config.idle()
    for field in dataclasses.fields(cast(Any, config)):
        if isinstance(part := getattr(config, field.name), Settings):
            yield from idle(part)


def refuse_idle(config: Settings, given: Collection[str]) -> None:
    """Refuse settings that somebody gave and that have no effect; a preset may hold such ones.

    Args:
        config: all settings.
        given: flat names of those that were given.
    Raises: ConfigError.
    """
    if given:
        for setting in idle(config):
            if setting.name in given and setting.switch not in given:
                raise ConfigError(f"{setting.name}: has no effect {setting.why}.")


# One line for each error

PHRASES = {
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number not below {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number not above {le:g}",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "missing": "more values",
    "too_long": "{max_length} values",
    "dataclass_exact_type": "a {class_name}",
}
"""What was expected, by pydantic's name of the error."""


def _one_line(error: ValidationError) -> str:
    """Say which setting is wrong, what came and what was expected."""
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    if "error" in context:  # one of our own checks
        return str(context["error"])
    name = next(str(place) for place in reversed(first["loc"]) if isinstance(place, str))
    value = first["input"]
    if first["type"] == "literal_error":
        known = re.findall("'([^']*)'", context["expected"])
        return f"{name}: unknown '{value}', known are {', '.join(known)}." + nearest(
            str(value), known
        )
    expected = PHRASES.get(first["type"], first["msg"]).format(**context)
    return f"{name}: expected {expected}, got {value!r}."


# Plain values


def to_dict(config: Settings) -> dict[str, Any]:
    """Return settings as plain values, the parts as dicts, ready for JSON."""
    return dataclasses.asdict(cast(Any, config))


def from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Rebuild settings from plain values, as ``to_dict``, ``flat`` and JSON left them.

    Raises: ConfigError if a key is unknown or a value has the wrong type or range.
    """
    return kind(**in_parts(kind, values))


def in_parts(kind: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """Put plain values that lie side by side, by their flat names, into their parts."""
    parts = {
        field.name: type(field.default)
        for field in dataclasses.fields(cast(Any, kind))
        if isinstance(field.default, Settings)
    }
    parted: dict[str, Any] = {}
    for name, value in values.items():
        if name in parts and isinstance(value, Mapping):
            parted.setdefault(name, {}).update(in_parts(parts[name], value))
        else:
            *places, leaf = PATHS[kind].get(name, (name,))
            owner = parted
            for place in places:
                owner = owner.setdefault(place, {})
            owner[leaf] = value
    return parted


def flat(config: Settings) -> dict[str, Any]:
    """Return the values of all settings by their flat names."""
    return {
        name: functools.reduce(getattr, path, config) for name, path in PATHS[type(config)].items()
    }


def differences(old: Settings, new: Settings) -> list[str]:
    """List what differs between two configs of one class, as ``name: old -> new``."""
    before, after = flat(old), flat(new)
    return [f"{k}: {before[k]} -> {after[k]}" for k in before if before[k] != after[k]]
