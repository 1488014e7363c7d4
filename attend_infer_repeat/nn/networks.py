"""The neural networks: multilayer perceptrons and the recurrent core."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..distributions import gaussian, positive
from ..provenance import one_operation


class MLP(nn.Sequential):
    """Linear layers through ``sizes`` with a non-linearity between each two."""

    def __init__(self, sizes: Sequence[int], non_linearity: str) -> None:
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), getattr(nn, non_linearity)()]
        super().__init__(*layers[:-1])

    @one_operation
    def forward(self, features: Tensor) -> Tensor:
        """Map features (..., sizes[0]) to (..., sizes[-1])."""
        return super().forward(features)


class Embedding(nn.Sequential):
    """Flattened images (batch, pixels) to features (batch, out_size); the pixels by default."""

    def __init__(self, num_pixels: int, layers: Sequence[int] | None, non_linearity: str) -> None:
        super().__init__()
        self.out_size = num_pixels
        if layers:
            self.out_size = layers[-1]
            self.extend([MLP([num_pixels, *layers], non_linearity), getattr(nn, non_linearity)()])


class Decoder(nn.Module):
    """z_what (..., what_dim) to window intensities (..., channels, h, w).

    With ``opacity`` the last channel is one, in (0, 1), and the bias is its own: objects start out
    transparent where they would start out dark.
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
            colour, opacity = out.unflatten(-1, self.window).split((self.window[0] - 1, 1), dim=-3)
            colour = torch.sigmoid(colour) if self.use_sigmoid else colour
            return torch.cat((colour, torch.sigmoid(opacity + self.output_bias)), dim=-3)
        out = out + self.output_bias
        out = torch.sigmoid(out) if self.use_sigmoid else out
        return out.unflatten(-1, self.window)


class GaussianNetwork(nn.Module):
    """Features (..., in_size) to independent Gaussians (..., out_size)."""

    def __init__(self, in_size: int, hidden: Sequence[int], out_size: int, non_linearity: str):
        super().__init__()
        self.layers = MLP([in_size, *hidden, 2 * out_size], non_linearity)

    def forward(self, features: Tensor) -> Tensor:
        """Return the law of the output given the features."""
        loc, scale = self.layers(features).chunk(2, dim=-1)
        return gaussian(loc, positive(scale))


class ImageLSTM(nn.Module):
    """An LSTM cell whose input is the same image at every step, beside what changes.

    Equal to ``nn.LSTMCell`` on the concatenation (features, step_input), but the image's share
    of the gates, by far the largest product, is computed once per image: call ``look`` once
    and then ``forward`` at every step.
    """

    def __init__(self, feature_size: int, step_size: int, hidden_size: int) -> None:
        super().__init__()
        self.look = nn.Linear(feature_size, 4 * hidden_size)
        self.step = nn.Linear(step_size + hidden_size, 4 * hidden_size, bias=False)
        self.h_init = nn.Parameter(torch.zeros(hidden_size))
        self.c_init = nn.Parameter(torch.zeros(hidden_size))
        for parameter in (*self.look.parameters(), *self.step.parameters()):
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)

    def start(self) -> tuple[Tensor, Tensor]:
        """Return the learned first state (h, c), each (1, hidden_size): the same for all images."""
        return self.h_init[None], self.c_init[None]

    @one_operation
    def forward(
        self, image_gates: Tensor, step_input: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Advance the state by one step.

        Args:
            image_gates: (batch, 4 * hidden_size), what ``look`` returned for the images.
            step_input: (batch, step_size), or (1, step_size) if it is the same for all images.
            state: (h, c), each (batch, hidden_size), or (1, hidden_size) likewise.
        Returns: the next (h, c), each (batch, hidden_size).
        """
        h, c = state
        h = h.expand(len(step_input), -1)
        gates = image_gates + self.step(torch.cat((step_input, h), dim=-1))
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
        c = torch.sigmoid(forget_gate) * c + torch.sigmoid(input_gate) * torch.tanh(candidate)
        return torch.sigmoid(output_gate) * torch.tanh(c), c
