"""How well found boxes agree with true ones."""

from __future__ import annotations

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


def matched_ious(found: NDArray[np.floating], true: NDArray[np.floating]) -> NDArray[np.float64]:
    """Match found and true boxes of each image one to one, with the largest total IoU.

    Args:
        found: (N, T, 4), pixels; NaN where absent.
        true: (N, M, 4), likewise.
    Returns: the IoU of every pair, as many as min(found, true) summed over the images.
    """
    ious = box_iou(found, true)
    num_found = (~np.isnan(found[..., 0])).sum(axis=1)
    num_true = (~np.isnan(true[..., 0])).sum(axis=1)
    pairs = []
    for iou, pairs_here in zip(ious, np.minimum(num_found, num_true), strict=True):
        if pairs_here:
            best = iou[linear_sum_assignment(iou, maximize=True)]
            pairs.append(np.sort(best)[::-1][:pairs_here])  # absent boxes match with 0
    return np.concatenate(pairs) if pairs else np.empty(0)


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
