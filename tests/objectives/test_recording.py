"""Steps that are recorded and replayed are the steps themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from exact import TINY
from torch import Tensor
from torch.utils import _pytree as pytree

from attend_infer_repeat import AIR, TrainConfig
from attend_infer_repeat.objectives import Exact, Execution, recording
from attend_infer_repeat.objectives import augmentation as composites
from attend_infer_repeat.objectives.recording import Recorded
from attend_infer_repeat.training.session import RunOptions

SMALL = replace(TINY, model_steps=2)


class FakeGraphs:
    """Records as CUDA graphs do: what is replayed sees its own memory, and writes into it.

    But it calls Python again: that no number of Python's is frozen, a GPU's test has to show.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters, self.num_recorded, self.num_replayed = parameters, 0, 0

    def __call__(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        outputs = run()
        written = [p.grad for p in self.parameters]
        self.num_recorded += 1

        def replay() -> None:
            self.num_replayed += 1
            kept = [p.grad for p in self.parameters]
            found = pytree.tree_leaves(run())
            for old, new in zip(pytree.tree_leaves(outputs), found, strict=True):
                if isinstance(old, Tensor):
                    old.detach().copy_(new.detach())
            for p, old, before in zip(self.parameters, written, kept, strict=True):
                assert (old is None) == (p.grad is None)
                if old is not None and p.grad is not None:
                    old.copy_(p.grad)
                p.grad = before

        return outputs, replay


def train_config(**changes: Any) -> TrainConfig:
    settings = {"model": SMALL, "batch_size": 12, "explore_steps": 4, "composite_begin": 3}
    return TrainConfig(**(settings | changes))


def objective(execution: Execution = "plain", device: str = "cpu", **changes: Any) -> Exact:
    torch.manual_seed(0)
    config = train_config(**changes)
    images = torch.randint(0, 256, (48, 1, *config.model.canvas_size), dtype=torch.uint8)
    air = AIR(config.model).to(device)
    return Exact(air, images.to(device), config, execution=execution)


def trained(objective: Exact, num_steps: int = 12) -> tuple[AIR, list[float]]:
    """Train at rates that fall, with another prior at every step; return the ELBOs, read last."""
    elbos = []
    for step in range(num_steps):
        objective.air.model.count_prior.success.fill_(0.1 * 0.8**step)
        elbos.append(objective.step(step, 0.9**step))
    return objective.air, [elbo.item() for elbo in elbos]


def recorded(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[Exact, FakeGraphs]:
    ours = objective("recorded", **changes)
    assert ours.recorded is not None
    graphs = FakeGraphs(list(ours.air.parameters()))
    monkeypatch.setattr(ours.recorded, "record", graphs)
    return ours, graphs


@pytest.mark.parametrize("composite_of", ["scenes", "objects"])
@pytest.mark.parametrize("learned", [False, True])
def test_replayed_training_is_training(
    composite_of: str, learned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through exploration, first composites and new ones."""
    monkeypatch.setattr(composites, "CONFIDENCE_THRESHOLD", 1e-9)
    model = replace(SMALL, learn_likelihood_sd=learned)
    changes = {"composite_of": composite_of, "composite_every": 2, "model": model}
    ours, graphs = recorded(monkeypatch, **changes)
    (air, elbos), (expected, also) = trained(ours), trained(objective(**changes))
    torch.testing.assert_close(elbos, also)
    for one, other in zip(air.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    # With composites and without, and with objects cut out; not one for each strength to explore.
    assert graphs.num_recorded == (4 if composite_of == "objects" else 2)
    assert graphs.num_replayed == 12 + graphs.num_recorded  # each is first compared with the step
    assert ours.recorded is not None
    assert ours.recorded.recordings is not None


@pytest.mark.parametrize(
    "fault", ["raises", "other gradients", "no gradients", "nothing", "no number"]
)
def test_a_recording_that_fails_costs_a_line_and_no_step(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours, graphs = recorded(monkeypatch)

    def broken(run: Callable[[], Any]) -> tuple[Any, Callable[[], Any]]:
        if fault == "raises":
            raise RuntimeError("operation not permitted when stream is capturing")
        outputs, replay = graphs(run)
        gradients = [p.grad for p in graphs.parameters if p.grad is not None]
        if fault == "no gradients":
            graphs.parameters[0].grad = None
            return outputs, replay
        if fault == "other gradients":
            return outputs, lambda: [replay(), *(g.mul_(1.1) for g in gradients)]
        if fault == "no number":
            return outputs, lambda: [replay(), gradients[0].fill_(torch.nan)]
        return outputs, lambda: None

    assert ours.recorded is not None
    monkeypatch.setattr(ours.recorded, "record", broken)
    (air, elbos), (expected, also) = trained(ours), trained(objective())
    assert elbos == also
    assert all(map(torch.equal, air.parameters(), expected.parameters()))
    ours_lines = [r.getMessage() for r in caplog.records if r.name == recording.__name__]
    assert len(ours_lines) == 1
    assert ours_lines[0].startswith("No CUDA graph, going on without: RuntimeError: ")


def test_a_step_that_fails_by_itself_fails_with_its_own_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(x: Tensor) -> Tensor:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        Recorded(fails, [torch.zeros(1)], FakeGraphs([]))(torch.ones(2))
    assert not [r for r in caplog.records if r.name == recording.__name__]


def test_what_has_no_fixed_shapes_is_not_recorded() -> None:
    model = replace(TINY, unbounded=True, step_limit=3)
    assert objective("recorded", model=model).recorded is None


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ("cpu", {}, "plain"),
        ("cuda:1", {}, "recorded"),
        ("cuda", {"graphs": False}, "plain"),
        ("cuda", {"compiled": True}, "compiled"),
    ],
)
def test_a_gpus_steps_are_recorded_unless_the_user_says_otherwise(
    device: str, options: dict[str, bool], expected: str
) -> None:
    assert RunOptions(**options).execution(torch.device(device)) == expected  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize("composite_of", ["scenes", "objects"])
def test_replayed_training_is_training_on_a_gpu(
    composite_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composites, "CONFIDENCE_THRESHOLD", 1e-9)
    changes = {"composite_of": composite_of, "composite_every": 2}
    ours, theirs = objective("recorded", "cuda", **changes), objective("plain", "cuda", **changes)
    # Composites are drawn at random: from the same numbers in both.
    found = []
    for one in (ours, theirs):
        torch.manual_seed(1)
        found.append(trained(one))
    (air, elbos), (expected, also) = found
    assert ours.recorded is not None
    assert ours.recorded.recordings is not None
    assert len(ours.recorded.recordings) == (4 if composite_of == "objects" else 2)
    torch.testing.assert_close(elbos, also)
    for one_parameter, other in zip(air.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one_parameter, other, rtol=1e-6, atol=1e-8)


@pytest.mark.gpu
def test_a_recording_that_fails_on_a_gpu_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    weight = torch.ones(3, device="cuda", requires_grad=True)

    def waits(x: Tensor) -> Tensor:
        loss = (weight * x).sum()
        loss.backward()
        return torch.full((), loss.item(), device="cuda")

    stream = torch.cuda.current_stream()
    run = Recorded(waits, [weight], recording.CUDAGraphs(weight.device))
    for _ in range(2):
        weight.grad = None
        assert run(torch.ones(3, device="cuda")).item() == 3
        assert torch.equal(weight.grad, torch.ones(3, device="cuda"))
    assert torch.cuda.current_stream() == stream
    assert torch.rand(3, device="cuda").isfinite().all()
    assert len([r for r in caplog.records if r.name == recording.__name__]) == 1
