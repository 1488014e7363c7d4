"""Copy-paste composites: images whose count is known, though no label was seen.

The model adds objects up, so the sum of n images with one object each is an image with n. Where the
guide is sure that an image of the mini-batch holds one object, that object is moved, sometimes
enlarged, and others are added close by: what the guide finds hardest, objects side by side that one
window could cover, and one large object that takes two. The guide learns to count these by the
cross-entropy of q(n | x). Each count weighs about as often as the guide finds it in the images:
pairs alone would teach it to see double, and equal weights to see a third object in pairs.

No composite's sum may exceed 1 anywhere: another place is tried, and else the scene is left out.
That is the rule by which the generated sets keep their objects from overlapping
(``data/sets/scenes.py``), and Pyro's multi-MNIST with them, taken over; on images whose objects do
overlap, it is a choice.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..spatial import object_to_image, window_boxes

SURE = 0.98  # q(n = 1 | x) above which an image is taken to hold one object
INK = 0.02  # intensity above which a pixel belongs to the object
LARGEST_ZOOM = 1.7
LARGEST_SHARE = 0.5  # of the canvas's side that an enlarged object may take
DISTANCES = (0.3, 1.3)  # between the centres of neighbours, in sizes of the first
MARGIN = 1.2  # width of what is cut out, in widths of the object's window
LARGEST_ERROR = 0.15  # of what is cut out: the share of its energy that may be left of it
TRIES = 4  # places that are tried for an object; a scene's intensities must not exceed 1


class Composites(NamedTuple):
    """Composites, k of every count n = 1..T."""

    images: Tensor  # (T k, channels, height, width), intensity
    counts: Tensor  # (T k,)
    weights: Tensor  # (T k,), 0 for a scene that cannot be used; their sum is 1, or 0 without any

    def loss(self, log_q: Tensor) -> Tensor:
        """Return the mean of -log q(n | x) over the scenes at their known counts n, (), nats.

        Args:
            log_q: (T k, T + 1), what the guide thinks of the scenes.
        """
        known = log_q.gather(1, self.counts[:, None])[:, 0]
        return -(self.weights * known).sum()

    def portion(self, index: int, num: int) -> Composites:
        """Return every num-th scene from ``index`` on, as many of every count, weighed like all."""
        part = Composites(*(rows[index::num] for rows in self))
        return part._replace(weights=num * part.weights)


def single_objects(images: Tensor, count_probs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images, and which of them the guide is sure to show one object.

    Args:
        images: (batch, channels, height, width), intensity; dark where there is no object.
        count_probs: (batch, T + 1), q(n | x) of each.
    Returns: the images and (batch,), 0 or 1.
    """
    return images, (count_probs[:, 1] > SURE).to(images.dtype)


def cut_out(
    images: Tensor, left: Tensor, count_probs: Tensor, z_where: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Cut one object out of each image: one that stands alone, in a scene that is well explained.

    Args:
        images: (batch, channels, height, width), intensity; dark where there is no object.
        left: likewise, what the most probable number of objects leaves of them.
        count_probs: (batch, T + 1), q(n | x) of each.
        z_where: (batch, T, 3), the objects' poses.
        uniform: (batch,), draws from [0, 1), which choose the object.
    Returns: the objects, like the images, and which of them can be used, (batch,), 0 or 1.
    """
    probability, counts = count_probs.max(dim=1)
    chosen = (uniform * counts).long()
    size = images.shape[-2], images.shape[-1]
    rows = torch.arange(len(images), device=images.device)
    boxes = window_boxes(z_where / MARGIN, size)  # (batch, T, 4)
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
    # Two objects that were read as one are drawn badly.
    error = (left * mask).square().sum(dim=(1, 2, 3))
    energy = objects.square().sum(dim=(1, 2, 3))
    usable = clear & (counts > 0) & (probability > SURE) & (error < LARGEST_ERROR * energy)
    return objects, usable.to(images.dtype)


def compose(
    objects: Tensor,
    is_object: Tensor,
    count_probs: Tensor,
    num_portions: int = 1,
    scattered: float = 0.0,
    rare: float = 0.1,
    share: float = 0.5,
) -> Composites:
    """Make about ``share`` as many scenes as there are images.

    Of fixed shapes, so that nothing waits for the device.

    Args:
        objects: (batch, channels, height, width), intensity; images of one object each.
        is_object: (batch,), 1 for those that can be used, 0 for the others.
        count_probs: (batch, T + 1), q(n | x) of the mini-batch; T at least 2.
        num_portions: into how many equal portions the scenes will be divided.
        scattered: probability with which an object goes anywhere, not close to the one before.
        rare: added to how often a count is found, so that no count is unheard of.
        share: of the number of images; no count has more scenes than there are images.
    """
    steps = count_probs.shape[1] - 1
    num = max(int(share * len(objects)) // (steps * num_portions), 1) * num_portions
    num = min(num, len(objects))
    # Usable ones first, in random order.
    chosen = (is_object + torch.rand_like(is_object)).topk(num).indices
    objects, is_object = objects[chosen], is_object[chosen]
    zoom = torch.exp(torch.rand_like(is_object) * math.log(LARGEST_ZOOM))
    zoom = torch.where(torch.rand_like(is_object) < 0.5, zoom, 1.0)

    def anywhere() -> Tensor:
        random = torch.rand(TRIES, num, 2, dtype=objects.dtype, device=objects.device)
        return random * _canvas_size(objects)

    centres = anywhere()
    scene, usable = torch.zeros_like(objects), torch.ones_like(is_object)
    scenes, weights = [], []
    for n in range(steps):  # each scene takes in the object of the n-th next one
        placed, fits = _fit_in(scene, objects.roll(n, dims=0), centres, zoom.roll(n))
        scene = scene + placed
        usable = usable * is_object.roll(n) * fits
        scenes.append(scene)
        weights.append(usable)
        centres = _close_by(placed)
        if scattered:
            elsewhere = torch.rand_like(is_object)[:, None] < scattered
            centres = torch.where(elsewhere, anywhere(), centres)
    weight = torch.stack(weights)  # (T, k)
    num_usable = weight.sum(dim=1)
    often = (count_probs.mean(dim=0)[1:] + rare) * (num_usable > 0)
    often = often * (num_usable[1] > 0)  # single objects alone would teach it to see one everywhere
    of_count = often / often.sum().clamp(min=rare)
    return Composites(
        torch.cat(scenes),
        torch.arange(1, steps + 1, device=objects.device).repeat_interleave(num),
        (weight * (of_count / num_usable.clamp(min=1))[:, None]).flatten(),
    )


def _fit_in(scene: Tensor, objects: Tensor, centres: Tensor, zoom: Tensor) -> tuple[Tensor, Tensor]:
    """Place objects at the first of their centres (TRIES, batch, 2) where the sum stays below 1.

    Returns: the placed objects, as the images, and whether there was such a place, (batch,).
    """
    tried = place(objects, centres, zoom)
    fits = ((scene + tried).flatten(-3).amax(dim=-1) <= 1).to(zoom.dtype)
    first = fits.argmax(dim=0)
    return tried[first, torch.arange(len(objects), device=first.device)], fits.amax(dim=0)


def _close_by(objects: Tensor) -> Tensor:
    """Return points near each image's object, (TRIES, batch, 2), in pixels (y, x)."""
    low, high = _ink_extent(objects)
    random = torch.rand(2, TRIES, len(objects), dtype=objects.dtype, device=objects.device)
    nearest, farthest = DISTANCES
    distance = (nearest + (farthest - nearest) * random[0]) * (high - low).amax(dim=-1)
    angle = 2 * math.pi * random[1]
    direction = torch.stack((angle.sin(), angle.cos()), dim=-1)
    return (low + high) / 2 + distance[..., None] * direction


def place(images: Tensor, centres: Tensor, zoom: Tensor) -> Tensor:
    """Move what an image shows to another place, enlarged, as near as the canvas allows.

    Args:
        images: (batch, channels, height, width), intensity.
        centres: (..., batch, 2), where the middle of the ink should be, in pixels (y, x).
        zoom: (batch,), at least 1. At 1 the object moves by whole pixels and stays as it is.
    Returns: (..., batch, channels, height, width); all the ink lies on the canvas.
    """
    size = _canvas_size(images)
    low, high = _ink_extent(images)
    room = LARGEST_SHARE * size / (high - low).clamp(min=1)
    zoom = zoom[:, None].minimum(room.amin(dim=-1, keepdim=True)).clamp(min=1)
    half = zoom * (high - low) / 2
    middle = (low + high) / 2
    target = centres.maximum(half).minimum(size - half)
    target = torch.where(zoom == 1, middle + (target - middle).round(), target)
    # Canvas point u reads image point s u + (x, y): the target reads the middle.
    shift = (2 * middle / size - 1) - (2 * target / size - 1) / zoom
    z_where = torch.cat(((1 / zoom).expand_as(shift[..., :1]), shift.flip(-1)), dim=-1)  # (s, x, y)
    moved = images.expand(*centres.shape[:-1], *images.shape[1:])
    return object_to_image(z_where, moved, (images.shape[-2], images.shape[-1]))


def _canvas_size(images: Tensor) -> Tensor:
    """Return (height, width), (2,), made on the device: copied to it, they would wait for it."""
    return torch.cat([images.new_full((1,), side) for side in images.shape[-2:]])


def _ink_extent(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and one past the last row and column with ink: two of (batch, 2)."""
    brightest = images.amax(dim=1)
    low, high = [], []
    for axis in (2, 1):  # rows have ink in some column, and the other way round
        line = (brightest.amax(dim=axis) > INK).to(images.dtype)
        low.append(line.argmax(dim=1))
        high.append(line.shape[1] - line.flip(1).argmax(dim=1))
    return torch.stack(low, -1).to(images.dtype), torch.stack(high, -1).to(images.dtype)
