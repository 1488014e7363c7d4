"""Networks: MLP, LSTM, encoder, decoder."""

from __future__ import annotations

from .networks import MLP, Decoder, Embedding, GaussianNetwork, ImageLSTM

__all__ = ["Decoder", "Embedding", "GaussianNetwork", "ImageLSTM", "MLP"]
