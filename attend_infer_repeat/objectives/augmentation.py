"""Copy-paste composites with pseudo-counts: images whose count is known, though no label was seen.

Objects are copied from images of the mini-batch and pasted together, and the guide learns to count
the composites by the cross-entropy of q(n | x) (copy-paste: Ghiasi et al. 2021; pseudo-labels: Lee
2013). The objects come from images in which the guide is sure of a single object, or are cut out of
scenes that are well explained. Each is moved, sometimes enlarged, and pasted close to the one
before: the hardest cases are objects side by side that one window could cover, and one large object
that takes two. Each count weighs about as often as the guide finds it in the images: pairs alone
would teach it to see double, and equal weights to see a third object in pairs.

The intensities of a composite must not exceed 1 anywhere: otherwise another place is tried, and at
last the composite gets weight 0. The generated sets keep their objects from overlapping by the same
rule (``data/sets/scenes.py``), and with them Pyro's multi-MNIST; on images whose objects do
overlap, it is a choice.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..spatial import object_to_image, window_boxes

CONFIDENCE_THRESHOLD = 0.98  # q(n | x) above which the guide is taken to be right
FOREGROUND_THRESHOLD = 0.02  # intensity above which a pixel belongs to the object
MAX_ZOOMED_SHARE = 0.5  # of the canvas's side that an enlarged object may take
NEIGHBOR_DISTANCES = (0.3, 1.3)  # between the centers of neighbors, in sizes of the first
CUT_OUT_WIDTH = 1.2  # in widths of the object's window
MAX_RESIDUAL_SHARE = 0.15  # of the energy of what is cut out, unexplained
NUM_PLACEMENTS = 4  # places that are tried for an object


class Composites(NamedTuple):
    """Composites, k of every count n = 1..T."""

    images: Tensor  # (T k, channels, height, width), intensity
    counts: Tensor  # (T k,)
    weights: Tensor  # (T k,), 0 for unusable ones; their sum is 1, or 0 without any

    def loss(self, log_q: Tensor) -> Tensor:
        """Return the mean of -log q(n | x) over composites at their known counts n, (), nats.

        Args:
            log_q: (T k, T + 1), of the composites.
        """
        known = log_q.gather(1, self.counts[:, None])[:, 0]
        return -(self.weights * known).sum()

    def portion(self, index: int, num: int) -> Composites:
        """Return every num-th composite from ``index`` on: as many of each count, weights alike."""
        part = Composites(*(rows[index::num] for rows in self))
        return part._replace(weights=num * part.weights)


def single_objects(images: Tensor, count_probs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images, and which of them show one object, if the guide is confident.

    Args:
        images: (batch, channels, height, width), intensity; dark where there is no object.
        count_probs: (batch, T + 1), q(n | x) of each.
    Returns: the images and (batch,), 0 or 1.
    """
    return images, (count_probs[:, 1] > CONFIDENCE_THRESHOLD).to(images.dtype)


def cut_out(
    images: Tensor, residual: Tensor, count_probs: Tensor, z_where: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Cut one object out of each image: one that stands alone, in a scene that is well explained.

    Args:
        images: (batch, channels, height, width), intensity; dark where there is no object.
        residual: likewise, after the most probable number of objects.
        count_probs: (batch, T + 1), q(n | x) of each.
        z_where: (batch, T, 3), the objects' poses.
        uniform: (batch,), draws from [0, 1), which choose the object.
    Returns: the objects, like the images, and which of them can be used, (batch,), 0 or 1.
    """
    probability, counts = count_probs.max(dim=1)
    chosen = (uniform * counts).long()
    size = images.shape[-2], images.shape[-1]
    rows = torch.arange(len(images), device=images.device)
    boxes = window_boxes(z_where / CUT_OUT_WIDTH, size)  # (batch, T, 4)
    own = boxes[rows, chosen]
    alone = counts == 1
    apart = (boxes[..., :2] >= own[:, None, 2:]) | (boxes[..., 2:] <= own[:, None, :2])
    steps = torch.arange(z_where.shape[1], device=images.device)
    other = (steps < counts[:, None]) & (steps != chosen[:, None])
    clear = (apart.any(dim=-1) | ~other).all(dim=-1)

    x, y = (torch.arange(side, device=images.device) + 0.5 for side in (size[1], size[0]))
    columns = (x >= own[:, :1]) & (x < own[:, 2:3])
    inside = ((y >= own[:, 1:2]) & (y < own[:, 3:]))[:, :, None] & columns[:, None]
    mask = (inside | alone[:, None, None])[:, None].to(images.dtype)
    objects = images * mask
    # Two objects that were taken for one are explained badly.
    error = (residual * mask).square().sum(dim=(1, 2, 3))
    energy = objects.square().sum(dim=(1, 2, 3))
    usable = clear & (counts > 0) & (probability > CONFIDENCE_THRESHOLD)
    usable = usable & (error < MAX_RESIDUAL_SHARE * energy)
    return objects, usable.to(images.dtype)


def compose(
    objects: Tensor,
    is_object: Tensor,
    count_probs: Tensor,
    num_portions: int = 1,
    scattered: float = 0.0,
    rare: float = 0.1,
    share: float = 0.5,
    largest_zoom: float = 1.7,
) -> Composites:
    """Make about ``share`` as many composites as there are images.

    Their shapes are fixed, so that nothing waits for the device.

    Args:
        objects: (batch, channels, height, width), intensity; images of one object each.
        is_object: (batch,), 1 for those that can be used, 0 for the others.
        count_probs: (batch, T + 1), q(n | x) of the mini-batch; T at least 2.
        num_portions: number of equal portions that the composites will be divided into.
        scattered: probability that an object is pasted anywhere, not close to the one before.
        rare: added to the frequency of every count, so that none is ignored.
        share: of the number of images; no count has more composites than there are images.
        largest_zoom: by which every other object is enlarged, at most.
    """
    steps = count_probs.shape[1] - 1
    num = max(int(share * len(objects)) // (steps * num_portions), 1) * num_portions
    num = min(num, len(objects))
    # Usable objects first, in random order.
    chosen = (is_object + torch.rand_like(is_object)).topk(num).indices
    objects, is_object = objects[chosen], is_object[chosen]
    zoom = torch.exp(torch.rand_like(is_object) * math.log(largest_zoom))
    zoom = torch.where(torch.rand_like(is_object) < 0.5, zoom, 1.0)

    composites, weights = _paste(objects, is_object, zoom, steps, scattered)
    return Composites(
        torch.cat(composites),
        torch.arange(1, steps + 1, device=objects.device).repeat_interleave(num),
        _weights(torch.stack(weights), count_probs, rare).flatten(),
    )


def _paste(
    objects: Tensor, is_object: Tensor, zoom: Tensor, steps: int, scattered: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Paste objects one after the other.

    Returns: composites of n = 1..steps objects, and which of them can be used, (k,) each.
    """

    def anywhere() -> Tensor:
        shape = NUM_PLACEMENTS, len(objects), 2
        random = torch.rand(shape, dtype=objects.dtype, device=objects.device)
        return random * _canvas_size(objects)

    centers = anywhere()
    composite, usable = torch.zeros_like(objects), torch.ones_like(is_object)
    composites, weights = [], []
    for n in range(steps):  # each composite gets the object of the n-th next one
        placed, fits = _fit_in(composite, objects.roll(n, dims=0), centers, zoom.roll(n))
        composite = composite + placed
        usable = usable * is_object.roll(n) * fits
        composites.append(composite)
        weights.append(usable)
        centers = _close_by(placed)
        if scattered:
            elsewhere = torch.rand_like(is_object)[:, None] < scattered
            centers = torch.where(elsewhere, anywhere(), centers)
    return composites, weights


def _weights(usable: Tensor, count_probs: Tensor, rare: float) -> Tensor:
    """Return what each composite weighs, (T, k), of which can be used, (T, k)."""
    num_usable = usable.sum(dim=1)
    often = (count_probs.mean(dim=0)[1:] + rare) * (num_usable > 0)
    often = often * (num_usable[1] > 0)  # single objects alone would teach it to see one everywhere
    of_count = often / often.sum().clamp(min=rare)
    return usable * (of_count / num_usable.clamp(min=1))[:, None]


def _fit_in(
    composite: Tensor, objects: Tensor, centers: Tensor, zoom: Tensor
) -> tuple[Tensor, Tensor]:
    """Paste objects at the first of their centers, (NUM_PLACEMENTS, batch, 2), where they fit.

    They fit where the sum of intensities does not exceed 1.

    Returns: the placed objects, as the images, and whether there was such a place, (batch,).
    """
    tried = place(objects, centers, zoom)
    fits = ((composite + tried).flatten(-3).amax(dim=-1) <= 1).to(zoom.dtype)
    first = fits.argmax(dim=0)
    return tried[first, torch.arange(len(objects), device=first.device)], fits.amax(dim=0)


def _close_by(objects: Tensor) -> Tensor:
    """Return points near each image's object, (NUM_PLACEMENTS, batch, 2), in pixels (y, x)."""
    low, high = _foreground_extent(objects)
    random = torch.rand(2, NUM_PLACEMENTS, len(objects), dtype=objects.dtype, device=objects.device)
    nearest, farthest = NEIGHBOR_DISTANCES
    distance = (nearest + (farthest - nearest) * random[0]) * (high - low).amax(dim=-1)
    angle = 2 * math.pi * random[1]
    direction = torch.stack((angle.sin(), angle.cos()), dim=-1)
    return (low + high) / 2 + distance[..., None] * direction


def place(images: Tensor, centers: Tensor, zoom: Tensor) -> Tensor:
    """Move each object to another place, enlarged, as near as the canvas allows.

    Args:
        images: (batch, channels, height, width), intensity.
        centers: (..., batch, 2), where the middle of the foreground should be, in pixels (y, x).
        zoom: (batch,), at least 1. At 1 the object moves by whole pixels and stays as it is.
    Returns: (..., batch, channels, height, width); all the foreground lies on the canvas.
    """
    size = _canvas_size(images)
    low, high = _foreground_extent(images)
    room = MAX_ZOOMED_SHARE * size / (high - low).clamp(min=1)
    zoom = zoom[:, None].minimum(room.amin(dim=-1, keepdim=True)).clamp(min=1)
    half = zoom * (high - low) / 2
    middle = (low + high) / 2
    target = centers.maximum(half).minimum(size - half)
    target = torch.where(zoom == 1, middle + (target - middle).round(), target)
    # Canvas point u reads image point s u + (x, y): the target reads the middle.
    shift = (2 * middle / size - 1) - (2 * target / size - 1) / zoom
    z_where = torch.cat(((1 / zoom).expand_as(shift[..., :1]), shift.flip(-1)), dim=-1)  # (s, x, y)
    moved = images.expand(*centers.shape[:-1], *images.shape[1:])
    return object_to_image(z_where, moved, (images.shape[-2], images.shape[-1]))


def _canvas_size(images: Tensor) -> Tensor:
    """Return (height, width), (2,), made on the device: a copy from the host would wait for it."""
    return torch.cat([images.new_full((1,), side) for side in images.shape[-2:]])


def _foreground_extent(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and one past the last row and column with foreground: two of (batch, 2)."""
    brightest = images.amax(dim=1)
    low, high = [], []
    for axis in (2, 1):  # rows have foreground in some column, and the other way round
        line = (brightest.amax(dim=axis) > FOREGROUND_THRESHOLD).to(images.dtype)
        low.append(line.argmax(dim=1))
        high.append(line.shape[1] - line.flip(1).argmax(dim=1))
    return torch.stack(low, -1).to(images.dtype), torch.stack(high, -1).to(images.dtype)
