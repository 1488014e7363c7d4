"""Which scenes are trained on, which are held out, and which are the test."""

from __future__ import annotations

import dataclasses

from ..errors import DataError
from .dataset import Dataset

SPLITS = ("train", "validation", "test")

VALIDATION_SIZE = 2_000
"""Scenes held out of a training split, or a tenth of it where that is less."""


def hold_out(data: Dataset) -> tuple[Dataset, Dataset]:
    """Divide a training split into the part to train on and the part to validate with.

    The last min(2000, N // 10) scenes are held out, and at least one; both parts share memory
    with the whole.

    Raises: DataError if there are fewer than two scenes.
    """
    if len(data) < 2:
        raise DataError(
            f"{data.name}: expected at least 2 images, one to train on and one to hold out, "
            f"got {len(data)}. Add more images."
        )
    num_held_out = max(1, min(VALIDATION_SIZE, len(data) // 10))
    return data[:-num_held_out], dataclasses.replace(data[-num_held_out:], split="validation")
