"""How well found boxes agree with true ones."""

from __future__ import annotations

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..errors import MissingError, extra, warn_once


def box_iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the intersection over union of every pair of boxes of an image.

    Args:
        first: (..., T, 4), pixels x0, y0, x1, y1; NaN where absent.
        second: (..., M, 4), likewise.
    Returns: (..., T, M), in [0, 1]; 0 where one of the two is absent.
    """
    a, b = first[..., :, None, :].astype(float), second[..., None, :, :].astype(float)
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = overlap.clip(min=0).prod(axis=-1)
    union = _area(a) + _area(b) - intersection
    return np.nan_to_num(np.divide(intersection, union, where=union > 0, out=0 * union))


class Matches(NamedTuple):
    """Pairs of a found and a true box, over all images."""

    images: NDArray[np.int64]  # (P,), the pair's image
    found: NDArray[np.int64]  # (P,), the found box's slot
    true: NDArray[np.int64]  # (P,), the true box's slot
    ious: NDArray[np.float64]  # (P,), may be 0


def match_boxes(found: NDArray[np.floating], true: NDArray[np.floating]) -> Matches:
    """Match found and true boxes of each image one to one, with the largest total IoU.

    Args:
        found: (N, T, 4), pixels; NaN where absent.
        true: (N, M, 4), likewise.
    Returns: as many pairs as min(found, true) summed over the images, image by image.
    """
    ious = box_iou(found, true)
    present = ~np.isnan(found[..., :, None, 0]) & ~np.isnan(true[..., None, :, 0])
    # At -1, absent boxes take part only once no two present ones are left to be matched.
    assigned = [linear_sum_assignment(iou, maximize=True) for iou in np.where(present, ious, -1)]
    num, pairs = len(ious), min(ious.shape[1:])
    slots = np.array(assigned, dtype=np.int64).reshape(num, 2, pairs)
    images, pair = present[np.arange(num)[:, None], slots[:, 0], slots[:, 1]].nonzero()
    rows, columns = slots[images, :, pair].T
    return Matches(images, rows, columns, ious[images, rows, columns])


def matched_ious(found: NDArray[np.floating], true: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the IoU of every pair of ``match_boxes``."""
    return match_boxes(found, true).ious


def average_precision(
    found: NDArray[np.floating],
    scores: NDArray[np.floating],
    true: NDArray[np.floating],
    iou: float = 0.5,
) -> float | None:
    """Return COCO's average precision of boxes at one IoU, computed by pycocotools.

    Args:
        found: (N, T, 4), pixels; NaN where absent.
        scores: (N, T), higher for boxes that are more certain.
        true: (N, M, 4), like ``found``.
        iou: at which a box counts as found.
    Returns: in [0, 1]; None without any true box, and without pycocotools, which a warning tells.
    """
    try:
        with extra("coco", "the average precision of boxes"):
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
    except MissingError as error:
        warn_once(f"Left out: {error}")
        return None
    num = len(found)
    if not num or np.isnan(true[..., 0]).all():
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(num)],
            "categories": [{"id": 1}],
            "annotations": _annotations(true, np.ones(true.shape[:2])),
        }
        truth.createIndex()
        detections = _annotations(found, scores)
        evaluation = COCOeval(truth, truth.loadRes(detections or [_nothing()]), "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.evaluate()
        evaluation.accumulate()
    # (IoUs, recalls, categories, areas, numbers of detections): all areas, up to 100 an image.
    precision = evaluation.eval["precision"][0, :, 0, 0, -1]
    return float(precision.clip(min=0).mean())


def _annotations(boxes: NDArray[np.floating], scores: NDArray[np.floating]) -> list[dict[str, Any]]:
    """Return boxes (N, M, 4), NaN where absent, as COCO has them: x, y, width, height."""
    rows = np.argwhere(~np.isnan(boxes[..., 0]))
    return [
        {
            "id": k + 1,
            "image_id": int(i),
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [float(v) for v in (*boxes[i, t, :2], *(boxes[i, t, 2:] - boxes[i, t, :2]))],
            "area": float((boxes[i, t, 2:] - boxes[i, t, :2]).prod()),
            "score": float(scores[i, t]),
        }
        for k, (i, t) in enumerate(rows)
    ]


def _nothing() -> dict[str, Any]:
    """Stand in for no detection at all, which pycocotools cannot load: a box beside the image."""
    return _annotations(np.array([[[-2.0, -2.0, -1.0, -1.0]]]), np.zeros((1, 1)))[0]


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
