"""Where objects lie on the canvas: their windows, and the bounds of what they draw."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .transformer import scale_and_shifts

MIN_PEAK = 0.02  # a canvas whose peak is not above this intensity shows no object


def window_boxes(z_where: Tensor, canvas_size: tuple[int, int]) -> Tensor:
    """Return where each window lies on the canvas; it may reach beyond its edges.

    Args:
        z_where: (..., 3), rows (s, x, y).
        canvas_size: (height, width) in pixels.
    Returns: (..., 4), pixels x0, y0, x1, y1 with (0, 0) at the canvas's upper left corner.
    """
    height, width = canvas_size
    scale, shift_x, shift_y = scale_and_shifts(z_where)
    edges = torch.tensor([-1.0, 1.0], dtype=z_where.dtype, device=z_where.device)
    x = ((edges - shift_x) / scale + 1) * (width / 2)  # (..., 2)
    y = ((edges - shift_y) / scale + 1) * (height / 2)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), dim=-1)


def foreground_boxes(objects: Tensor, stretch: float = 0.0) -> Tensor:
    """Return the bounds of what is drawn on each canvas: where it reaches half of its peak.

    An edge that is blurred lies where it reaches a half.

    Args:
        objects: (..., channels, height, width), intensity; one object each.
        stretch: K, if an intensity d was stretched to asinh(K d) / asinh(K): a half is one of d.
    Returns: (..., 4), pixels x0, y0, x1, y1; NaN where nothing is drawn.
    """
    brightest = objects.amax(dim=-3)  # (..., height, width)
    peak = brightest.amax(dim=(-2, -1), keepdim=True)
    half = peak / 2
    if stretch:
        most = math.asinh(stretch)
        half = torch.asinh(torch.sinh(most * peak) / 2) / most
    foreground = (brightest >= half) & (peak > MIN_PEAK)
    low, high = [], []
    for axis in (-2, -1):  # columns have foreground in some row, and the other way round
        line = foreground.any(dim=axis).to(objects.dtype)
        low.append(line.argmax(dim=-1))
        high.append(line.shape[-1] - line.flip(-1).argmax(dim=-1))
    boxes = torch.stack((*low, *high), dim=-1).to(objects.dtype)
    return boxes.masked_fill(~foreground.flatten(-2).any(dim=-1)[..., None], torch.nan)
