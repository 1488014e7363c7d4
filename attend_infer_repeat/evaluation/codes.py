"""What the codes know: how much of an object's class, never seen in training, is in its z_what.

A linear probe reads the class from the codes of found objects, and k-means groups them without
labels. The same is done with the pixels that the codes were read from, so that the difference is
what the codes contribute.

Source: Alain and Bengio 2017, "Understanding intermediate layers using linear classifier probes".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from ..air import AIR
from ..data import Dataset
from ..errors import ConfigError, DataError
from ..files.records import check_finite
from ..seeds import check_seed
from .boxes import match_boxes
from .components import principal_components
from .probes import Folds, Labels, Rows, cluster, linear_probe
from .windows import cut_windows

FOLDS = 3  # of the cross-validation that chooses a probe's penalty


@dataclass(frozen=True)
class Features:
    """How well one description of the objects tells their classes."""

    size: int
    """Numbers per object."""
    accuracy: float
    """Share of tested objects whose class a linear probe reads rightly."""
    standard_error: float
    """Of the accuracy, taking the tested objects for independent draws."""
    purity: float
    """Share of tested objects that are of their cluster's most frequent class; up is better."""
    mutual_information: float
    """Between clusters and classes, normalized by the mean of their entropies: 0 to 1, none to
    all."""
    rand_index: float
    """Adjusted Rand index of clusters and classes: 0 by chance, 1 if they are the same."""


@dataclass(frozen=True)
class CodesEvaluation:
    """What z_what tells of the objects' classes, beside the pixels that it was read from."""

    data: str
    split: str
    """Part of the data that is tested and clustered."""
    num_true: int
    """Labeled objects in the tested images."""
    num_found: int
    """Objects found in the tested images."""
    num_tested: int
    """Found objects that match a labeled one: those whose class is read and that are clustered."""
    num_fitted: int
    """Likewise in the other images, on which the probes are fitted."""
    num_clusters: int
    chance: float
    """Accuracy of the most frequent class among the objects that the probes are fitted on."""
    features: dict[str, Features]
    """``z_what``: means of q(z_what | x). ``pixels``: the windows that they were read from.
    ``pca``: the windows' first principal components, as many as z_what has numbers."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return dataclasses.asdict(self)

    def table(self) -> str:
        """Return the figures as lines for a person to read."""
        lines = [
            f"{self.data}, {self.split} split: {self.num_true} labeled objects, {self.num_found} "
            f"found, {self.num_tested} matched",
            f"linear probes fitted on {self.num_fitted} objects; {self.num_clusters} clusters",
            "          size  accuracy            purity     NMI    Rand",
        ]
        for name, f in self.features.items():
            lines.append(
                f"{name:<8}{f.size:>6}  {f.accuracy:8.2%} ± {f.standard_error:6.2%}"
                f"{f.purity:>9.3f}{f.mutual_information:>8.3f}{f.rand_index:>8.3f}"
            )
        lines.append(f"{'chance':<14}  {self.chance:8.2%}")
        return "\n".join(lines)


def evaluate_codes(
    air: AIR,
    data: Dataset,
    *,
    test: Dataset | None = None,
    num_clusters: int | None = None,
    min_iou: float = 0.1,
    batch_size: int = 256,
    seed: int = 0,
) -> CodesEvaluation:
    """Measure what z_what tells of the objects' classes: by a linear probe and by clusters.

    An object's class is the label of the true object that its box matches, image by image, one to
    one, with the largest total IoU. The probe is a logistic regression on standardized features,
    with the L2 penalty that cross-validation on the fitted objects chooses; scenes are never
    divided between fit and test, nor between folds. Clusters are those of k-means on the tested
    objects' features as they are: in z_what, numbers that are not used stay close to 0.

    Args:
        air: the model.
        data: scenes with boxes and labels, to fit the probes on. A few thousand will do; take
            ``data[:10_000]`` of more.
        test: other such scenes, to test the probes on and to cluster; if None, a random half of
            ``data``, whose other half the probes are fitted on.
        num_clusters: clusters of k-means; as many as the tested objects have classes if None.
        min_iou: a pair of boxes whose IoU is lower is no match. Windows are about equally large,
            so that one that is centered on a small object has a low IoU, too.
        batch_size: images at a time; it bounds memory.
        seed: of the division into halves and of k-means.
    Returns: the figures for z_what, for the windows' pixels, and for their principal components.
    Raises: DataError if boxes or labels are unknown, too few objects with a class are found, or
        the model's answer is not finite; ConfigError if a number is out of range or ``test``
        shares scenes with ``data``; ShapeError if the images do not fit the model.
    """
    seed = check_seed(seed)
    data, test = _divided(data, test, seed)
    fitted, tested = (_read_objects(air, scenes, min_iou, batch_size) for scenes in (data, test))
    folds = _folds(fitted, data)
    num_clusters = _num_clusters(num_clusters, tested)
    return CodesEvaluation(
        data=test.name,
        split=test.split,
        num_true=tested.num_true,
        num_found=tested.num_found,
        num_tested=len(tested.labels),
        num_fitted=len(fitted.labels),
        num_clusters=num_clusters,
        chance=_chance(fitted.labels, tested.labels),
        features=_features(fitted, tested, folds, num_clusters, seed),
    )


def _chance(fit_labels: Labels, test_labels: Labels) -> float:
    """Return the share of tested objects that are of the most frequent class of the fitted ones."""
    classes, frequencies = np.unique(fit_labels, return_counts=True)
    return float((test_labels == classes[frequencies.argmax()]).mean())


def _divided(data: Dataset, test: Dataset | None, seed: int) -> tuple[Dataset, Dataset]:
    """Return scenes to fit on and scenes to test on: random halves of the data if no test is given.

    Raises: ConfigError if they share scenes.
    """
    if test is None:
        order = np.random.default_rng(seed).permutation(len(data))
        half = len(data) // 2
        return data[order[:half]], data[order[half:]]
    if np.shares_memory(data.images, test.images):
        raise ConfigError("test: shares scenes with the data; leave it out to divide the data.")
    return data, test


def _num_clusters(num_clusters: int | None, tested: Objects) -> int:
    """Return how many clusters there are: by default as many as classes."""
    num_clusters = len(np.unique(tested.labels)) if num_clusters is None else num_clusters
    if not 1 <= num_clusters <= len(tested.labels):
        raise ConfigError(
            f"num_clusters: expected 1 to {len(tested.labels)}, the number of objects that are "
            f"clustered, got {num_clusters}."
        )
    return num_clusters


class Objects(NamedTuple):
    """The found objects of a data set that match a labeled one, and how many there are in all."""

    z_what: Rows  # (P, what_dim), means of q(z_what | x)
    pixels: Rows  # (P, channels * window_size**2), intensity
    labels: Labels  # (P,)
    images: NDArray[np.int64]  # (P,), the object's image
    num_found: int
    num_true: int


def _read_objects(air: AIR, data: Dataset, min_iou: float, batch_size: int) -> Objects:
    """Find the objects, and their classes by their boxes."""
    if not 0 < min_iou <= 1:
        raise ConfigError(f"min_iou: expected a number above 0, and at most 1, got {min_iou}.")
    if data.boxes is None or data.labels is None:
        unknown = "boxes" if data.boxes is None else "labels"
        raise DataError(
            f"{data.name}: the objects' {unknown} are unknown; codes are judged on a Dataset that "
            "has boxes and labels, such as digits."
        )
    scenes = air.infer(data.images, batch_size=batch_size)
    check_finite(data.name, scenes.z_where, scenes.z_what)
    pairs = match_boxes(scenes.boxes, data.boxes)
    labels = data.labels[pairs.images, pairs.true]
    known = (pairs.ious >= min_iou) & (labels >= 0)
    if not known.any():
        raise DataError(
            f"{data.name}, {data.split}: none of {int(scenes.counts.sum())} found objects matches "
            f"one of {int((data.labels >= 0).sum())} labeled ones with an IoU of {min_iou}; train "
            "the model on such scenes first."
        )
    images, slots = pairs.images[known], pairs.found[known]
    windows = cut_windows(air, data.images, images, scenes.z_where[images, slots], batch_size)
    return Objects(
        z_what=scenes.z_what[images, slots].astype(np.float64),
        pixels=windows.reshape(len(windows), -1).astype(np.float64),
        labels=labels[known],
        images=images,
        num_found=int(scenes.counts.sum()),
        num_true=int((data.labels >= 0).sum()),
    )


def _folds(fitted: Objects, data: Dataset) -> Folds:
    """Divide the objects, by image, for the cross-validation; return rows to fit and to test."""
    num_images, num_classes = len(np.unique(fitted.images)), len(np.unique(fitted.labels))
    if num_images >= FOLDS:
        folds = list(GroupKFold(FOLDS).split(fitted.labels, groups=fitted.images))
        if all(len(np.unique(fitted.labels[rows])) > 1 for rows, _ in folds):
            return folds
    raise DataError(
        f"{data.name}, {data.split}: the probes need objects of several classes in each third of "
        f"the images, and {len(fitted.labels)} of {num_classes} in {num_images} images were "
        "found; give more scenes."
    )


def _features(
    fitted: Objects, tested: Objects, folds: Folds, num_clusters: int, seed: int
) -> dict[str, Features]:
    """Return the figures of each description of the objects, by its name."""
    return {
        name: Features(
            size=test_rows.shape[1],
            **linear_probe(fit_rows, fitted.labels, folds, test_rows, tested.labels),
            **cluster(test_rows, tested.labels, num_clusters, seed),
        )
        for name, fit_rows, test_rows in _descriptions(fitted, tested)
    }


def _descriptions(fitted: Objects, tested: Objects) -> Iterator[tuple[str, Rows, Rows]]:
    """Yield each description's name, and its features of the fitted and of the tested objects."""
    yield "z_what", fitted.z_what, tested.z_what
    yield "pixels", fitted.pixels, tested.pixels
    pca = principal_components(fitted.pixels, fitted.z_what.shape[1])
    yield "pca", pca.transform(fitted.pixels), pca.transform(tested.pixels)
