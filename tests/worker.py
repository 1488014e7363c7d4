"""A process that trains a tiny model in double precision: alone, or one of torchrun's.

    python worker.py SETTINGS

SETTINGS is a JSON file: ``config`` (of the run), ``out`` or ``resume`` (its folder), ``seen`` (the
folder for a file per process: the pixels that it has read at each step), and perhaps ``stop``, the
step (from 0) in which the last process is asked to stop.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import types
from pathlib import Path

import torch
from torch import Tensor

from attend_infer_repeat import TrainConfig
from attend_infer_repeat.config import from_dict
from attend_infer_repeat.objectives import augmentation as composites
from attend_infer_repeat.objectives.exact import Exact
from attend_infer_repeat.trainer import train


def main(settings: dict[str, object]) -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    # An untrained guide is sure of nothing, and draws badly: take what it finds all the same.
    composites.CONFIDENCE_THRESHOLD, composites.MAX_RESIDUAL_SHARE = 1e-9, 1e9
    plots = types.ModuleType("attend_infer_repeat.viz.plots")
    plots.plot_run = lambda run, data=None: [run]  # type: ignore[attr-defined]
    sys.modules["attend_infer_repeat.viz.plots"] = plots

    rank, last = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)) - 1
    seen: list[list[float]] = []
    losses, take_step = Exact._losses, Exact.step

    def watched(self: Exact, batch: Tensor, *rest: object) -> tuple[Tensor, Tensor, Tensor]:
        seen.append(batch.sum(dim=(1, 2, 3)).tolist())
        return losses(self, batch, *rest)

    def interrupted(self: Exact, step: int, lr_factor: float) -> Tensor:
        if step == settings.get("stop") and rank == last:
            os.kill(os.getpid(), signal.SIGINT)
        return take_step(self, step, lr_factor)

    Exact._losses, Exact.step = watched, interrupted  # type: ignore[method-assign]
    with contextlib.suppress(KeyboardInterrupt):
        train(
            from_dict(TrainConfig, settings["config"]),
            settings.get("out"),
            resume=settings.get("resume"),
            device="cpu",
            quiet=True,
        )
    (Path(settings["seen"]) / f"{rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
