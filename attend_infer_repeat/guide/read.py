"""How a guide reads an object's code: from the window at its pose, or from its own state."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
from torch import Tensor, nn

from ..config import ModelConfig
from ..model import Canvas
from ..nn import Encoder, GaussianNetwork
from ..spatial.patches import cut
from .state import MemoryState


class Reading(nn.Module, ABC):
    """q(z_what_t | what is known of the object)."""

    encoder: nn.Module

    sees_window: bool
    """Whether the code is read from a window."""

    @abstractmethod
    def forward(self, image: Canvas, z_where: Tensor, memory: MemoryState) -> dist.Normal:
        """Return q(z_what), (num, what_dim).

        Args:
            image: (batch, channels, height, width), x minus its background; data. Those are meant
                that ``image.rows`` lists, ``image.of_rows()``.
            z_where: (num, 3).
            memory: the guide's.
        """


class FromWindow(Reading):
    """q(z_what | w), w = image_to_object(z_where, x).

    Args:
        config: of the model.
        encoder: windows (batch, channels, h, w) to Normal (batch, what_dim); an MLP if None.
        state_size: of the memory, which it does not read.
    """

    sees_window = True

    def __init__(
        self, config: ModelConfig, encoder: nn.Module | None = None, state_size: int = 0
    ) -> None:
        super().__init__()
        self.size = (config.appearance.window_size, config.appearance.window_size)
        self.usual_scale = config.pose.usual_scale
        pixels = config.channels * config.appearance.window_size**2
        if encoder is None:
            encoder = Encoder(
                pixels,
                config.inference.encoder_net,
                config.appearance.encoder_latent_size,
                config.non_linearity,
            )
        self.encoder = encoder

    def forward(self, image: Canvas, z_where: Tensor, memory: MemoryState) -> dist.Normal:
        """See ``Reading.forward``."""
        return self.encoder(cut(z_where, ((image.x, image.rows),), self.size, self.usual_scale))


class FromState(Reading):
    """q(z_what | h), of the tutorial's basic guide.

    Args:
        config: of the model.
        encoder: states (batch, state_size) to Normal (batch, what_dim); an MLP if None.
        state_size: of the memory.
    """

    sees_window = False

    def __init__(
        self, config: ModelConfig, encoder: nn.Module | None = None, state_size: int = 0
    ) -> None:
        super().__init__()
        sizes = (
            state_size,
            config.inference.encoder_net,
            config.appearance.encoder_latent_size,
        )
        if encoder is None:
            encoder = GaussianNetwork(*sizes, config.non_linearity)
        self.encoder = encoder

    def forward(self, image: Canvas, z_where: Tensor, memory: MemoryState) -> dist.Normal:
        """See ``Reading.forward``."""
        return self.encoder(memory[0])
