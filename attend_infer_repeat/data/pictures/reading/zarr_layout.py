"""Which arrays of a zarr are a picture, and which of their axes is which."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....errors import AirError, DataError
from .axes import TIME_AXIS
from .decoding import shown

OTHER_AXIS = "-"
"""Letter of an axis along which there are pictures."""

CHANNEL_NAMES = ("c", "channel", "channels", "band", "bands")
TIME_NAMES = ("t", "time", "frame", "frames")

MOST_SAMPLES = 4
"""Length of a first or last axis without a name up to which it is one of channels."""

WITHOUT_NAMES = "tczyx"
"""The axes of an OME-Zarr that does not name them, of which the last ones are there."""


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a picture are, and what their axes are. Pickled, it is only that.

    Attributes:
        path: of the zarr, absolute: other processes read it, too.
        keys: of the arrays in it, the largest first; ``""`` if it is an array.
        axes: a letter for each: Y, X, C, S, T, or - for another one.
    """

    path: str
    keys: tuple[str, ...]
    axes: str
    _open: dict[int, Any] = field(default_factory=dict, compare=False, repr=False)

    def open(self, level: int) -> Any:
        """Return an array, zarr's own.

        Raises: DataError, in one line, if it is not there.
        """
        if level not in self._open:
            self._open[level] = opened(self.path, self.keys[level])
        return self._open[level]

    def close(self) -> None:
        """Close the file until an array is asked for again."""
        self._open.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout, (self.path, self.keys, self.axes)


def find_layout(path: Path) -> Layout:
    """Return which arrays of a zarr are its pictures.

    Raises: DataError, in one line, if there is none, or its metadata are damaged.
    """
    found = opened(path, "")
    with _sound_metadata(shown(path)):
        if hasattr(found, "shape"):
            names = _axis_names(found)
            return Layout(os.path.abspath(path), ("",), _axes(path, found.shape, names))
        attributes = dict(found.attrs)
        scales = attributes.get("multiscales") or (attributes.get("ome") or {}).get("multiscales")
        if scales:
            return _of_scales(path, scales)
        return find_layout(path / _only_array(path, found))


def _of_scales(path: Path, scales: Any) -> Layout:
    """Return which arrays of an OME-Zarr are its pictures.

    Args:
        scales: its metadata of that name, which may be damaged.
    Raises: DataError, in one line, if they name no arrays; anything if they are damaged.
    """
    try:
        names = [axis if isinstance(axis, str) else axis["name"] for axis in scales[0]["axes"]]
    except (KeyError, TypeError, IndexError):
        names = []
    try:
        keys = [str(dataset["path"]) for dataset in scales[0]["datasets"]]
        shapes = {key: opened(path, key).shape for key in keys}
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(
            f"{shown(path)}: its metadata name no arrays (multiscales); give an array in it."
        ) from error
    keys.sort(key=lambda key: -_area(shapes[key]))
    largest = shapes[keys[0]]
    axes = _axes(path, largest, names or list(WITHOUT_NAMES[-len(largest) :]))
    same = levels_of([shapes[key] for key in keys], axes)
    return Layout(os.path.abspath(path), tuple(keys[level] for level in same), axes)


def levels_of(shapes: Sequence[Sequence[int]], axes: str) -> list[int]:
    """Return which arrays, given their shapes, are the first one at its size or at a smaller one.

    Args:
        axes: a letter for each of the first array's axes.
    """
    inner = [i for i, axis in enumerate(axes) if axis not in "YX"]
    own = [
        [shape[i] for i in inner] if len(shape) == len(axes) else None  # None: other axes
        for shape in shapes
    ]
    return [level for level in range(len(shapes)) if own[level] == own[0]]


def _area(shape: Sequence[int]) -> int:
    return int(shape[-1]) * int(shape[-2])


def opened(path: str | os.PathLike[str], key: str) -> Any:
    """Open an array or a group of a zarr.

    Raises: DataError, in one line, if it cannot be.
    """
    import zarr

    whole = os.path.join(path, key) if key else os.fspath(path)
    with _sound_metadata(shown(whole)):
        try:
            return zarr.open(whole, mode="r")
        except Exception as error:
            if os.path.isdir(whole) and "NotFound" not in type(error).__name__:
                raise
            raise DataError(
                f"{shown(whole)}: no array or group of a zarr that zarr {zarr.__version__} reads."
            ) from error


@contextmanager
def _sound_metadata(name: str) -> Iterator[None]:
    """Turn whatever damaged metadata raise into a DataError of one line; our own errors stay."""
    try:
        yield
    except AirError:
        raise
    except Exception as error:  # zarr raises nearly anything, and so does what is read from JSON
        words = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{name}: a zarr whose metadata are damaged ({type(error).__name__}: {words}); "
            "write it again."
        ) from error


def _only_array(path: Path, group: Any) -> str:
    """Return the key of a group's array: DataError unless it has one."""
    keys = sorted(group.array_keys())
    if len(keys) == 1:
        return str(keys[0])
    if keys:
        raise DataError(
            f"{shown(path)}: {len(keys)} arrays and no multiscales; give one of them, such as "
            f"{shown(path / keys[0])}."
        )
    inner = sorted(group.group_keys())
    advice = f"; give a group in it, such as {shown(path / inner[0])}" if inner else ""
    raise DataError(f"{shown(path)}: a group of a zarr without an array{advice}.")


def _axis_names(array: Any) -> list[str]:
    """Return the names of an array's axes, by zarr 3's metadata or xarray's; none if not told."""
    names = getattr(getattr(array, "metadata", None), "dimension_names", None)
    names = names or dict(array.attrs).get("_ARRAY_DIMENSIONS") or ()
    return [str(name) for name in names] if len(names) == len(array.shape) else []


def _axes(path: Path, shape: Sequence[int], names: Sequence[str]) -> str:
    """Return a letter for each axis, from their names or, without those, from their lengths.

    Raises: DataError, in one line, if there is no height or width.
    """
    lower = [name.lower() for name in names]
    if len(lower) == len(shape) and lower.count("y") == lower.count("x") == 1:
        return "".join(map(_letter, lower))
    if len(shape) < 2:
        raise DataError(f"{shown(path)}: an array of the shape {tuple(shape)}; expected a picture.")
    others = OTHER_AXIS * (len(shape) - 3)
    if len(shape) > 2 and shape[-1] <= MOST_SAMPLES < min(shape[-2], shape[-3]):
        return others + "YXS"
    if len(shape) > 2 and shape[-3] <= MOST_SAMPLES:
        return others + "CYX"
    return OTHER_AXIS * (len(shape) - 2) + "YX"


def _letter(name: str) -> str:
    if name in ("y", "x"):
        return name.upper()
    if name in CHANNEL_NAMES:
        return "C"
    return TIME_AXIS if name in TIME_NAMES else OTHER_AXIS
