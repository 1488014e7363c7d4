"""The rows of a data set, one for each canvas that pictures come onto."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...dataset import Dataset
from ...sets.scenes import check_memory
from ...splits import name_digests
from ..reading.labels import UNKNOWN, Labels
from .crops import Cropping
from .framing import Frame, Framing, place, whole_frame

if TYPE_CHECKING:
    from ..reading.rasters import Raster


class Placed(NamedTuple):
    """A canvas, and where the picture lies on it."""

    canvas: NDArray[np.uint8]  # (channels, height, width)
    frame: Frame
    key: np.uint64 = np.uint64(0)  # those of equal keys are held out together
    is_part: bool = False  # of a picture that is larger


def place_all(
    picture: Raster, name: str, framing: Framing, cropping: Cropping | None
) -> list[Placed]:
    """Bring a picture onto one canvas, or parts of a large one onto several.

    Raises: ShapeError if the picture is not of the size for which its background is known.
    """
    if cropping is None:
        return [Placed(*place(picture, framing))]
    scaled, frame = whole_frame(picture, framing)
    return [
        Placed(canvas, replace(frame, offset=(-float(start[1]), -float(start[0]))), key, is_part)
        for canvas, start, key, is_part in cropping.crops(scaled, name)
    ]


class Rows:
    """Canvases, as pictures come."""

    def __init__(self) -> None:
        self.sources: list[Any] = []  # of each picture, its name or its number
        self.frames: list[Frame] = []  # of each picture, that of its first canvas
        self._of: list[int] = []  # of each canvas, the picture
        self._placed: list[Placed] = []
        self._digests: list[int] = []

    @property
    def num(self) -> int:
        """How many canvases there are."""
        return len(self._placed)

    def add(self, source: str | int, placed: list[Placed], digest: int) -> None:
        """Take in the canvases of a picture.

        Raises: DataError if they would not fit into memory.
        """
        if not self._placed:
            channels, *canvas_size = placed[0].canvas.shape
            self._room = (canvas_size[0], canvas_size[1]), channels
        self._of += [len(self.frames)] * len(placed)
        self.sources.append(source)
        self.frames.append(placed[0].frame)
        self._placed += placed
        self._digests.append(digest)
        if len(self.frames) % 256 == 1:
            check_memory(len(self._placed), *self._room)

    def of_files(self, name: str, split: str, labels: Labels | None) -> Dataset:
        """Return the data set of pictures whose names are the sources."""
        arrays = {} if labels is None else self._arranged(labels)
        return Dataset(
            name,
            split,
            self._images(),
            files=np.array([self.sources[i] for i in self._of]),
            digests=self._keys(),
            parts=self._parts(),
            **arrays,
        )

    def of_arrays(self, data: Dataset) -> Dataset:
        """Return the data set of the images of another one, whose rows are the sources."""
        rows = np.array(self._of)
        whole = len(rows) == len(data) and self._parts() is None
        own = data if whole else replace(data, images=_no_pixels(len(data)))[rows]
        if own.boxes is not None:
            labels = self._arranged(_labels_of(data)) if not whole else {}
            boxes = np.stack(
                [p.frame.to_canvas(b) for p, b in zip(self._placed, own.boxes, strict=True)]
            )
            own = replace(own, **({"boxes": boxes} | labels))
        elif not whole:  # how many objects a part has is not known
            own = replace(own, counts=None, labels=None)
        return replace(own, images=self._images(), digests=self._keys(), parts=self._parts())

    def _images(self) -> NDArray[np.uint8]:
        images = np.stack([placed.canvas for placed in self._placed])
        return images[:, 0] if images.shape[1] == 1 else images

    def _parts(self) -> NDArray[np.uint64] | None:
        if not any(placed.is_part for placed in self._placed):
            return None
        return np.array([placed.key for placed in self._placed], np.uint64)

    def _keys(self) -> NDArray[np.uint64]:
        """Return a digest of each canvas's picture and, of a part, of its place."""
        digests = [self._digests[i] for i in self._of]
        if self._parts() is None:
            return np.array(digests, np.uint64)
        return name_digests(
            f"{digest:016x} {placed.frame.offset}"
            for digest, placed in zip(digests, self._placed, strict=True)
        )

    def _arranged(self, labels: Labels) -> dict[str, Any]:
        """Return counts, boxes and labels of the canvases, as ``Dataset`` has them."""
        found = [
            _on_canvas(labels, self.sources[i], p)
            for i, p in zip(self._of, self._placed, strict=True)
        ]
        counts = np.array([len(c) if b is not None else n for n, b, c in found], np.int64)
        if labels.boxes is None:
            return {"counts": counts}
        slots = max(int(counts.max(initial=0)), 0)
        boxes = np.full((self.num, slots, 4), np.nan, np.float32)
        classes = np.full((self.num, slots), -1, np.int64)
        for row, (_, own, kinds) in enumerate(found):
            if own is not None:
                boxes[row, : len(own)], classes[row, : len(own)] = own, kinds
        return {"counts": counts, "boxes": boxes, "labels": classes}


def _no_pixels(num: int) -> NDArray[np.uint8]:
    """Return images without memory, of which rows can be taken."""
    return np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (num, 1, 1))


def _on_canvas(
    labels: Labels, source: Any, placed: Placed
) -> tuple[int, NDArray[np.float32] | None, NDArray[np.int64]]:
    """Return the count, the boxes and the classes of the objects whose centers a canvas shows.

    The count is UNKNOWN where it is not told, or only that of the whole picture is.
    """
    none = np.zeros(0, np.int64)
    if labels.boxes is None or labels.classes is None or source not in labels.boxes:
        known = UNKNOWN if placed.is_part else labels.counts.get(source, UNKNOWN)
        return known, None, none
    boxes, classes = placed.frame.to_canvas(labels.boxes[source]), labels.classes[source]
    if placed.is_part:
        height, width = placed.canvas.shape[1:]
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = ((centers >= 0) & (centers < (width, height))).all(axis=1)
        boxes, classes = boxes[inside], classes[inside]
    return len(boxes), boxes, classes


def _labels_of(data: Dataset) -> Labels:
    """Return what is known about the rows of a data set with boxes, by their number."""
    assert data.boxes is not None
    there: NDArray[np.bool_] = np.logical_not(np.isnan(data.boxes).any(axis=2))
    kinds = np.zeros(there.shape, np.int64) if data.labels is None else data.labels
    rows = range(len(data))
    return Labels(
        counts={i: int(there[i].sum()) for i in rows},
        boxes={i: data.boxes[i][there[i]] for i in rows},
        classes={i: kinds[i][there[i]] for i in rows},
    )
