"""Errors of the panel's API: one line, *problem: cause; remedy*, as ``{"detail": ...}``."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteException
from starlette.responses import Response
from starlette.routing import compile_path

from netboot.errors import OperatorError
from netboot.panel.ports import PortError
from netboot.panel.web.answers import JSON
from netboot.panel.web.guard import TOO_LARGE, problem

T = TypeVar("T")

WAIT = 15.0  # seconds for the history or a server to answer
MOST_MISTAKES, MOST_SHOWN = 3, 60
DOCS = "see /docs"


class Problem(BaseModel):
    """An error: *problem: cause; remedy*."""

    detail: str = Field(
        examples=["no seat '52:54:00:00:00:01': no server has seen it; see the list"]
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors that a route may answer with, for its description."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


_MEANINGS = {
    400: "The request is not HTTP/1.1, or its body is not JSON",
    401: "Not logged in, or a wrong password",
    403: "Not allowed for this account, or sent by another site's page",
    404: "It does not exist",
    409: "The limit is reached",
    413: "The request is too large",
    421: "The header Host is not a name of this panel",
    422: "A value is invalid",
    429: "Too many attempts; see Retry-After",
    503: "The history or a server does not answer",
}


async def ask(port: Awaitable[T]) -> T:
    """Wait for an answer of a port, but not for ever."""
    try:
        async with asyncio.timeout(WAIT):
            return await port
    except TimeoutError:
        raise PortError(
            f"no answer within {WAIT:.0f} s: the history or a server is slow; try again"
        ) from None


def refuse(status: int, text: str, *, wait: float = 0.0) -> HTTPException:
    """Return an error to raise. ``wait``: seconds after which another attempt may succeed."""
    headers = {"Retry-After": str(int(wait) + 1)} if wait else None
    return HTTPException(status, text, headers)


def install(app: FastAPI) -> None:
    """Answer each error of the application in this form."""
    app.add_exception_handler(StarletteException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(PortError, _away)
    app.add_exception_handler(OperatorError, _away)


def _answer(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(problem(text), status, headers, media_type=JSON)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteException)
    text, headers = str(error.detail), dict(error.headers or {})
    path = request.url.path[:MOST_SHOWN]
    match error.status_code:
        case 404 if text == "Not Found":
            text = f"nothing at {path!r}: neither a page nor the API has this path; {DOCS}"
        case 405:
            may = headers["Allow"] = _allowed(request) or headers.get("Allow", "GET")
            text = f"method {request.method} at {path!r}: expected {may}; {DOCS}"
        case 413:
            text = TOO_LARGE
        case 400:
            text = f"body: expected JSON, found other data; {DOCS}"
        case _:
            pass
    return _answer(error.status_code, text, headers)


def _allowed(request: Request) -> str:
    """Return the methods of a path of the API. The router tells those of one route, not of all."""
    app = request.app
    assert isinstance(app, FastAPI)
    methods = {
        method.upper()
        for template, found in app.openapi()["paths"].items()
        if compile_path(template)[0].fullmatch(request.url.path)
        for method in found
    }
    return ", ".join(sorted(methods))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    mistakes = error.errors()
    if request.method in ("POST", "PUT") and kind != JSON and mistakes[0]["loc"][0] == "body":
        text = f"header Content-Type: expected {JSON}, found {kind[:MOST_SHOWN]!r}"
        return _answer(422, f"{text}; {DOCS}")
    told = [_mistake(each) for each in mistakes[:MOST_MISTAKES]]
    if len(mistakes) > MOST_MISTAKES:
        told.append(f"and {len(mistakes) - MOST_MISTAKES} more")
    return _answer(422, "; ".join([*dict.fromkeys(told), DOCS]))


def _mistake(mistake: dict[str, Any]) -> str:
    """Return one mistake: its place, the expected value, the value that was found."""
    place, *path = mistake["loc"]
    kind, said = mistake["type"], str(mistake["msg"])
    if kind == "json_invalid":
        return f"body: no JSON at character {path[0] if path else 0}"
    where = f"{place} {'.'.join(str(each) for each in path)[:MOST_SHOWN]!r}" if path else str(place)
    if kind == "missing":
        return f"{where}: missing"
    said = said.removeprefix("Value error, ").replace("Input should be", "expected")
    said = said.replace("Input should have", "expected").replace("String should", "expected to")
    if kind == "extra_forbidden":
        return f"{where}: unknown key"
    if kind == "value_error":
        return f"{where}: {said}"
    if not said.startswith("expected"):
        said = said[:1].lower() + said[1:]
    if path and path[-1] == "password":
        return f"{where}: {said}"
    return f"{where}: {said}, found {_shown(mistake.get('input'))}"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) > 1 << 64:
        return "a larger number"
    text = ascii(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


async def _away(request: Request, error: Exception) -> Response:
    hint = error.hint if isinstance(error, OperatorError) else ""
    return _answer(503, f"{error}; {hint}" if hint else str(error))
