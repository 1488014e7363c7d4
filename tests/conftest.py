"""Every test starts alike: float64, validation on, an empty parameter store, a fixed seed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pyro
import pytest
import torch

LONGEST = (
    *("test_docs.py", "test_page.py", "test_objectives.py", "test_export.py", "test_golden.py"),
    *("test_processes.py", "test_report.py", "test_training.py", "test_serve.py"),
    *("test_estimator.py", "test_unbounded.py"),
)
"""Files of tests that take more than ten seconds, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: at the end, a core would wait for one of them."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


LOG = logging.getLogger("attend_infer_repeat")


@pytest.fixture(autouse=True, scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's cache out of the tests: generated data live in a temporary folder."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIR_CACHE_DIR", str(path))
        yield path


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Compute on one thread: tiny tensors only make a second one wait."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """Isolate each test from the others, and make it repeatable."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    level, handlers = LOG.level, LOG.handlers[:]  # which a command sets, for its own process
    with pyro.validation_enabled(True):
        yield
    LOG.setLevel(level)
    LOG.handlers[:] = handlers
    pyro.clear_param_store()
    torch.set_default_dtype(dtype)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures at the end of `air train`: they take longer than a tiny run itself."""
    monkeypatch.setattr("attend_infer_repeat.trainer._plot_run", lambda run, data: [])
