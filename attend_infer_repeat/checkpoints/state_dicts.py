"""State dicts: tensors by name, and how those of several owners fit into one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def prefixed(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names ``part/<name>``."""
    return {f"{part}/{name}": value for name, value in tensors.items()}


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``part/``, without it: undoes ``prefixed``."""
    return {k.removeprefix(f"{part}/"): v for k, v in tensors.items() if k.startswith(f"{part}/")}


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that holds an infinity or NaN; None if none does."""
    return next((name for name, value in tensors.items() if not value.isfinite().all()), None)
