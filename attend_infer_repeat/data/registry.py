"""The data sets by name, and the one door to all of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import DataError, nearest
from . import digits, multi_mnist, sprites
from .dataset import Dataset
from .folder import load_path
from .splits import SPLITS, hold_out


@dataclass(frozen=True)
class Source:
    """Where a named data set comes from.

    Attributes:
        description: one line for people who choose.
        load: makes the split ``"train"`` or ``"test"``; its keyword arguments are the options.
    """

    description: str
    load: Callable[..., Dataset]

    @property
    def options(self) -> dict[str, int]:
        """The options that this set has, with their defaults."""
        parameters = inspect.signature(self.load).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


DATASETS: dict[str, Source] = {
    "digits": Source("scenes of 0-2 real handwritten digits; needs no network", digits.load),
    "multi-mnist": Source(
        "scenes of 0-2 MNIST digits, exactly those of Pyro's AIR tutorial", multi_mnist.load
    ),
    "sprites": Source(
        "scenes of 0-3 squares, circles and triangles, grey or in colour", sprites.load
    ),
}

CHANNELS = (1, 3)


def load_dataset(
    name_or_path: str | os.PathLike[str], split: str = "train", **options: int
) -> Dataset:
    """Load a data set by its name, or the user's own images by their path.

    Args:
        name_or_path: a name in ``DATASETS``; a folder of images; or an ``.npz`` file. A folder
            with the same name as a set is reached as ``./digits``.
        split: ``"train"`` for the whole training split; ``"validation"`` for the part of it
            that ``hold_out`` keeps out of training; ``"test"`` for scenes of their own.
        **options: what the set lets one choose: ``max_count`` (objects in a scene) of all
            that are generated, ``canvas_size`` (pixels) of digits and sprites, ``channels`` (1 or
            3) of sprites.
    Returns: the images and, where known, their counts, boxes and labels.
    Raises: DataError if the name, split or an option is unknown or out of range, or if the data
        cannot be had.
    """
    _check_split(split)
    load = _loader(name_or_path, options)
    if split == "validation":
        return hold_out(load("train"))[1]
    return load("test" if split == "test" else "train")


def _loader(
    name_or_path: str | os.PathLike[str], options: Mapping[str, int]
) -> Callable[[Literal["train", "test"]], Dataset]:
    """Return what loads a split of the set or path, once its name and options are known good."""
    if isinstance(name_or_path, str) and name_or_path in DATASETS:
        source = DATASETS[name_or_path]
        _check_options(name_or_path, options, source.options)
        return lambda split: source.load(split, **options)
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise DataError(
            f"Expected a data set's name or a path, got {type(name_or_path).__name__}. "
            f"The names are {', '.join(DATASETS)}."
        )
    if isinstance(name_or_path, str) and not (name_or_path and Path(name_or_path).exists()):
        raise DataError(
            f"No data set or path is called {name_or_path!r}.{nearest(name_or_path, DATASETS)} "
            f"Give one of {', '.join(DATASETS)}, a folder of images, or an .npz file."
        )
    _check_options(os.fspath(name_or_path), options, {})
    return lambda split: load_path(name_or_path, split)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise DataError(
            f"No split is called {split!r}.{nearest(str(split), SPLITS)} "
            f"Give one of {', '.join(SPLITS)}."
        )


def _check_options(name: str, options: Mapping[str, int], known: Mapping[str, int]) -> None:
    for option, value in options.items():
        if option not in known:
            has = f"has the options {', '.join(known)}" if known else "has no options"
            raise DataError(
                f"{name}: {option!r} is not an option.{nearest(option, known)} It {has}."
            )
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DataError(
                f"{name}: {option}: expected a whole number of at least 1, got {value!r}. "
                f"The default is {known[option]}."
            )
        if option == "channels" and value not in CHANNELS:
            raise DataError(f"{name}: channels: expected 1 (grey) or 3 (colour), got {value}.")
