"""How the processes that ``torchrun`` starts come to train one model."""

from __future__ import annotations

import os

from ..errors import ConfigError, extra
from ..objectives.processes import Processes
from .devices import find_device


def join_processes(device: str) -> Processes:
    """Join the processes that ``torchrun`` started with this one, if it did start any.

    Args:
        device: see ``find_device``. Of several processes on a machine with GPUs each takes its own.
    Raises: MissingError if Fabric is missing; ConfigError if the device is one GPU for all of them.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Processes(find_device(device))
    if ":" in device:
        raise ConfigError(
            f"device: {device} is one for {size} processes; give --device cuda or cpu, and choose "
            "GPUs with CUDA_VISIBLE_DEVICES."
        )
    with extra("distributed", "training in several processes"):
        from lightning_fabric import Fabric
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    fabric = Fabric(
        accelerator=find_device(device).type,
        devices=here,
        num_nodes=size // here,
        strategy="ddp",
    )
    fabric.launch()
    return Processes(fabric.device, fabric)
