"""The API's description (OpenAPI 3.1), where FastAPI's own is not exact."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

COOKIE, TOKEN = "session", "csrf"  # names of the two schemes
OPEN = frozenset(
    ("get_me", "get_metrics", "log_out")
)  # no session is needed, whatever the panel is


def name_of(route: APIRoute) -> str:
    """Return the id of an operation: the name of its function."""
    return route.name


def described(app: FastAPI, *, login_for_all: bool) -> Callable[[], dict[str, Any]]:
    """Return a function that gives the description: a change needs the cookie *and* the token."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            for methods in original()["paths"].values():
                for operation in methods.values():
                    _set_summary(operation)
                    if "security" in operation:
                        _set_security(operation, login_for_all=login_for_all)
        return app.openapi_schema or {}

    return openapi


def _set_summary(operation: dict[str, Any]) -> None:
    """Make the first sentence of the description the summary, instead of the function's name."""
    first, _, rest = operation["description"].partition(". ")
    operation["summary"] = first.strip().removesuffix(".")
    operation["description"] = rest.strip()


def _set_security(operation: dict[str, Any], *, login_for_all: bool) -> None:
    needed: dict[str, list[str]] = {name: [] for each in operation["security"] for name in each}
    for_operators = "403" in operation["responses"]
    is_open = operation["operationId"] in OPEN or not (for_operators or login_for_all)
    operation["security"] = [needed, {}] if is_open else [needed]
