"""Every law of the model and the guide, written once.

The Pyro programs sample from these, the exact objective and the tests evaluate them.
"""

from __future__ import annotations

from .counts import (
    BernoulliCount,
    CountLaw,
    GeometricCount,
    TruncatedGeometricCount,
    count_log_prob,
    mix_with_uniform,
)
from .gaussians import (
    MIN_SD,
    gaussian,
    gaussian_kl,
    positive,
    reparametrized,
    standard_gaussian,
)
from .pixels import PixelNoise, pixel_noise_log_prob, pixel_noise_log_prob_of
from .presence import mix_with_coin, presence

__all__ = [
    "MIN_SD",
    "BernoulliCount",
    "CountLaw",
    "GeometricCount",
    "PixelNoise",
    "TruncatedGeometricCount",
    "count_log_prob",
    "gaussian",
    "gaussian_kl",
    "mix_with_coin",
    "mix_with_uniform",
    "pixel_noise_log_prob",
    "pixel_noise_log_prob_of",
    "positive",
    "presence",
    "reparametrized",
    "standard_gaussian",
]
