"""Where computations run, and whose generators they draw from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from attend_infer_repeat.air import reproducible
from attend_infer_repeat.errors import ConfigError
from attend_infer_repeat.training.devices import find_device


@pytest.mark.parametrize(
    "name",
    ["", "gpu", "cpu:x", "cuda:x", "cuda:-1", "cuda:99", "cuda:99999999999", "mps", "xpu", "meta"],
)
def test_a_device_that_is_not_to_be_had_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^device: [^\n]+\.$"):
        find_device(name)


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_a_device_that_is_here_is_found(name: str) -> None:
    assert find_device(name).type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["cpu", "cuda:0", "cuda:1"])
def test_draws_of_ones_own_touch_the_generators_of_the_models_device_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be no GPU here: what would be done with the GPUs is written down instead."""
    forked, seeded, current = [], [], ["cuda:0"]

    @contextlib.contextmanager
    def fork_rng(gpus: list[torch.device]) -> Iterator[None]:
        forked.extend(map(str, gpus))
        state = torch.get_rng_state()
        yield
        torch.set_rng_state(state)

    @contextlib.contextmanager
    def device(gpu: torch.device) -> Iterator[None]:
        before, current[0] = current[0], str(gpu)
        yield
        current[0] = before

    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seeded.append((current[0], seed)))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: seeded.append(("all", seed)))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(5)
    seeded.clear()
    before = torch.get_rng_state()
    with reproducible(3, torch.device(name)):
        assert torch.equal(torch.rand(4), expected)
    assert torch.equal(torch.get_rng_state(), before)
    gpus = [] if name == "cpu" else [name]
    assert forked == gpus
    assert seeded == [(gpu, 3) for gpu in gpus]
