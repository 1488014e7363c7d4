"""How the processes that ``torchrun`` starts come to train one model."""

from __future__ import annotations

import os

from ..errors import ConfigError
from ..objectives.processes import Processes
from .devices import find_device


def join_processes(device: str) -> Processes:
    """Join the processes that ``torchrun`` started with this one, if it did start any.

    Args:
        device: see ``find_device``. Of several processes on a machine with GPUs each takes its own.
    Raises: ConfigError if Fabric is missing, or if the device is a single GPU for all processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Processes(find_device(device))
    if ":" in device:
        raise ConfigError(
            f"device: {device} is one for {size} processes; give --device cuda or cpu, and choose "
            "GPUs with CUDA_VISIBLE_DEVICES."
        )
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise ConfigError(
            "several processes need Lightning Fabric: "
            "pip install 'attend-infer-repeat[distributed]', or start one process."
        ) from error
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    fabric = Fabric(
        accelerator=find_device(device).type,
        devices=here,
        num_nodes=size // here,
        strategy="ddp",
    )
    fabric.launch()
    return Processes(fabric.device, fabric)
