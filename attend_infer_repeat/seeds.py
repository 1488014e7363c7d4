"""Seeds: which numbers are one, and how a long one is made short."""

from __future__ import annotations

from numbers import Integral

from .errors import ConfigError

MAX_SEED = 2**63 - 1


def check_seed(seed: object, name: str = "seed") -> int:
    """Return a seed as a Python int.

    Raises: ConfigError if it is no whole number from 0 to ``MAX_SEED``.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"{name}: expected a whole number from 0 to 2**63 - 1, got {seed!r}.")
    return int(seed)


def shortened(*parts: int, bits: int) -> int:
    """Return a number of so many bits that all of the parts, none of them negative, decide."""
    import numpy as np  # not for commands that compute nothing

    words: list[int] = np.random.SeedSequence(parts).generate_state(2).tolist()
    return (words[0] | words[1] << 32) % 2**bits
