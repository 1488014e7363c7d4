"""What an image shows behind its objects: a canvas of its own, b = background(z_bg).

    z_bg ~ Normal(0, I)

    constant    b = c + A z_bg for every pixel, one z_bg for each channel
    smooth      b = sum_jk (c_jk + a_jk z_jk) cos(pi j y) cos(pi k x), j, k < 4, y and x in (0, 1):
                the lowest frequencies of a discrete cosine transform, in each channel
    learned     b = a small decoder's image of z_bg

The guide reads q(z_bg | x) from the whole image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..nn import MLP

FREQUENCIES = 4  # of a smooth background, along each axis
CONTRAST = 0.2  # at first, what one sd of z_bg changes: in intensity, or of the lowest frequency


class Background(nn.Module):
    """b = background(z_bg), by ``ModelConfig.background_model``, which is not none."""

    basis: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind = config.background_model
        self.shape = (config.channels, *config.canvas_size)
        self.latent_size = background_size(config)
        if self.kind == "learned":
            sizes = [self.latent_size, *config.background_net, math.prod(self.shape)]
            self.decode = MLP(sizes, config.non_linearity)
            return
        num = FREQUENCIES if self.kind == "smooth" else 1
        rows, columns = (_cosines(num, side) for side in config.canvas_size)
        basis = (rows[:, None, :, None] * columns[None, :, None, :]).flatten(0, 1)
        self.register_buffer("basis", basis.flatten(1), persistent=False)  # (num^2, pixels)
        order = torch.arange(num)[:, None] + torch.arange(num)
        contrast = CONTRAST / (1 + order.flatten().to(torch.get_default_dtype()))
        self.mean = nn.Parameter(torch.zeros(config.channels, num**2))
        self.contrast = nn.Parameter(contrast.repeat(config.channels, 1))

    def forward(self, z_background: Tensor) -> Tensor:
        """Return canvases (..., channels, height, width) of latents (..., latent_size)."""
        if self.kind == "learned":
            return self.decode(z_background).unflatten(-1, self.shape)
        z = z_background.unflatten(-1, self.mean.shape)
        return ((self.mean + self.contrast * z) @ self.basis).unflatten(-1, self.shape[1:])


def background_size(config: ModelConfig) -> int:
    """Return the size of z_bg; 0 where there is no background."""
    if config.background_model == "learned":
        return config.background_latent_size
    frequencies = {"none": 0, "constant": 1, "smooth": FREQUENCIES}[config.background_model]
    return config.channels * frequencies**2


def _cosines(num: int, side: int) -> Tensor:
    """Return cos(pi j u) at the centres u of the pixels of a line, j < num: (num, side)."""
    centres = (torch.arange(side, dtype=torch.get_default_dtype()) + 0.5) / side
    return torch.cos(math.pi * torch.arange(num)[:, None] * centres)
