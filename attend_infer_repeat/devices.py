"""Where computations run."""

from __future__ import annotations

import contextlib
import ctypes

import torch

from .errors import ConfigError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def find_device(name: str) -> torch.device:
    """Return the device called ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto`` prefers a GPU.

    Raises: ConfigError if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: unknown '{name}'; expected auto, cpu or cuda.") from error
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise ConfigError(f"device: {name} is not available here; use --device cpu.")
    return device


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, where its C library can be asked to.

    A step frees and takes the same megabytes again. glibc hands them back to the system in between,
    which then clears each page anew: a fifth of the time of a large mini-batch on a CPU.
    """
    largest = 2**31 - 1
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(option, largest)
