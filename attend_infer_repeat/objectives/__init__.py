"""The objectives that an AIR can be trained on; ``TrainConfig.estimator.objective`` names one."""

from __future__ import annotations

from .base import Execution, Objective
from .exact import Exact
from .tracegraph import TraceGraph

OBJECTIVES: dict[str, type[Objective]] = {"exact": Exact, "tracegraph": TraceGraph}

__all__ = ["OBJECTIVES", "Exact", "Execution", "Objective", "TraceGraph"]
