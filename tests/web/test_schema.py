"""Whatever the OpenAPI description allows, and what it forbids, is answered as it promises."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks, positive_data_acceptance
from schemathesis.generation import GenerationMode
from serving import Page

load_all_checks()

EXAMPLES = 20
PATHS = ("/api/model", "/api/infer", "/api/render", "/api/sample")


def try_out(page: Page, path: str, mode: GenerationMode, examples: int) -> None:
    """Ask what the description of an address allows, or what it forbids."""
    schema = schemathesis.openapi.from_url(f"{page.url}/api/openapi.json")
    (operation,) = (
        result.ok() for result in schema.get_all_operations() if result.ok().path == path
    )

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answers(case: schemathesis.Case) -> None:
        # Most texts are no picture, and no description says how long the model's codes are.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    answers()


@pytest.mark.parametrize("path", PATHS)
def test_what_is_allowed_is_answered_as_described(path: str, page: Page) -> None:
    try_out(page, path, GenerationMode.POSITIVE, EXAMPLES)


@pytest.mark.parametrize("path", PATHS[1:])
def test_what_is_forbidden_is_refused_as_described(path: str, page: Page) -> None:
    try_out(page, path, GenerationMode.NEGATIVE, EXAMPLES)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("path", PATHS[1:])
def test_thousands_of_questions_are_answered_as_described(
    path: str, mode: GenerationMode, page: Page
) -> None:
    try_out(page, path, mode, 1_000)
