"""Whether a value that was read from a file is a whole record: files may be damaged."""

from __future__ import annotations

import math
from typing import Any

from .records import Record


def is_record(value: Any, code_size: int, sampled: bool) -> bool:
    """Tell whether a value, as JSON has it, has what the forms of results need.

    Args:
        value: perhaps a record.
        code_size: numbers in a code.
        sampled: whether records have importance samples.
    """
    if not isinstance(value, dict) or not isinstance(value.get("file"), str):
        return False
    if "error" in value:
        return isinstance(value["error"], str)
    objects, weighted = value.get("objects"), value.get("importance")
    return (
        _is_whole(value.get("width"))
        and _is_whole(value.get("height"))
        and _is_counted(value)
        and isinstance(objects, list)
        and len(objects) == value["count"]
        and all(_is_object(thing, code_size) for thing in objects)
        and (weighted is None if not sampled else _is_weighted(weighted))
    )


def _is_object(value: Any, code_size: int) -> bool:
    return (
        isinstance(value, dict)
        and _is_whole(value.get("step"))
        and _are_numbers([value.get("score")], 1)
        and _are_numbers(value.get("box"), 4)
        and _are_numbers(value.get("z_where"), 3)
        and _are_numbers(value.get("z_what"), code_size)
    )


def has_identities(record: Record) -> bool:
    """Tell whether each object of a record has an identity, as those of a video's frame have."""
    return all(_is_whole(found.get("identity")) for found in record.get("objects", ()))


def _is_counted(value: Any) -> bool:
    """Tell whether a value has a count and the probabilities of counts, that one among them."""
    probs = value.get("count_probs")
    return (
        _is_whole(value.get("count"))
        and isinstance(probs, list)
        and _are_numbers(probs, len(probs))
        and len(probs) > value["count"]
    )


def _is_weighted(value: Any) -> bool:
    """Tell whether a value has what importance samples say."""
    return (
        isinstance(value, dict)
        and _is_counted(value)
        and _are_numbers([value.get("effective_sample_size")], 1)
    )


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_numbers(values: Any, num: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == num
        and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    )
