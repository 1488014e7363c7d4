"""The one shape in which every data set arrives: pictures, and what is known about them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)  # eq=False: comparing arrays gives arrays, not a bool
class Dataset:
    """Pictures of scenes with zero or more objects, and the truth about them where it is known.

    Subsets share memory with the whole: ``data[:100]`` copies nothing.

    Attributes:
        name: the data set's name, such as ``"multi-mnist"``, or the folder's.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        images: (N, height, width) uint8, or (N, 3, height, width) for color; 0 is background.
        counts: (N,) int64, the number of objects in each picture, -1 where it alone is unknown;
            None if all are.
        boxes: (N, M, 4) float32, the objects' x0, y0, x1, y1 in pixels, x right and y down,
            measured between pixel edges (x1 - x0 is the width); NaN where absent; None where
            unknown.
        labels: (N, M) int64, the class of each object, -1 where absent; None where unknown.
        files: (N,) str, the names of the pictures' files; None if they come from no files.
        digests: (N,) uint64, of what each picture was before it came onto the canvas, and of its
            name; None if that is not known.
        parts: (N,) uint64, hashes; pictures of equal ones are held out together. None if each is by
            itself.
        generated: whether the scenes are independent draws of a generator, in no order.

    Raises: DataError if a shape or a type is not as above. Values are not checked.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    counts: NDArray[np.int64] | None = None
    boxes: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    files: NDArray[np.str_] | None = None
    digests: NDArray[np.uint64] | None = None
    parts: NDArray[np.uint64] | None = None
    generated: bool = False

    def __post_init__(self) -> None:
        images = self.images
        if not _is_images(images):
            raise DataError(
                f"{self.name}: images: expected uint8 of shape (N, height, width) or "
                f"(N, 3, height, width), got {_describe(images)}. Convert them first."
            )
        num, num_slots = len(images), self._num_slots()
        self._expect("counts", np.int64, (num,))
        self._expect("boxes", np.float32, (num, num_slots, 4))
        self._expect("labels", np.int64, (num, num_slots))

    def __len__(self) -> int:
        """Return N, the number of pictures."""
        return len(self.images)

    def __getitem__(self, index: slice | ArrayLike) -> Dataset:
        """Return the subset at a slice, an array of positions, or a mask of N booleans.

        Raises: DataError for a single position, since one picture is not a data set.
        """
        rows: Any = index if isinstance(index, slice) else np.asarray(index)
        if not isinstance(rows, slice) and rows.ndim != 1:
            raise DataError(
                f"{self.name}[...]: expected a slice or a list of positions, got {index!r}. "
                f"Take data.images[i] for one picture, data[i : i + 1] for a data set of one."
            )
        if not isinstance(rows, slice) and not rows.size:
            rows = rows.astype(np.int64)  # an empty list arrives as floats, which cannot index
        return dataclasses.replace(
            self,
            images=self.images[rows],
            counts=None if self.counts is None else self.counts[rows],
            boxes=None if self.boxes is None else self.boxes[rows],
            labels=None if self.labels is None else self.labels[rows],
            files=None if self.files is None else self.files[rows],
            digests=None if self.digests is None else self.digests[rows],
            parts=None if self.parts is None else self.parts[rows],
        )

    def counted(self) -> Dataset:
        """Return the pictures whose count is known; all of them where that is true of each."""
        if self.counts is None:
            return self[:0]
        known = self.counts >= 0
        return self if known.all() else self[known]

    @property
    def canvas_size(self) -> tuple[int, int]:
        """(height, width) of every picture, in pixels."""
        height, width = self.images.shape[-2:]
        return height, width

    @property
    def channels(self) -> int:
        """1 for gray pictures, 3 for color."""
        return 1 if self.images.ndim == 3 else 3

    def _num_slots(self) -> int:
        """M, the room for objects: given by the boxes, else by the labels."""
        for array in (self.boxes, self.labels):
            if isinstance(array, np.ndarray) and array.ndim > 1:
                return int(array.shape[1])
        return 0

    def _expect(self, field: str, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        array = getattr(self, field)
        if array is None:
            return
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
            raise DataError(
                f"{self.name}: {field}: expected {np.dtype(dtype)} of shape {shape} for "
                f"{len(self.images)} images, got {_describe(array)}. Convert it, or leave it out."
            )


def _is_images(images: object) -> bool:
    return (
        isinstance(images, np.ndarray)
        and images.dtype == np.uint8
        and (images.ndim == 3 or (images.ndim == 4 and images.shape[1] == 3))
        and min(images.shape[-2:]) > 0
    )


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__
