"""The recurrent core of the inference network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..provenance import one_operation


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
