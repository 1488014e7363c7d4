"""HTML pages from the package's templates."""

from __future__ import annotations

from typing import Any

from ..errors import extra

with extra("report", "an HTML page"):
    from jinja2 import Environment, PackageLoader, StrictUndefined


def render_page(template: str, values: dict[str, Any]) -> str:
    """Fill in a template of ``templates/``; a value that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("attend_infer_repeat.viz"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)
