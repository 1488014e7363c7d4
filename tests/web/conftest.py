"""One server for all tests of the web, with weights that come with the package."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from serving import MODEL, Page, serving

from attend_infer_repeat import AIR
from attend_infer_repeat.web.app import make_app


@pytest.fixture(autouse=True)
def clean_slate() -> None:
    """Leave the number type to the server: it computes while tests come and go."""


@pytest.fixture(scope="session")
def page() -> Iterator[Page]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    air = AIR.load(MODEL)
    with serving(make_app(air, MODEL), air) as page:
        yield page
    torch.set_default_dtype(before)
