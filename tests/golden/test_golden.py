"""What every kind of model computes is what it computed before the code was moved.

The record of ``improved`` and ``basic`` is of commit 6b500e8, that of the guides that search is
later. ``python tests/golden/test_golden.py`` writes a new one: after a change that is meant to
change results, and then the reason stands in the commit.
"""

from __future__ import annotations

import gzip
import json
import platform
import sys
from pathlib import Path

import pyro
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from cases import assert_equal, cases, record_of, record_of_a_new

FILE = Path(__file__).parent / "golden.json.gz"
CASES = dict(cases())
QUICK = {
    "pursuit sum none",
    "pursuit over none",
    "pursuit sum learned",
    "pursuit sum smooth",
    "pursuit sum none unbounded",
    "pursuit foresight sum none",
    "pursuit foresight over constant unbounded",
    "memoryless sum none",
    "memoryless over constant unbounded",
    "improved sum none",
    "basic sum none",
    "learned laws",
    "raw prior, embedding",
    "tracegraph basic",
    "tracegraph pursuit",
    *(name for name in CASES if name.startswith("preset")),
}
"""Cases of which all is compared in `make test`; of the others only what a new model holds is."""
# One machine repeats itself to the last digit. Another one adds in another order, and Adam's first
# steps divide each gradient by its own magnitude, which magnifies what is rounding alone.
TOLERANCE, ON_OTHER_MACHINES = 1e-12, 1e-6


def cpu() -> str:
    """Return what decides the order of additions."""
    capability = torch.backends.cpu.get_cpu_capability()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = [line for line in lines if line.startswith(("cpu family", "model"))][:3]
    return f"{platform.machine()} {capability} {torch.__version__} {model}"


def tolerance(golden: dict[str, object]) -> float:
    """Return how much results may differ from the record."""
    return TOLERANCE if golden["cpu"] == cpu() else ON_OTHER_MACHINES


@pytest.fixture(scope="module")
def golden() -> dict[str, object]:
    return json.loads(gzip.decompress(FILE.read_bytes()))


def test_every_case_is_recorded(golden: dict[str, object]) -> None:
    assert set(golden["cases"]) == set(CASES)
    assert set(CASES) >= QUICK


def test_names_and_initial_weights_are_those_of_the_record(golden: dict[str, object]) -> None:
    for name, config in CASES.items():
        new = json.loads(json.dumps(record_of_a_new(config)[1]))
        assert_equal(new, golden["cases"][name], tolerance(golden), name)


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in CASES],
)
def test_results_are_those_of_the_record(golden: dict[str, object], name: str) -> None:
    new = json.loads(json.dumps(record_of(CASES[name])))
    assert set(new) == {"names", "initial", "rollout", "infer", "sites", "trained"}
    assert_equal(new, golden["cases"][name], tolerance(golden))


def write() -> None:
    """Write the record."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    records = {}
    for name, config in CASES.items():
        pyro.clear_param_store()
        records[name] = record_of(config)
        print(name, flush=True)
    content = json.dumps({"cpu": cpu(), "cases": records}).encode()
    FILE.write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    write()
