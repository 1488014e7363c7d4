"""Multilayer perceptrons, and what is made of one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from ..provenance import one_operation


class MLP(nn.Sequential):
    """Linear layers through ``sizes`` with a non-linearity between each two."""

    def __init__(self, sizes: Sequence[int], non_linearity: str) -> None:
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), getattr(nn, non_linearity)()]
        super().__init__(*layers[:-1])

    @one_operation
    def forward(self, *features: Tensor) -> Tensor:
        """Map features to (..., sizes[-1]).

        Args:
            features: (..., size) each, sizes[0] numbers together, as if concatenated. They are not,
                so that no gradient is computed for those that need none.
        """
        if len(features) == 1:
            return super().forward(features[0])
        first, *others = self
        assert isinstance(first, nn.Linear)
        weights = first.weight.split([part.shape[-1] for part in features], dim=1)
        hidden = F.linear(features[0], weights[0], first.bias)
        for part, weight in zip(features[1:], weights[1:], strict=True):
            hidden = hidden + F.linear(part, weight)
        for layer in others:
            hidden = layer(hidden)
        return hidden


class Embedding(nn.Sequential):
    """Flattened images (batch, pixels) to features (batch, out_size); the pixels by default."""

    def __init__(self, num_pixels: int, layers: Sequence[int] | None, non_linearity: str) -> None:
        super().__init__()
        self.out_size = num_pixels
        if layers:
            self.out_size = layers[-1]
            self.extend([MLP([num_pixels, *layers], non_linearity), getattr(nn, non_linearity)()])
