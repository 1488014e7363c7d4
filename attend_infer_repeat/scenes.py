"""``Scenes``: what AIR found in images, or drew. Padding, joining and indexing are here alone.

>>> scenes = air.infer(images)                                          # doctest: +SKIP
>>> scenes[3].objects[0].box                                            # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, repr=False)
class SceneObject:
    """One object of a scene; arrays, or tensors, as in the ``Scenes`` it is of."""

    score: float
    """q(z_pres_t = 1 | x): the probability that the image has at least so many objects."""
    box: Any
    """(4,), pixels x0, y0, x1, y1 on the canvas."""
    z_where: Any
    """(3,), the pose (s, x, y)."""
    z_what: Any
    """(what_dim,), the code."""

    def __repr__(self) -> str:
        box = ", ".join(f"{edge:.1f}" for edge in self.box.tolist())
        return f"SceneObject(score={self.score:.3f}, box=({box}))"


@dataclass(frozen=True, repr=False)
class Scene:
    """One scene; arrays, or tensors, as in the ``Scenes`` it is of."""

    count: int
    """The most probable count, or the sampled one."""
    count_probs: Any
    """(T + 1,), q(n | x) for n = 0..T."""
    objects: tuple[SceneObject, ...]
    """As many as ``count``, in the order of the steps."""
    reconstruction: Any
    """The image drawn again."""
    z_background: Any
    """(latent_size,), the code of what is behind the objects; (0,) without a background."""

    def __repr__(self) -> str:
        probability = float(self.count_probs[self.count])
        return f"Scene(count={self.count}, probability={probability:.3f})"


@dataclass(frozen=True, repr=False)
class Scenes:
    """What AIR found in N images, or drew; NumPy arrays, tensors if the images were a tensor.

    ``scenes[3]`` is a ``Scene`` with its objects, ``scenes[2:5]`` are fewer ``Scenes``.
    """

    counts: Any
    """(N,) int64, the most probable count, or the sampled one."""
    count_probs: Any
    """(N, T + 1) float32, q(n | x) for n = 0..T along the rollout of the means: a plug-in for the
    average over z_where and z_what, or what ``rollout.refinement`` makes of it; of ``AIR.sample``,
    p(n). Rows sum to 1. Without a bound, T is the largest number of steps taken for any image."""
    boxes: Any
    """(N, T, 4) float32, pixels x0, y0, x1, y1; NaN where absent. Windows, which may reach past the
    canvas, or the bounds of what was drawn: ``ModelConfig.framing.boxes`` says which."""
    z_pres: Any
    """(N, T) bool, whether step t found an object: the first ``counts`` steps did."""
    z_where: Any
    """(N, T, 3) float32, poses (s, x, y); of no meaning where absent."""
    z_what: Any
    """(N, T, what_dim) float32, codes; of no meaning where absent."""
    reconstruction: Any
    """The scene drawn again, float32, with the axes of the images."""
    z_background: Any
    """(N, latent_size) float32, the code of what is behind the objects; (N, 0) where the model has
    no background."""

    @classmethod
    def cat(cls, parts: Sequence[Scenes]) -> Scenes:
        """Join the scenes of several batches, all of tensors or all of arrays.

        Without a bound, each batch has as many steps as it needs; the whole has the most of them.
        """
        joined = cls(
            *(
                concatenate(
                    [torch.as_tensor(getattr(part, field.name)) for part in parts],
                    PER_STEP.get(field.name),
                )
                for field in dataclasses.fields(cls)
            )
        )
        return joined if isinstance(parts[0].counts, Tensor) else joined.numpy()

    @property
    def scores(self) -> Any:
        """(N, T), q(z_pres_t = 1 | x): see ``presence_scores``."""
        return presence_scores(self.count_probs)

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> Scenes: ...

    def __getitem__(self, index: int | slice) -> Scene | Scenes:
        if isinstance(index, slice):
            return Scenes(*(values[index] for values in self.fields()))
        i = range(len(self))[index]  # raises IndexError; negative ones count from the end
        count, scores = int(self.counts[i]), presence_scores(self.count_probs[i : i + 1])[0]
        objects = tuple(
            SceneObject(float(scores[t]), self.boxes[i, t], self.z_where[i, t], self.z_what[i, t])
            for t in range(count)
        )
        return Scene(
            count, self.count_probs[i], objects, self.reconstruction[i], self.z_background[i]
        )

    def __repr__(self) -> str:
        counts = np.array2string(np.asarray(self.counts), threshold=10, separator=", ")
        return f"Scenes({len(self)} of up to {self.z_pres.shape[1]} objects, counts={counts})"

    def fields(self) -> tuple[Any, ...]:
        """Return the values of all fields, in their order."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def padded(self, steps: int) -> Scenes:
        """Return the same scenes, of tensors, with room for ``steps`` objects, at least as many."""
        return dataclasses.replace(
            self,
            **{
                name: padded(getattr(self, name), steps + (name == "count_probs"), fill)
                for name, fill in PER_STEP.items()
            },
        )

    def cpu(self) -> Scenes:
        """Return the same scenes, of tensors, on the CPU."""
        return Scenes(*(values.cpu() for values in self.fields()))

    def numpy(self) -> Scenes:
        """Return the same scenes as NumPy arrays."""
        return Scenes(*map(np.asarray, self.fields()))


PER_STEP = {"count_probs": 0.0, "boxes": math.nan, "z_pres": 0.0, "z_where": 0.0, "z_what": 0.0}
"""The fields of ``Scenes`` with an axis of steps, and what they are padded with."""


def presence_scores(count_probs: Any) -> Any:
    """Return q(z_pres_t = 1 | x) = q(n >= t | x), (N, T), of count probabilities (N, T + 1)."""
    if isinstance(count_probs, Tensor):
        return count_probs.flip(1).cumsum(dim=1).flip(1)[:, 1:]
    return count_probs[:, ::-1].cumsum(axis=1)[:, -2::-1]


def padded(values: Tensor, size: int, fill: float = 0.0) -> Tensor:
    """Return values, (N, steps, ...), padded to ``size`` steps, if there are fewer."""
    missing = size - values.shape[1]
    if missing <= 0:
        return values
    more = values.new_full((len(values), missing, *values.shape[2:]), fill)
    return torch.cat((values, more), dim=1)


def concatenate(parts: Sequence[Tensor], fill: float | None = 0.0) -> Tensor:
    """Join the rows of batches, (N, steps, ...), that may differ in their number of steps.

    This is the one way to join what has an axis of steps or counts: without a bound, each batch has
    as many as it needs.

    Args:
        parts: the batches.
        fill: what the steps that a batch lacks are padded with; None where there is no such axis.
    Returns: (all N, most steps, ...).
    """
    if fill is not None:
        most = max(part.shape[1] for part in parts)
        parts = [padded(part, most, fill) for part in parts]
    return torch.cat(list(parts))
