"""How well an AIR does on held-out scenes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..air import AIR, largest_batch, reproducible
from ..arrays import as_images
from ..data import Dataset
from ..errors import ConfigError, DataError
from ..model import intensity
from ..posterior import count_posterior
from ..rollout.terms import count_terms
from .boxes import average_precision, matched_ious

BETTER = 1.0  # nats by which another count explains an image better than the one that it gets
FEW_IMAGES = 8  # below which one count of all says nothing
LARGE_SHARE = 0.1  # the share of such images from which on equal counts must be wrong


@dataclass(frozen=True)
class Evaluation:
    """Figures over all the scenes of a data set's split."""

    data: str
    split: str
    num_images: int
    elbo: float
    """Mean evidence lower bound in nats per image, one sample per image; up is better."""
    parts: dict[str, float]
    """The ELBO's summands in nats per image: elbo = log_likelihood - the sum of the kl."""
    count_accuracy: float | None
    """Share of images whose most probable count is the true one; None without true counts."""
    count_error: float | None
    """Mean absolute difference of most probable and true count; None without true counts."""
    confusion: list[list[int]] | None
    """Images by true count (row) and inferred count 0..T (column)."""
    box_iou: float | None
    """Median intersection over union of found and true boxes, matched; None without true boxes."""
    box_ap50: float | None = None
    """Average precision of boxes at an IoU of 0.5, as COCO has it; None without true boxes."""
    elbo_gain: float | None = None
    """What objects add to the ELBO: it minus that of scenes without any, nats per image; about 0 or
    less if they explain nothing. None if all images are alike."""
    same_count: int | None = None
    """The count that every image gets, though the model explains a tenth of them better with other
    ones. None if there is no such count."""
    importance_bound: float | None = None
    """Mean importance-weighted bound on log p(x) in nats per image; None without samples."""
    importance_count_accuracy: float | None = None
    """Count accuracy of the most probable count by importance weighting; None without samples."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return dataclasses.asdict(self)

    def table(self) -> str:
        """Return the figures as lines for a person to read."""
        lines = [f"{self.data}, {self.split} split, {self.num_images} images"]
        if self.count_accuracy is not None:
            lines.append(f"count accuracy   {self.count_accuracy:8.2%}")
        if self.count_error is not None:
            lines.append(f"mean count error {self.count_error:8.3f}")
        if self.box_iou is not None:
            lines.append(f"median box IoU   {self.box_iou:8.3f}")
        if self.box_ap50 is not None:
            lines.append(f"box AP at 0.5    {self.box_ap50:8.3f}")
        lines.append(f"ELBO             {self.elbo:8.2f} nats per image")
        lines += [f"  {name:<14} {value:8.2f}" for name, value in self.parts.items()]
        if self.importance_bound is not None:
            lines.append(f"importance bound {self.importance_bound:8.2f} nats per image")
        if self.importance_count_accuracy is not None:
            lines.append(f"  count accuracy {self.importance_count_accuracy:8.2%}")
        if self.confusion is not None:
            lines.append("images by true count (rows) and inferred count (columns)")
            lines.append("     " + "".join(f"{n:>8}" for n in range(len(self.confusion[0]))))
            for true, row in enumerate(self.confusion):
                lines.append(f"{true:>5}" + "".join(f"{count:>8}" for count in row))
        return "\n".join(lines)


@torch.no_grad()
def evaluate(
    air: AIR,
    data: Dataset,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    importance_samples: int = 0,
) -> Evaluation:
    """Measure the ELBO and, where the true counts are known, how often the count is right.

    Args:
        air: the model.
        data: scenes of the model's canvas size.
        batch_size: images at a time, ``largest_batch`` if None; it bounds memory.
        seed: of the one sample per image that the ELBO takes, and of the importance samples.
        importance_samples: rollouts per image for the importance-weighted bound and counts; each
            takes as long as the ELBO.
    Raises: ShapeError if the images do not fit the model, ConfigError if a number is negative,
        DataError if the ELBO is not finite.
    """
    if importance_samples < 0:
        raise ConfigError(f"importance_samples: must not be negative: {importance_samples}.")
    checked = as_images(data.images, air.config)
    batch_size = largest_batch(air) if batch_size is None else batch_size
    terms, evidence = _roll_out_once(air, checked, batch_size, seed)
    means = {name: float(values.mean()) for name, values in terms.items()}

    return Evaluation(
        data=data.name,
        split=data.split,
        num_images=len(data),
        elbo=means.pop("elbo"),
        parts=means,
        elbo_gain=_elbo_gain(terms["elbo"], evidence.without_objects),
        same_count=_same_count(evidence),
        **_compare_with_truth(air, data.counted(), batch_size),
        **_importance(air, data, importance_samples, batch_size, seed),
    )


def _compare_with_truth(air: AIR, data: Dataset, batch_size: int) -> dict[str, Any]:
    """Return the figures that need true counts or boxes, of images whose counts are known."""
    if data.counts is None or not len(data):
        unknown = ("count_accuracy", "count_error", "confusion", "box_iou")
        return dict.fromkeys(unknown)
    scenes = air.infer(data.images, batch_size=batch_size)
    most = scenes.count_probs.shape[1] - 1
    figures = {
        "count_accuracy": float((scenes.counts == data.counts).mean()),
        "count_error": float(np.abs(scenes.counts - data.counts).mean()),
        "confusion": confusion_matrix(data.counts, scenes.counts, most).tolist(),
        "box_iou": None,
    }
    if data.boxes is not None:
        ious = matched_ious(scenes.boxes, data.boxes)
        figures["box_iou"] = float(np.median(ious)) if len(ious) else None
        figures["box_ap50"] = average_precision(scenes.boxes, scenes.scores, data.boxes)
    return figures


@torch.no_grad()
def elbo_per_image(
    air: AIR, data: Dataset, *, batch_size: int | None = None, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Return ``elbo`` and its parts by name, (N,) each, in nats: one sample per image.

    Args: as those of ``evaluate``, which takes their means.
    Raises: ShapeError if the images do not fit the model, DataError if the ELBO is not finite.
    """
    images = as_images(data.images, air.config)
    return _roll_out_once(air, images, batch_size or largest_batch(air), seed)[0]


class Evidence(NamedTuple):
    """Whether objects explain anything, and counts say anything: see ``training/collapse.py``."""

    without_objects: NDArray[np.float64]  # (N,), the ELBO of a scene without objects, nats
    counts: NDArray[np.int64]  # (N,), the most probable ones along the rollout
    lost: NDArray[np.float64]  # (N,), nats that the best count would add to the ELBO


def _roll_out_once(
    air: AIR, images: Tensor, batch_size: int, seed: int
) -> tuple[dict[str, NDArray[np.float64]], Evidence]:
    """Return the ELBO and its parts by name, (N,) each, and what one rollout tells beside them."""
    batches, evidence = [], []
    with reproducible(seed, air.device):
        for batch in images.split(batch_size):
            rollout = air.rollout(intensity(batch.to(air.device)), roulette=True)
            terms = count_terms(air.model, rollout)
            batches.append({"elbo": terms.elbo} | terms.parts)
            of_counts = terms.of_counts
            log_q = terms.log_q.masked_fill(of_counts == -torch.inf, -torch.inf)
            counts = log_q.argmax(dim=1)
            chosen = of_counts.gather(1, counts[:, None])[:, 0]
            evidence.append((of_counts[:, 0], counts, of_counts.amax(dim=1) - chosen))
    terms_per_image = {
        name: torch.cat([values[name].double() for values in batches]).cpu().numpy()
        for name in batches[0]
    }
    without, counts, lost = (torch.cat(parts).cpu() for parts in zip(*evidence, strict=True))
    _check_finite("the ELBO", terms_per_image["elbo"], without.numpy())
    return terms_per_image, Evidence(
        without.double().numpy(), counts.numpy(), lost.double().numpy()
    )


def _check_finite(what: str, *values: NDArray[np.floating]) -> None:
    """Raise a DataError if a bound on some image's log p(x) is not finite."""
    for value in values:
        wrong = ~np.isfinite(value)
        if wrong.any():
            raise DataError(
                f"{what} is {value[wrong][0]} for {wrong.sum()} of {len(value)} images: the model "
                "has diverged; train it anew with a lower --learning-rate."
            )


def _elbo_gain(elbo: NDArray[np.float64], without_objects: NDArray[np.float64]) -> float | None:
    """Return what objects add to the ELBO; None if the images may all be the same one."""
    if np.ptp(without_objects) == 0:
        return None
    return float((elbo - without_objects).mean())


def _same_count(evidence: Evidence) -> int | None:
    """Return the count of all images, if it cannot be the right one of all."""
    if len(evidence.counts) < FEW_IMAGES:  # which may well show equally many
        return None
    counts: list[int] = np.unique(evidence.counts).tolist()
    wrong = (evidence.lost > BETTER).mean() >= LARGE_SHARE
    return counts[0] if len(counts) == 1 and wrong else None


def _importance(
    air: AIR, data: Dataset, num_samples: int, batch_size: int, seed: int
) -> dict[str, Any]:
    """Return the mean importance-weighted bound, and the count accuracy by importance weighting."""
    if not num_samples:
        return {}
    images = as_images(data.images, air.config)
    posterior = count_posterior(air, images, num_samples, seed, batch_size=batch_size)
    _check_finite("the importance-weighted bound", posterior.bound.numpy())
    figures = {"importance_bound": posterior.bound.mean().item()}
    known = data.counted()
    if known.counts is not None and len(known):
        counts = posterior.count_probs.argmax(dim=-1).numpy()
        right = counts[data.counts >= 0] == known.counts  # type: ignore[operator]
        figures["importance_count_accuracy"] = float(right.mean())
    return figures


def confusion_matrix(
    true: NDArray[np.int64], inferred: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Count images by true count (rows 0..max) and inferred count (columns 0..most)."""
    matrix = np.zeros((int(true.max()) + 1, most + 1), dtype=np.int64)
    np.add.at(matrix, (true, inferred), 1)
    return matrix
