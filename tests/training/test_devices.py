"""How a process is set up to compute quickly on a CPU: nothing but speed may change."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import pytest
import torch

from attend_infer_repeat.air import reproducible
from attend_infer_repeat.cli import process
from attend_infer_repeat.cli.process import tune_process
from attend_infer_repeat.errors import ConfigError
from attend_infer_repeat.training.devices import find_device


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("shape", [(64, 2500, 1024), (256, 320, 100), (7, 3, 5)])
def test_products_keep_the_precision_of_float32(shape: tuple[int, int, int]) -> None:
    """The bound: k products summed, each rounded to half an ulp, errors adding up at random.

    Their sum errs by about 2^-24 sqrt(k) times the sum's own size, sqrt(k); ten times that for the
    largest of all errors. Rounded to bfloat16, whose half-ulp is 2^-9, it would be far above.
    """
    tune_process()
    m, k, n = shape
    a, b = torch.randn(m, k, dtype=torch.float32), torch.randn(k, n, dtype=torch.float32)
    error = ((a @ b).double() - a.double() @ b.double()).abs().max().item()
    assert error < 10 * 2**-24 * k < 2**-9 * k**0.5


def test_permission_is_withdrawn_where_products_come_out_rounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_float32_matmul_precision("highest")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch, "equal", lambda first, second: False)  # as on a CPU that rounds
    tune_process()
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(("capability", "has_gpu"), [("AVX2", False), ("AVX512", True)])
def test_without_avx512_or_beside_a_gpu_products_stay_where_they_are(
    capability: str, has_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_float32_matmul_precision("highest")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    tune_process()
    assert torch.get_float32_matmul_precision() == "highest"


def test_another_c_library_is_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: None) -> object:
        raise OSError("not glibc")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    tune_process()
    monkeypatch.setattr(process.ctypes, "CDLL", lambda name: object())
    tune_process()


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
