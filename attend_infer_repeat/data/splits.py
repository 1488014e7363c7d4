"""Which scenes are trained on, which are held out, and which are the test."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import DataError
from .dataset import Dataset

SPLITS = ("train", "validation", "test")

VALIDATION_SIZE = 2_000
"""Scenes held out of a training split, or a tenth of it where that is less."""


def hold_out(data: Dataset) -> tuple[Dataset, Dataset]:
    """Divide a training split into the part to train on and the part to validate with.

    min(2000, N // 10) scenes are held out, and at least one: the last ones, so that both parts
    share memory with the whole. Pictures of a folder are held out at random, always the same ones:
    names may go by what the pictures show.

    Raises: DataError if there are fewer than two scenes.
    """
    if len(data) < 2:
        raise DataError(
            f"{data.name}: expected at least 2 images, one to train on and one to hold out, "
            f"got {len(data)}. Add more images."
        )
    num_held_out = max(1, min(VALIDATION_SIZE, len(data) // 10))
    if data.files is None:
        rest, held_out = data[:-num_held_out], data[-num_held_out:]
    else:
        shuffled = np.random.default_rng(0).permutation(len(data))
        rest = data[np.sort(shuffled[:-num_held_out])]
        held_out = data[np.sort(shuffled[-num_held_out:])]
    return rest, dataclasses.replace(held_out, split="validation")
