"""What a guide remembers from step to step: an LSTM, or nothing."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..nn import Embedding, ImageLSTM
from ..spatial import Thumbnail
from .state import GuideState, MemoryState


class Memory(nn.Module, ABC):
    """What a guide carries along from step to step: h_t is all that a decision sees of it."""

    state_size: int
    """Numbers in h_t."""

    @abstractmethod
    def begin(self, images: Tensor) -> tuple[Tensor, MemoryState]:
        """Look at the images (batch, channels, height, width) once.

        Returns: features of the images, (batch, ...), and the first state, of one row.
        """

    @abstractmethod
    def first_latents(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return z_where (1, 3) and z_what (1, what_dim) to give to the first step."""

    @abstractmethod
    def forward(self, previous: GuideState) -> MemoryState:
        """Advance the state by one step."""


class LSTMMemory(Memory):
    """An LSTM over the steps.

    Args:
        config: of the model.
        view: how it sees each image, as (batch, ...).
        num_pixels: of that, in all channels.
    """

    def __init__(self, config: ModelConfig, view: nn.Module, num_pixels: int) -> None:
        super().__init__()
        what_dim, size = config.appearance.encoder_latent_size, config.inference.rnn_hidden_size
        self.state_size = size
        self.view = view
        self.embed = Embedding(num_pixels, config.inference.embed_net, config.non_linearity)
        self.lstm = ImageLSTM(self.embed.out_size, 3 + what_dim + 1, size)
        self.z_where_init = nn.Parameter(torch.zeros(3))
        self.z_what_init = nn.Parameter(torch.zeros(what_dim))

    def begin(self, images: Tensor) -> tuple[Tensor, MemoryState]:
        """See ``Memory.begin``."""
        return self.lstm.look(self.embed(self.view(images).flatten(1))), self.lstm.start()

    def first_latents(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Memory.first_latents``."""
        return self.z_where_init[None], self.z_what_init[None]

    def forward(self, previous: GuideState) -> MemoryState:
        """See ``Memory.forward``."""
        return self.lstm(previous.features, previous.step_input(), previous.memory)


class NoMemory(Memory):
    """Nothing is remembered: the residual is all that a step knows of earlier ones."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.what_dim = config.appearance.encoder_latent_size
        self.state_size = 0

    def begin(self, images: Tensor) -> tuple[Tensor, MemoryState]:
        """See ``Memory.begin``."""
        nothing = images.new_zeros(len(images), 0)
        return nothing, (nothing[:1], nothing[:1])

    def first_latents(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Memory.first_latents``."""
        return images.new_zeros(1, 3), images.new_zeros(1, self.what_dim)

    def forward(self, previous: GuideState) -> MemoryState:
        """See ``Memory.forward``."""
        return previous.features, previous.features


def lstm_of_image(config: ModelConfig) -> LSTMMemory:
    """Return an LSTM that sees every pixel of the image."""
    return LSTMMemory(config, nn.Identity(), config.channels * math.prod(config.canvas_size))


def lstm_of_thumbnail(config: ModelConfig) -> LSTMMemory:
    """Return an LSTM that sees the image shrunk to a window's size."""
    window = (config.appearance.window_size, config.appearance.window_size)
    view = Thumbnail(config.canvas_size, window)
    return LSTMMemory(config, view, config.channels * math.prod(window))
