"""The page that describes the interface, made of its OpenAPI description, and of nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from ..viz.pages import render_page

EXAMPLES = {
    "/api/model": "curl {url}/api/model",
    "/api/infer": "base64 picture.png | tr -d '\\n' | sed 's/.*/{{\"image\": \"&\"}}/' |\n"
    "    curl {url}/api/infer -H 'Content-Type: application/json' --data-binary @-",
    "/api/render": "curl {url}/api/render -H 'Content-Type: application/json' \\\n"
    "    --data-binary @objects.json",
    "/api/sample": "curl {url}/api/sample -H 'Content-Type: application/json' \\\n"
    '    -d \'{{"num": 4, "count": 2}}\'',
}

Schema = Mapping[str, Any]


class Field(NamedTuple):
    """A row of a table."""

    name: str
    kind: str
    note: str


def add_to(app: FastAPI) -> None:
    """Add the page to a server, at /api/docs."""

    @app.get("/api/docs", include_in_schema=False)
    async def page() -> Response:
        text, style = render(app.openapi())
        policy = f"default-src 'none'; style-src '{style}'; frame-ancestors 'none'"
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def render(openapi: Schema) -> tuple[str, str]:
    """Return the page, and the digest by which its style is let through."""
    schemas: Schema = openapi["components"]["schemas"]
    values = {
        "info": openapi["info"],
        "operations": list(_operations(openapi)),
        "schemas": {name: (schema, list(_fields(schema))) for name, schema in schemas.items()},
    }
    text = render_page("api.html", values)
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return text, f"sha256-{digest}"


def _operations(openapi: Schema) -> Iterator[dict[str, Any]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            asked = operation.get("requestBody", {}).get("content", {}).get("application/json")
            answers = operation["responses"]
            yield {
                "name": f"{method.upper()} {path}",
                "summary": operation["summary"],
                "asked": None if asked is None else _kind(asked["schema"]),
                "answered": _kind(answers["200"]["content"]["application/json"]["schema"]),
                "refusals": {
                    code: answer["description"] for code, answer in answers.items() if code > "299"
                },
                "example": EXAMPLES[path].format(url="http://127.0.0.1:8000"),
            }


def _fields(schema: Schema) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        note = field.get("description", "")
        if name not in required and "default" in field:
            note = f"{note}{'; ' if note else ''}{_json(field['default'])} if not given"
        yield Field(name, _kind(field), note)


def _json(value: object) -> str:

    return json.dumps(value)


def _kind(schema: Schema) -> str:
    """Say in a few words what a value is."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(_json(value) for value in schema["enum"])
    if schema.get("type") == "array":
        least, most = schema.get("minItems"), schema.get("maxItems")
        number = {True: f"{most} "}.get(least == most and most is not None, "")
        bound = f" (at most {most})" if most is not None and not number else ""
        return f"list of {number}{_kind(schema.get('items', {}))}{bound}"
    words = str(schema.get("type", "anything"))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        words += f" from {low:,} to {high:,}"
    return words
