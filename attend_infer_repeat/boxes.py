"""How well found boxes agree with true ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


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


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
