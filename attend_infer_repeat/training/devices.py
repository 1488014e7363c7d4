"""Where computations run."""

from __future__ import annotations

import torch

from ..errors import ConfigError


def find_device(name: str) -> torch.device:
    """Return the device called ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto`` prefers a GPU.

    Raises: ConfigError if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"device: unknown '{name}'; expected auto, cpu or cuda.") from error
    if device.type == "mps":
        raise ConfigError(
            "device: mps has no double precision, which the count prior needs; use --device cpu."
        )
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: {name} is not supported; use --device cpu or cuda.")
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise ConfigError(f"device: {name} is not available here; use --device cpu.")
    return device
