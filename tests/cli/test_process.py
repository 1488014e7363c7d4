"""What a command sets up for its own process, and the library does not."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

import attend_infer_repeat as air
from attend_infer_repeat.cli import loading, plot, process, report, train
from attend_infer_repeat.cli.main import COMMANDS, main
from attend_infer_repeat.cli.process import tune_process


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


def test_where_shapes_do_not_repeat_products_stay_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_float32_matmul_precision("highest")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch, "equal", lambda first, second: True)
    tune_process(shapes_repeat=False)
    assert torch.get_float32_matmul_precision() == "highest"
    tune_process()
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize(("line", "repeat"), [("", True), ("--unbounded", False)])
def test_a_command_says_whether_its_models_shapes_repeat(
    line: str, repeat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for module in (loading, train):
        monkeypatch.setattr(
            module, "tune_process", lambda shapes_repeat: told.append(shapes_repeat)
        )
    monkeypatch.setattr("attend_infer_repeat.console.show_log", lambda quiet: None)
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", images=np.random.default_rng(0).integers(0, 256, (30, 12, 10), np.uint8))
    begun = f"train --data data.npz --preset fast -n 1 -b 2 --out run --quiet {line}"
    for command in (begun, "sample run --out sample.png"):
        assert main(command.split()) == 0
    assert told == [repeat, repeat]


def test_another_c_library_is_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: None) -> object:
        raise OSError("not glibc")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    tune_process()
    monkeypatch.setattr(process.ctypes, "CDLL", lambda name: object())
    tune_process()


LINES = {
    "train": "train --data data.npz --preset fast -n 1",
    "evaluate": "evaluate digits",
    "codes": "codes digits",
    "infer": "infer digits picture.png",
    "sample": "sample digits",
    "plot": "plot run",
    "report": "report run",
    "serve": "serve digits --port 0",
}


class Tuned(Exception):
    """The process was set up."""


@pytest.mark.parametrize(
    "name", sorted(COMMANDS.keys() - {"benchmark"})
)  # its scripts do it themselves
def test_each_command_that_computes_sets_its_process_up_first(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tune(**_: object) -> NoReturn:
        raise Tuned

    for module in (loading, plot, report, train):
        monkeypatch.setattr(module, "tune_process", tune)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Tuned):
        main(LINES[name].split())
    assert list(tmp_path.iterdir()) == []


def test_the_library_leaves_malloc_products_and_threads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> NoReturn:
        raise AssertionError(arguments)

    before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", refuse)
    monkeypatch.setattr(torch, "set_num_threads", refuse)
    images = np.random.default_rng(0).integers(0, 256, (30, 12, 10), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    config = air.TrainConfig(data=f"{tmp_path}/data.npz", num_steps=2, batch_size=4)
    run = air.train(config, tmp_path / "run", quiet=True, figures=False)
    air.AIR.load(run).infer(images)
    assert before == (torch.get_float32_matmul_precision(), torch.get_num_threads())
