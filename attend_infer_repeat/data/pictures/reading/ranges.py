"""What is black and what is white in pictures of more than 8 bits, decided for all of them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError
from .array_files import read_raw
from .decoding import shown
from .items import close_all, items_of
from .modes import Values
from .paths import is_arrays, picture_files, split_path
from .pixels import as_planes
from .planes import selected
from .sampling import spread

RANGE_PERCENTILES = (0.01, 99.99)
"""Percentiles of all pixels that become black and white, of more than 8 bits."""

RANGE_SAMPLE, RANGE_POINTS = 50, 100_000
"""Pictures, and pixels of each, that they are taken of, about."""


def find_values(path: str | os.PathLike[str], channels: tuple[int, ...] = ()) -> Values | None:
    """Return what is black and what is white in the user's own images of more than 8 bits.

    Nearly the least and the greatest of a sample: ``RANGE_PERCENTILES``, so that no dead or hot
    pixel decides. None if they have 8 bits: then it is 0 and 255.

    Raises: DataError if they have one value only.
    """
    source = split_path(path, "train")
    deep: list[NDArray[Any] | None]
    if is_arrays(source):
        images = read_raw(source)
        if images.dtype in (np.uint8, np.bool_):
            return None
        planes = as_planes(images)
        sample = spread(len(planes), RANGE_SAMPLE)
        deep = [_thinned(selected(planes[i], channels)) for i in sample]
    else:
        items = items_of(picture_files(source))
        deep = [_thinned(items[i].raw(channels)) for i in spread(len(items), RANGE_SAMPLE)]
        close_all(items)
    values = [pixels for pixels in deep if pixels is not None]
    finite = np.concatenate(values).astype(np.float64) if values else np.zeros(0)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, RANGE_PERCENTILES)
    if not low < high:
        raise DataError(
            f"{shown(path)}: nearly all pixels have the value {low:g}; give --range LOW HIGH."
        )
    return float(low), float(high)


def _thinned(pixels: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return about ``RANGE_POINTS`` of a picture's pixels, so that no more is kept of it."""
    return None if pixels is None else pixels.ravel()[:: max(pixels.size // RANGE_POINTS, 1)].copy()
