"""Networks: MLP, LSTM, encoder, decoder."""

from __future__ import annotations

from .decoder import Decoder
from .encoder import Encoder, GaussianNetwork
from .lstm import ImageLSTM
from .mlp import MLP, Embedding

__all__ = ["MLP", "Decoder", "Embedding", "Encoder", "GaussianNetwork", "ImageLSTM"]
