"""Errors that handlers and the framework raise, in OpenAI's form.

add_refusals(app)
"""

import difflib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from openqwen.core.errors import UserError
from openqwen.serve.api.body import Body, GenerationBody
from openqwen.serve.api.chat_body import ChatBody
from openqwen.serve.errors import ApiError, error_body

TAGS = ("schema", "plain")  # parts of a place that are ours, not the client's


def add_refusals(app: FastAPI) -> None:
    """Let every refusal have OpenAI's form: bodies that are wrong, paths that are not there."""
    app.add_exception_handler(RequestValidationError, _wrong_body)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(UserError, _wrong_value)


async def _wrong_body(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _answer(explain(error.errors()))


async def _plain(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    said = str(error.detail)
    if error.status_code in (404, 405):
        said = f"{HTTPStatus(error.status_code).phrase}: {_.method} {_.url.path[:200]}"
    return _answer(
        ApiError(error.status_code, said, code="bad_request", headers=dict(error.headers or {}))
    )


async def _wrong_value(_: Request, error: Exception) -> JSONResponse:
    return _answer(ApiError(400, str(error), code="invalid_value"))


def explain(errors: Sequence[Any]) -> ApiError:
    """Return the first thing that is wrong with a body: the place, the fault, the fix."""
    deepest = max(errors, key=lambda error: (error["type"] != "missing", len(error["loc"])))
    error = deepest if deepest["loc"][1:2] == errors[0]["loc"][1:2] else errors[0]
    place = [part for part in error["loc"][1:] if part not in TAGS and _is_clients(part)]
    param = ".".join(str(part) for part in place)[:200] or None
    kind, said = error["type"], str(error["msg"]).removeprefix("Value error, ")
    if kind == "json_invalid":
        reason = error.get("ctx", {}).get("error", "")
        return ApiError(400, f"the body is no JSON: {reason}", code="invalid_json")
    if kind == "missing" and not place:
        return ApiError(400, "the body is empty; send a JSON object", code="invalid_json")
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _known_fields(place[:-1]), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return ApiError(
            400, f"{param} is not a parameter here{hint}", param=param, code="unknown_parameter"
        )
    if not place and kind in ("model_attributes_type", "model_type", "dict_type"):
        said = "send a JSON object, with the header content-type: application/json"
        return ApiError(400, said, code="invalid_json")
    line = " ".join(said.split())[:400]
    return ApiError(
        400,
        f"{param}: {line[:1].lower()}{line[1:]}" if param else line,
        param=param,
        code="invalid_value",
    )


def _is_clients(part: Any) -> bool:
    """Return whether a part of a place is a key or a number, not the name of a type."""
    return isinstance(part, int) or not (
        part in ("str", "int", "float", "function-after") or "[" in part or part[:1].isupper()
    )


def _known_fields(place: Sequence[Any]) -> list[str]:
    """Return the parameters that may stand at a place; at the top all there are."""
    if place:
        return []
    models: tuple[type[Body], ...] = (ChatBody, GenerationBody)
    return [name for model in models for name in model.model_fields]


def _answer(error: ApiError) -> JSONResponse:
    return JSONResponse(error_body(error), error.status, headers=error.headers)
