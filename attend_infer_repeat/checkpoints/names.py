"""The names of weights in files of earlier versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

RENAMED = (
    (r"^model\.success$", "model.count_prior.success"),
    (r"^model\.success_shift$", "model.count_prior.shift"),
    (r"^model\.log_likelihood_sd$", "model.likelihood.log_sd"),
    (r"^guide\.(embed|z_where_init|z_what_init)\b", r"guide.memory.\1"),
    (r"^guide\.rnn\.", "guide.memory.lstm."),
    (r"^guide\.z_where_(loc|scale)$", r"guide.look.prior_\1"),
    (r"^guide\.encode\.", "guide.reading.encoder."),
    (r"^guide\.look_behind\.", "guide.background.network."),
)
"""Patterns of 0.1.0's flat names, and what they became when the guide was put together of parts."""

COMPOSITES = "/made/", "/composites/"


def current_names(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values by name with the names of today, of a model's file or a training state's.

    Args:
        values: by name, ``guide.encode.layers.0.weight``; of a training state with owners before
            it, ``objective/adam/exp_avg/guide.encode.layers.0.weight``.
    """
    return {current_name(name): value for name, value in values.items()}


def current_name(name: str) -> str:
    """Return the name of today of one value."""
    owners, slash, own = name.replace(*COMPOSITES).rpartition("/")
    for pattern, replacement in RENAMED:
        own = re.sub(pattern, replacement, own)
    return owners + slash + own
