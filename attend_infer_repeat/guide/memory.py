"""What a guide remembers from step to step: an LSTM, or nothing."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..nn import Embedding, ImageLSTM
from ..spatial import Thumbnail
from .look import glimpse
from .state import GuideState, MemoryState


class Memory(nn.Module, ABC):
    """The state that a guide carries along, and the context that it gives to a step's decision."""

    state_size: int
    """Numbers in the state h_t."""
    context_size: int
    """Numbers in the context."""

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

    @abstractmethod
    def context(self, memory: MemoryState, image: Tensor, proposal: Tensor) -> Tensor:
        """Return what a step knows beside its glimpse of the residual: (batch, context_size)."""


class LSTMMemory(Memory):
    """An LSTM over the steps; its state is the context.

    Args:
        config: of the model.
        view: how it sees each image, as (batch, ...).
        num_pixels: of that, in all channels.
    """

    def __init__(self, config: ModelConfig, view: nn.Module, num_pixels: int) -> None:
        super().__init__()
        what_dim, size = config.appearance.encoder_latent_size, config.inference.rnn_hidden_size
        self.state_size = self.context_size = size
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

    def context(self, memory: MemoryState, image: Tensor, proposal: Tensor) -> Tensor:
        """See ``Memory.context``."""
        return memory[0]


class NoMemory(Memory):
    """Nothing is remembered: the context is what the image itself shows around the proposal."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.window_size = config.appearance.window_size
        self.what_dim = config.appearance.encoder_latent_size
        self.state_size = 0
        self.context_size = config.channels * config.appearance.window_size**2

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

    def context(self, memory: MemoryState, image: Tensor, proposal: Tensor) -> Tensor:
        """See ``Memory.context``."""
        return glimpse(proposal, image, self.window_size)


def lstm_of_image(config: ModelConfig) -> LSTMMemory:
    """Return an LSTM that sees every pixel of the image."""
    return LSTMMemory(config, nn.Identity(), config.channels * math.prod(config.canvas_size))


def lstm_of_thumbnail(config: ModelConfig) -> LSTMMemory:
    """Return an LSTM that sees the image shrunk to a window's size."""
    window = (config.appearance.window_size, config.appearance.window_size)
    view = Thumbnail(config.canvas_size, window)
    return LSTMMemory(config, view, config.channels * math.prod(window))
