"""Objects that keep their identity from frame to frame of a video.

The model knows nothing of time: each frame is a scene of its own, and this matches its objects with
those that were seen before. What two objects cost to be one is how far the window moved, and how
much the code changed, both squared and about 1 where they have nothing to do with each other:

    (distance of the centers / window width)^2 + |z_what - z_what'|^2 / (2 what_dim)

Two codes from the prior differ by 2 what_dim in the mean. The matching of the least total cost is
taken (the assignment problem; Kuhn 1955), where leaving an object unmatched costs ``UNMATCHED``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

UNMATCHED = 1.0
"""Cost above which two objects are not the same."""

PATIENCE = 5
"""Frames in which an object may be missed and still be recognized."""

Record = dict[str, Any]


class _Known(NamedTuple):
    """An object as it was last seen."""

    identity: int
    frame: int
    z_where: NDArray[np.float64]  # (3,)
    z_what: NDArray[np.float64]  # (what_dim,)


class Tracker:
    """Gives identities to the objects of records (``records.scene_record``), frame by frame.

    Identities count from 1 in the order of appearance, anew in each video.
    """

    def __init__(self) -> None:
        self._video: str | None = None
        self._frame, self._num_identities = 0, 0
        self._known: list[_Known] = []

    def identify(self, video: str | None, record: Record) -> None:
        """Give each object of the next frame its ``identity``, in place; none outside a video.

        Args:
            video: what the frame belongs to; None if it is a picture by itself.
            record: the frame's.
        """
        self._enter(video)
        objects = record.get("objects", ())
        if video is None or not objects:
            return
        for found, known in zip(objects, self._match(objects), strict=True):
            if known is None:
                self._num_identities += 1
            found["identity"] = self._num_identities if known is None else known.identity
        self._remember(objects)

    def follow(self, video: str | None, record: Record) -> None:
        """Take in a frame whose objects have their identities already."""
        self._enter(video)
        if video is not None:
            self._remember(record.get("objects", ()))

    def _enter(self, video: str | None) -> None:
        if video != self._video:
            self._video, self._frame, self._num_identities, self._known = video, 0, 0, []
        self._frame += 1
        self._known = [k for k in self._known if self._frame - k.frame <= PATIENCE + 1]

    def _match(self, objects: Sequence[Record]) -> list[_Known | None]:
        """Return for each object the known one that it is, or None if it is new."""
        from scipy.optimize import linear_sum_assignment

        num = len(objects)
        cost = np.full((num, len(self._known) + num), UNMATCHED)  # a column more for each new one
        for column, known in enumerate(self._known):
            for row, found in enumerate(objects):
                cost[row, column] = _cost(known, found)
        rows, columns = linear_sum_assignment(cost)
        matched: list[_Known | None] = [None] * num
        for row, column in zip(rows, columns, strict=True):
            if column < len(self._known) and cost[row, column] < UNMATCHED:
                matched[row] = self._known[column]
        return matched

    def _remember(self, objects: Sequence[Record]) -> None:
        latest = {known.identity: known for known in self._known}
        for found in objects:
            identity = found["identity"]
            z_where, z_what = np.array(found["z_where"]), np.array(found["z_what"])
            latest[identity] = _Known(identity, self._frame, z_where, z_what)
            self._num_identities = max(self._num_identities, identity)
        self._known = list(latest.values())


def _cost(known: _Known, found: Record) -> float:
    z_where, z_what = np.array(found["z_where"]), np.array(found["z_what"])
    # The center of a window lies at -(x, y) / s, its width is 2 / s: see spatial/transformer.py.
    # Where s is 0, as it may be once it is rounded, that is nowhere.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        center, before = -z_where[1:] / z_where[0], -known.z_where[1:] / known.z_where[0]
        moved = ((center - before) ** 2).sum() * (known.z_where[0] / 2) ** 2
    changed = ((z_what - known.z_what) ** 2).sum() / (2 * len(z_what))
    cost = float(moved + changed)
    return cost if np.isfinite(cost) else np.inf
