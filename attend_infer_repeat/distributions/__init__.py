"""Every law, once: counts, presence, poses, pixels."""

from __future__ import annotations

from .laws import (
    MIN_SD,
    BernoulliCount,
    CountPrior,
    GeometricCount,
    PixelNoise,
    TruncatedGeometricCount,
    count_log_prob,
    gaussian,
    gaussian_kl,
    mix_with_coin,
    mix_with_uniform,
    pixel_noise_log_prob,
    positive,
    presence,
)

__all__ = [
    "BernoulliCount",
    "CountPrior",
    "GeometricCount",
    "MIN_SD",
    "PixelNoise",
    "TruncatedGeometricCount",
    "count_log_prob",
    "gaussian",
    "gaussian_kl",
    "mix_with_coin",
    "mix_with_uniform",
    "pixel_noise_log_prob",
    "positive",
    "presence",
]
