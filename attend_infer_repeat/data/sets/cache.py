"""Where files are kept between runs, and how a generated set is made once and then read back."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...storage import replacing
from ..dataset import Dataset
from .npz import read_npz
from .scenes import SceneArrays

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """All that decides a generated set's pixels: equal recipes make equal sets.

    Attributes:
        name, split: of the set.
        version: raised whenever the code of the recipe comes to make other pixels.
        num_scenes: N.
        parameters: the options in force, such as ``{"canvas": 50}``.
    """

    name: str
    split: str
    version: int
    num_scenes: int
    parameters: Mapping[str, int | str] = field(default_factory=dict)

    def __str__(self) -> str:
        options = "".join(f"-{key}{value}" for key, value in self.parameters.items())
        return f"{self.name}-{self.split}-{self.num_scenes}{options}-v{self.version}"


def cache_dir() -> Path:
    """Return the folder for files kept between runs: ``$AIR_CACHE_DIR``, else the user's cache."""
    given = os.environ.get("AIR_CACHE_DIR")
    if given:
        return Path(given).expanduser()
    import pooch

    return Path(pooch.os_cache("attend-infer-repeat"))


def load_or_generate(
    recipe: Recipe,
    generate: Callable[[], SceneArrays],
    check: Callable[[Dataset], None] = lambda data: None,
) -> Dataset:
    """Read a generated set from the cache; make it, and keep it, if it is not there.

    A damaged file is replaced. A cache that cannot be written to costs time, not the run.

    Args:
        recipe: names the file and is stored inside it.
        generate: makes the scenes.
        check: raises DataError if the content is wrong; called on what is read and what is made.
    Raises: DataError from ``generate``, or from ``check`` on what was made.
    """
    path = cache_dir() / f"{recipe}.npz"
    if path.is_file():
        try:
            data = _read(path, recipe)
            check(data)
            return data
        except DataError as error:
            logger.warning("Making %s again, since the cached copy is bad: %s", recipe, error)
    else:
        logger.info("Making %s; it is kept in %s", recipe, path.parent)
    data = Dataset(recipe.name, recipe.split, *generate(), generated=True)
    check(data)
    _write(path, recipe, data)
    return data


def _read(path: Path, recipe: Recipe) -> Dataset:
    arrays = read_npz(path)
    made_by = str(arrays.pop("recipe", "another program"))
    if made_by != str(recipe) or set(arrays) != set(SceneArrays._fields):
        raise DataError(f"{path}: expected the set {recipe}, got {made_by}. Delete the file.")
    data = Dataset(recipe.name, recipe.split, **arrays, generated=True)
    if len(data) != recipe.num_scenes:
        raise DataError(
            f"{path}: expected {recipe.num_scenes} scenes, got {len(data)}. Delete the file."
        )
    return data


def _write(path: Path, recipe: Recipe, data: Dataset) -> None:
    """Keep a set, if the disk allows it."""
    arrays = {name: getattr(data, name) for name in SceneArrays._fields}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez_compressed(file, recipe=np.array(str(recipe)), **arrays)
    except OSError as error:  # no permission, a full disk
        warn_unwritable(path.parent, error.strerror or str(error))


@functools.cache  # once per folder and reason
def warn_unwritable(folder: Path, reason: str) -> None:
    """Log that a folder cannot be written to, and what to do about it."""
    logger.warning(
        "Cannot keep data in %s (%s), so it is made anew each time. "
        "Set AIR_CACHE_DIR to a folder that can be written to.",
        folder,
        reason,
    )
