"""Scenes made from scenes: images whose count is known, though no label was ever seen.

The model adds objects up, so the sum of two images with one object each is an image with two. Where
the guide is sure that an image of the mini-batch holds one object, that object is moved, sometimes
enlarged, and added to another one close by: what the guide finds hardest, two objects side by side
that one window could cover, and one large object that takes two. The guide learns to count these by
the cross-entropy of q(n | x). As many single objects as pairs are in the loss: pairs alone would
teach it to see double.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..air import AIR
from ..distributions import count_log_prob
from ..spatial import object_to_image

SURE = 0.98  # q(n = 1 | x) above which an image is taken to hold one object
INK = 0.02  # intensity above which a pixel belongs to the object
LARGEST_ZOOM = 1.4
LARGEST_SHARE = 0.5  # of the canvas's side that an enlarged object may take
DISTANCES = (0.5, 1.5)  # between the centres of a pair, in mean sizes of the two


class Composites(NamedTuple):
    """Made scenes; half of them with one object, half with two."""

    images: Tensor  # (2 k, channels, height, width), intensity
    counts: Tensor  # (2 k,), 1 or 2
    weights: Tensor  # (2 k,), 0 for a scene that cannot be used


def compose(images: Tensor, log_q: Tensor) -> Composites:
    """Make scenes from a third of the images; of fixed shapes, so nothing waits for the device.

    Args:
        images: (batch, channels, height, width), intensity; dark where there is no object.
        log_q: (batch, T + 1), log q(n | x) of each.
    """
    num = max(len(images) // 3, 1)
    sure = (log_q[:, 1] > math.log(SURE)).to(images.dtype)
    # Sure ones first, in random order.
    chosen = (sure + torch.rand_like(sure)).topk(num).indices
    usable, objects = sure[chosen], images[chosen]

    zoom = torch.exp(torch.rand_like(usable) * math.log(LARGEST_ZOOM))
    zoom = torch.where(torch.rand_like(usable) < 0.5, zoom, 1.0)
    anywhere = torch.rand(num, 2, dtype=images.dtype, device=images.device)
    first = place(objects, anywhere * anywhere.new_tensor(images.shape[-2:]), zoom)
    low, high = _ink_extent(first)
    angle = 2 * math.pi * torch.rand_like(usable)
    near, far = DISTANCES
    reach = (near + (far - near) * torch.rand_like(usable)) * (high - low).amax(dim=-1)
    direction = torch.stack((angle.sin(), angle.cos()), dim=-1)
    centre = (low + high) / 2 + reach[:, None] * direction
    second = place(objects.roll(1, dims=0), centre, zoom.roll(1, dims=0))
    pairs = first + second

    pair_weights = usable * usable.roll(1) * (pairs.flatten(1).amax(dim=1) <= 1)
    single_weights = usable * pair_weights.sum() / usable.sum().clamp(min=1)
    return Composites(
        torch.cat((first, pairs)),
        torch.arange(1, 3, device=images.device).repeat_interleave(num),
        torch.cat((single_weights, pair_weights)),
    )


def composite_loss(air: AIR, images: Tensor, log_q: Tensor) -> Tensor:
    """Return the mean of -log q(n | x) over made scenes at their known counts, (), nats.

    Args:
        air: the model and its guide; two steps at least.
        images: (batch, channels, height, width), intensity.
        log_q: (batch, T + 1), log q(n | x) of each; not differentiated.
    """
    scenes = compose(images, log_q.detach())
    log_probs = count_log_prob(air.guide.path(scenes.images).z_pres_logits)
    known = log_probs.gather(1, scenes.counts[:, None])[:, 0]
    return -(scenes.weights * known).sum() / scenes.weights.sum().clamp(min=1)


def place(images: Tensor, centres: Tensor, zoom: Tensor) -> Tensor:
    """Move what an image shows to another place, enlarged, as near as the canvas allows.

    Args:
        images: (batch, channels, height, width), intensity.
        centres: (batch, 2), where the middle of the ink should be, in pixels (y, x).
        zoom: (batch,), at least 1. At 1 the object moves by whole pixels and stays as it is.
    Returns: (batch, channels, height, width); all the ink lies on the canvas.
    """
    size = centres.new_tensor(images.shape[-2:])
    low, high = _ink_extent(images)
    room = LARGEST_SHARE * size / (high - low).clamp(min=1)
    zoom = zoom[:, None].minimum(room.amin(dim=-1, keepdim=True)).clamp(min=1)
    half = zoom * (high - low) / 2
    middle = (low + high) / 2
    target = centres.maximum(half).minimum(size - half)
    target = torch.where(zoom == 1, middle + (target - middle).round(), target)
    # Canvas point u reads image point s u + (x, y): the target reads the middle.
    shift = (2 * middle / size - 1) - (2 * target / size - 1) / zoom
    z_where = torch.cat((1 / zoom, shift.flip(-1)), dim=-1)  # (s, x, y)
    return object_to_image(z_where, images, (images.shape[-2], images.shape[-1]))


def _ink_extent(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and one past the last row and column with ink: two of (batch, 2)."""
    ink = images.amax(dim=1) > INK
    low, high = [], []
    for axis in (2, 1):  # rows have ink in some column, and the other way round
        line = ink.any(dim=axis).to(images.dtype)
        low.append(line.argmax(dim=1))
        high.append(line.shape[1] - line.flip(1).argmax(dim=1))
    return torch.stack(low, -1).to(images.dtype), torch.stack(high, -1).to(images.dtype)
