"""Checkpoints: weights as safetensors and JSON, found, read and written whole."""
