"""Why a request is refused: every mistake has its reason, in one sentence."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from ..errors import AirError, NotFiniteError
from .schemas import Refusal

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "Not JSON"},
    403: {"model": Refusal, "description": "From another site"},
    408: {"model": Refusal, "description": "Too slow"},
    413: {"model": Refusal, "description": "Too large"},
    415: {"model": Refusal, "description": "Not application/json"},
    422: {"model": Refusal, "description": "Not what is expected"},
    503: {"model": Refusal, "description": "Too many requests at once"},
}

REASONS = {
    400: "the body cannot be read as JSON: nested too deeply, or a number of too many digits.",
    404: "nothing is here; the page is at /, the interface is described at /api/docs.",
    405: "not answered here; the interface is described at /api/docs.",
}
"""Why the framework refuses a request that fits no address, or is no JSON."""

NOT_FINITE = "the model's answer is not finite numbers; train it again, or ask something milder."


def add_to(app: FastAPI) -> None:
    """Answer every mistake with its reason, in one sentence."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _refusal(400, f"the body is not JSON: {first['ctx']['error']}.")
        place = ".".join(str(part) for part in first["loc"][1:] if _is_field(part))
        if first["type"] == "extra_forbidden":
            return _refusal(422, f"{place}: no such field; leave it out.")
        reason = (
            first["msg"].replace("Input should be", "expected").replace(" after validation", "")
        )
        return _refusal(422, f"{place or 'body'}: {reason[0].lower()}{reason[1:]}.")

    @app.exception_handler(AirError)
    async def mistaken(request: Request, error: AirError) -> Response:
        return _refusal(422, str(error))

    @app.exception_handler(ValidationError)
    async def unsayable(request: Request, error: ValidationError) -> Response:
        """Refuse what the model has no finite answer to; an answer of another fault is a bug."""
        if any(fault["type"] != "finite_number" for fault in error.errors(include_url=False)):
            raise error
        return _refusal(422, NOT_FINITE)

    @app.exception_handler(NotFiniteError)
    async def astray(request: Request, error: NotFiniteError) -> Response:
        return _refusal(422, NOT_FINITE)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        reason, headers = (
            REASONS.get(error.status_code, str(error.detail)),
            dict(error.headers or {}),
        )
        if error.status_code == 405:
            methods = {*headers["Allow"].split(", "), "OPTIONS"}
            if "GET" in methods:
                methods.add("HEAD")
            headers["Allow"] = ", ".join(sorted(methods))
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
        return _refusal(error.status_code, reason, headers)


def _is_field(part: int | str) -> bool:
    """Tell a field or an index from the name of one of several types that were tried."""
    return isinstance(part, int) or "[" not in part


def _refusal(status: int, reason: str, headers: Any = None) -> Response:
    # A name that was sent may hold half a character, which no answer can.
    reason = reason.encode("utf-8", "replace").decode("utf-8")
    return JSONResponse({"detail": reason[:500]}, status, headers)
