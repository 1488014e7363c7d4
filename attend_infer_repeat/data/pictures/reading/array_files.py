"""The user's own images in a file of arrays, ``.npz`` or ``.npy``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError, ShapeError, nearest
from ...dataset import Dataset
from ...sets.npz import read_npy, read_npz
from .decoding import shown
from .modes import Values
from .paths import kind_of
from .pixels import as_bytes, as_planes, without_alpha

if TYPE_CHECKING:
    from PIL.Image import Image

NPZ_ARRAYS = ("images", "counts", "boxes", "labels")


def as_picture(image: NDArray[np.uint8]) -> Image:
    """Return an array, (height, width) or (3, height, width), as a picture."""
    from PIL import Image

    return Image.fromarray(image if image.ndim == 2 else image.transpose(1, 2, 0))


def read_raw(path: Path) -> NDArray[Any]:
    """Return the images of an archive or a bare array as they are.

    Raises: DataError as ``read_arrays``.
    """
    return _read(path)["images"]


def read_arrays(path: Path, values: Values | None = None) -> dict[str, NDArray[Any]]:
    """Read ``images`` and what else there is, of an archive or a bare array.

    Args:
        path: of the file.
        values: what becomes black and what white; as the type has it if None.
    Returns: ``images``, (N, height, width) or (N, 3, height, width) uint8, as ``pixels`` has it,
        and, as they are, the others of ``NPZ_ARRAYS`` that are there.
    Raises: DataError if it is damaged, or holds something else.
    """
    arrays = _read(path)
    try:
        arrays["images"] = without_alpha(as_bytes(as_planes(arrays["images"]), values))
    except ShapeError as error:
        raise DataError(f"{shown(path)}: {error}") from error
    except MemoryError as error:
        raise DataError(f"{shown(path)}: does not fit into memory; save it as uint8.") from error
    for field, kinds, dtype in (
        ("counts", "iu", np.int64),
        ("boxes", "f", np.float32),
        ("labels", "iu", np.int64),
    ):
        if field in arrays and arrays[field].dtype.kind in kinds:
            arrays[field] = arrays[field].astype(dtype)
    return arrays


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if kind_of(path) == "folder":
        raise DataError(f"{shown(path)}: a folder; expected a file of arrays.")
    arrays = {"images": read_npy(path)} if path.suffix.lower() == ".npy" else read_npz(path)
    if "images" not in arrays:
        raise DataError(
            f"{shown(path)}: expected an array 'images', got {', '.join(arrays) or 'nothing'}. "
            f"Save it with numpy.savez_compressed(path, images=...)."
        )
    unknown = [key for key in arrays if key not in NPZ_ARRAYS]
    if unknown:
        raise DataError(
            f"{shown(path)}: expected arrays named {', '.join(NPZ_ARRAYS)}, got {unknown[0]!r}."
            f"{nearest(unknown[0], NPZ_ARRAYS)} Rename or remove it."
        )
    return arrays


def check_truths(data: Dataset, path: Path) -> None:
    """Refuse truths that contradict each other, which would make every score wrong."""
    if data.counts is not None and data.counts.min() < 0:
        bad = int(data.counts.argmin())
        raise DataError(f"{path}: counts: image {bad} has {data.counts[bad]}. Expected 0 or more.")
    if data.boxes is not None and np.isinf(data.boxes).any():
        bad = int(np.isinf(data.boxes).any(axis=(1, 2)).argmax())
        raise DataError(f"{shown(path)}: boxes: image {bad} has infinite ones. Correct them.")
    if data.counts is not None and data.boxes is not None:
        num_boxes = (~np.isnan(data.boxes).any(axis=2)).sum(axis=1)
        if (num_boxes != data.counts).any():
            bad = int((num_boxes != data.counts).argmax())
            raise DataError(
                f"{path}: image {bad} has {num_boxes[bad]} boxes and a count of "
                f"{data.counts[bad]}. Make them agree; an absent box is NaN."
            )
