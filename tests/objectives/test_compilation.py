"""Compiled execution, and what it asks of the training step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyro
import pytest
import torch
from exact import TINY
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attend_infer_repeat import AIR, ConfigError, TrainConfig
from attend_infer_repeat.config import TUTORIAL
from attend_infer_repeat.model import scene
from attend_infer_repeat.objectives import OBJECTIVES, Exact, Execution
from attend_infer_repeat.objectives import augmentation as composites
from attend_infer_repeat.objectives.compilation import Compiled
from attend_infer_repeat.spatial import patches

SMALL = replace(TINY, model_steps=2)


def train_config(**changes: Any) -> TrainConfig:
    settings = {"model": SMALL, "batch_size": 12, "explore_steps": 2, "composite_begin": 1}
    return TrainConfig(**(settings | changes))


def trained(num_steps: int, execution: Execution = "plain") -> AIR:
    torch.manual_seed(0)
    air = AIR(SMALL)
    images = torch.randint(0, 256, (48, 1, *SMALL.canvas_size), dtype=torch.uint8)
    objective = OBJECTIVES["exact"](air, images, train_config(), execution=execution)
    for step in range(num_steps):
        objective.step(step, 1.0)
    return air


def assert_equal(air: AIR, other: AIR) -> None:
    for ours, theirs in zip(air.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def break_compiler(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[Any]:
    """Let compiling fail; return the list of what was tried."""
    tried = []

    def broken(graph: Any, inputs: Any) -> Any:
        tried.append(graph)
        raise error

    compile_with = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **_: compile_with(function, backend=broken)
    )
    return tried


def our_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("attend_infer_repeat")]


def test_where_no_compiler_works_the_same_model_is_trained_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = break_compiler(monkeypatch, RuntimeError("no C++ compiler"))
    assert_equal(trained(5, "compiled"), trained(5))
    assert len(tried) == 1  # and not once a step
    expected = "--compile failed, going on without it: RuntimeError: no C++ compiler"
    assert our_lines(caplog) == [expected]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("\n no C++ compiler \nand a long story"), "RuntimeError: no C++ compiler"),
        (ValueError(), "ValueError: no reason given"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "out of memory."),
        (MemoryError(), "out of memory."),
    ],
)
def test_a_failure_to_compile_is_told_in_one_line_whatever_its_cause(
    error: Exception,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    break_compiler(monkeypatch, error)
    double = Compiled(lambda x: 2 * x, torch.device("cpu"))
    assert [double(torch.ones(1)).item() for _ in range(2)] == [2, 2]
    assert our_lines(caplog) == [f"--compile failed, going on without it: {reason}"]


@pytest.mark.parametrize("error", [ValueError("wrong"), MemoryError("wrong")])
def test_a_function_that_fails_by_itself_still_fails_with_its_own_error(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(x: Tensor) -> Tensor:
        raise error

    with pytest.raises(type(error), match="wrong"):
        Compiled(fails, torch.device("cpu"))(torch.ones(2))
    assert our_lines(caplog) == []


@pytest.mark.slow
def test_compiled_training_is_training_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        composites, "CONFIDENCE_THRESHOLD", 1e-9
    )  # an untrained guide is sure of no object
    assert_equal(trained(6, "compiled"), trained(6))


@pytest.mark.parametrize("foresight", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_losses_are_one_graph(foresight: bool) -> None:
    """A graph break would leave the small operations as slow as they are."""
    torch.manual_seed(0)
    air = AIR(replace(SMALL, foresight=foresight))
    images = torch.randint(0, 256, (48, 1, *SMALL.canvas_size), dtype=torch.uint8)
    objective = OBJECTIVES["exact"](air, images, replace(train_config(), composite_weight=0.0))
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(objective._losses, backend=backend, fullgraph=True)
    batch, noise = torch.rand(6, 1, *SMALL.canvas_size), air.noise(6)
    with pyro.validation_enabled(False):  # as it is in a step
        ours, theirs = (
            losses(batch, noise, 0.0, None, False) for losses in (compiled, objective._losses)
        )
    (*ours, found), (*theirs, also_found) = ours, theirs
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(found.count_probs, also_found.count_probs)
    assert len(graphs) == 1


def test_only_the_exact_objective_is_compiled() -> None:
    config = replace(TUTORIAL, model=replace(SMALL, guide="improved"))
    images = torch.zeros(8, 1, *SMALL.canvas_size, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="compile"):
        OBJECTIVES["tracegraph"](AIR(config.model), images, config, execution="compiled")


class DeviceReads(TorchDispatchMode):
    """Notes the operations that make the host wait for a GPU, or copy from host to device."""

    WAIT = ("_local_scalar_dense", "nonzero", "lift_fresh", "masked_select", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in str(func) for name in self.WAIT):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_step_neither_reads_from_the_device_nor_copies_numbers_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (scene, patches):  # as on a GPU
        monkeypatch.setattr(module, "patches_pay", lambda *_: False)
    air = AIR(SMALL)
    images = torch.randint(0, 256, (48, 1, *SMALL.canvas_size), dtype=torch.uint8)
    objective = OBJECTIVES["exact"](air, images, train_config())
    for step in range(3):  # the optimizer makes its state, the first composites are made
        objective.step(step, 1.0)
    with DeviceReads() as reads:
        objective.step(3, 1.0)
    assert reads.found == []
    with DeviceReads() as reads:
        torch.ones(2).sum().item()
    assert reads.found  # the watch works


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
@pytest.mark.parametrize("execution", ["plain", "compiled", "recorded"])
def test_steps_on_a_gpu_never_wait_for_it(execution: Execution) -> None:
    torch.set_default_dtype(torch.float32)
    air = AIR(SMALL).cuda()
    images = torch.randint(0, 256, (48, 1, *SMALL.canvas_size), dtype=torch.uint8).cuda()
    objective = Exact(air, images, train_config(), execution=execution)
    for step in range(8):
        objective.step(step, 1.0)
    if execution == "recorded":
        assert objective.recorded is not None
        assert objective.recorded.recordings
    try:
        torch.cuda.set_sync_debug_mode("error")
        for step in range(8, 12):
            objective.step(step, 1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
