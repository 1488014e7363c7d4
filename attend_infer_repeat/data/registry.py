"""The data sets by name, and the one door to all of them."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..config import FramingConfig, TrainConfig, flat, get_preset, replace
from ..errors import ConfigError, DataError, nearest
from .dataset import Dataset
from .pictures.folder import load_path
from .pictures.options import Options
from .sets import digits, multi_mnist, sprites
from .sets.backgrounds import BACKGROUNDS
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
    def options(self) -> dict[str, Any]:
        """The options that this set has, with their defaults."""
        parameters = inspect.signature(self.load).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


DATASETS: dict[str, Source] = {
    "digits": Source("scenes of 0-2 real handwritten digits; needs no network", digits.load),
    "multi-mnist": Source(
        "scenes of 0-2 MNIST digits, exactly those of Pyro's AIR tutorial", multi_mnist.load
    ),
    "sprites": Source(
        "scenes of 0-3 squares, circles and triangles, gray or in color", sprites.load
    ),
}

CHANNELS = (1, 3)


def load_dataset(
    name_or_path: str | os.PathLike[str], split: str = "train", **options: Any
) -> Dataset:
    """Load a data set by its name, or the user's own images by their path.

    Args:
        name_or_path: a name in ``DATASETS``; a folder of images; or an ``.npz`` or ``.npy`` file.
            A folder with the same name as a set is reached as ``./digits``.
        split: ``"train"`` for the whole training split; ``"validation"`` for the part of it
            that ``hold_out`` keeps out of training; ``"test"`` for scenes of their own.
        **options: what the set lets one choose: ``canvas_size`` (pixels), ``max_count`` (objects
            in a scene), ``counts`` (a tuple: those numbers of objects instead) and ``background``
            (``"black"``, ``"noisy"``, ``"grid"``) of all that are generated, ``channels`` (1 or 3)
            of sprites; of pictures, see ``data.folder.Options``.
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
    name_or_path: str | os.PathLike[str], options: Mapping[str, Any]
) -> Callable[[Literal["train", "test"]], Dataset]:
    """Return what loads a split of the set or path, once its name and options are known good."""
    if not is_path(name_or_path):
        source = DATASETS[str(name_or_path)]
        _check_options(str(name_or_path), options, source.options)
        return lambda split: source.load(split, **options)
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise DataError(
            f"Expected a data set's name or a path, got {type(name_or_path).__name__}. "
            f"The names are {', '.join(DATASETS)}."
        )
    require_known(name_or_path)
    _check_path_options(os.fspath(name_or_path), options)
    return lambda split: load_path(name_or_path, split, **options)


def require_known(name_or_path: str | os.PathLike[str]) -> None:
    """Refuse what is neither the name of a data set nor a path: DataError."""
    if isinstance(name_or_path, os.PathLike) or name_or_path in DATASETS:
        return
    try:
        os.lstat(name_or_path)
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = nearest(str(name_or_path), DATASETS)
        raise DataError(
            f"No data set or path is called {name_or_path!r}.{hint} "
            f"Give one of {', '.join(DATASETS)}, a folder of images, or an .npz file."
        ) from error
    except (OSError, ValueError):  # it cannot be reached: whoever loads it is told why
        pass


def default_max_count(name: str) -> int:
    """Return the most objects in a scene of a named data set, if nothing else is asked for."""
    return int(DATASETS[name].options["max_count"])


def is_path(name_or_path: str | os.PathLike[str]) -> bool:
    """Tell whether ``load_dataset`` takes this for the path of the user's own images."""
    return not (isinstance(name_or_path, str) and name_or_path in DATASETS)


def default_config(name_or_path: str | os.PathLike[str]) -> TrainConfig:
    """Return the settings with which a data set is trained on, or the user's own images."""
    data = os.fspath(name_or_path)
    if is_path(name_or_path) and not is_path(data):  # a folder that has the name of a data set
        data = os.path.join(os.curdir, data)
    return replace(get_preset("auto" if is_path(data) else "fast"), data=data)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise DataError(
            f"No split is called {split!r}.{nearest(str(split), SPLITS)} "
            f"Give one of {', '.join(SPLITS)}."
        )


def _check_options(name: str, options: Mapping[str, Any], known: Mapping[str, object]) -> None:
    for option, value in options.items():
        _check_known(name, option, known)
        if option == "background":
            _check_choice(name, option, value, BACKGROUNDS)
        elif option == "counts":
            _check_counts(name, value)
        else:
            _check_whole_number(name, option, value, f"The default is {known[option]}.")
    _check_channels(name, options)


def _check_path_options(name: str, options: Mapping[str, Any]) -> None:
    known = dict.fromkeys(f.name for f in dataclasses.fields(Options)) | flat(FramingConfig())
    for option, value in options.items():
        _check_known(name, option, known)
        if option == "canvas_size" and value is not None:
            for side in value if isinstance(value, tuple) else (value,):
                _check_whole_number(name, option, side, "Leave it out for the pictures' own.")
    try:
        Options.of(**options)
    except ConfigError as error:
        raise DataError(f"{name}: {error}") from error
    _check_channels(name, options)


def _check_known(name: str, option: str, known: Mapping[str, object]) -> None:
    if option not in known:
        raise DataError(
            f"{name}: {option!r} is not an option.{nearest(option, known)} "
            f"It has the options {', '.join(known)}."
        )


def _check_choice(name: str, option: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise DataError(
            f"{name}: {option}: unknown {value!r}, known are {', '.join(choices)}."
            f"{nearest(str(value), choices)}"
        )


def _check_counts(name: str, counts: object) -> None:
    if counts is None:
        return
    numbers = counts if isinstance(counts, tuple) else ()
    if not any(numbers) or any(type(n) is not int or n < 0 for n in numbers):
        raise DataError(
            f"{name}: counts: expected a tuple of numbers of objects, one at least above 0, got "
            f"{counts!r}. Leave it out for 0 to max_count."
        )


def _check_whole_number(name: str, option: str, value: object, advice: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(
            f"{name}: {option}: expected a whole number of at least 1, got {value!r}. {advice}"
        )


def _check_channels(name: str, options: Mapping[str, Any]) -> None:
    channels = options.get("channels")
    if channels is not None and channels not in CHANNELS:
        raise DataError(f"{name}: channels: expected 1 (gray) or 3 (color), got {channels}.")
