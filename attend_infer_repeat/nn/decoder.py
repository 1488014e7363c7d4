"""The decoder: from the code of an object to its window."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..provenance import one_operation
from .mlp import MLP


class Decoder(nn.Module):
    """z_what (..., what_dim) to window intensities (..., channels, h, w).

    Args:
        what_dim: size of z_what.
        hidden: sizes of the hidden layers.
        window: (channels, h, w) of what is decoded.
        non_linearity: of the hidden layers, by its name in torch.nn.
        output_bias: added before the sigmoid, so that objects start out dark.
        use_sigmoid: squash intensities into (0, 1).
        opacity: the last channel is an opacity in (0, 1); the bias is added to it alone, so that
            objects start out transparent.
    """

    def __init__(
        self,
        what_dim: int,
        hidden: Sequence[int],
        window: tuple[int, int, int],
        non_linearity: str,
        output_bias: float | None,
        use_sigmoid: bool,
        opacity: bool = False,
    ) -> None:
        super().__init__()
        self.window = window
        self.opacity = opacity
        self.output_bias = output_bias or 0.0
        self.use_sigmoid = use_sigmoid
        self.layers = MLP([what_dim, *hidden, math.prod(window)], non_linearity)

    @one_operation
    def forward(self, z_what: Tensor) -> Tensor:
        """Decode each code."""
        out = self.layers(z_what)
        if self.opacity:
            color, opacity = out.unflatten(-1, self.window).split((self.window[0] - 1, 1), dim=-3)
            color = torch.sigmoid(color) if self.use_sigmoid else color
            return torch.cat((color, torch.sigmoid(opacity + self.output_bias)), dim=-3)
        out = out + self.output_bias
        out = torch.sigmoid(out) if self.use_sigmoid else out
        return out.unflatten(-1, self.window)
