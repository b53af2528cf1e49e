"""Ask a running server over HTTP: its status, and orders for seats."""

import json
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

from netboot.errors import OperatorError

STATUS_SECONDS = 5.0


def fetch_status(server: str) -> dict[str, Any]:
    """Return the status of a running server (``HOST:PORT``): the last event of each seat.

    Raises OperatorError.
    """
    try:
        return _fetch(server, "/status")
    except OSError as error:
        raise _nobody(server, error) from error


def fetch_history(server: str, mac: str) -> dict[str, Any] | None:
    """Return a seat with all events that its server has, or None. Raises OperatorError."""
    try:
        return _fetch(server, f"/status/{mac}")
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError) and error.code == HTTPStatus.NOT_FOUND:
            return None
        raise _nobody(server, error) from error


def fetch_histories(server: str) -> dict[str, Any]:
    """Return the status of a running server with all events of each seat. Raises OperatorError."""
    status = fetch_status(server)
    status["seats"] = [fetch_history(server, seat["mac"]) or seat for seat in status["seats"]]
    return status


def _fetch(server: str, path: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://{server}{path}", timeout=STATUS_SECONDS) as answer:
            content: dict[str, Any] = json.load(answer)
            return content
    except ValueError as error:
        raise OSError(str(error)) from error


def give_order(server: str, key: str, mac: str, order: str) -> str:
    """Have a running server (``HOST:PORT``) give an order to a seat.

    Return the server's objection, or an empty text. Raises OperatorError if no server answers.
    """
    url, headers = f"http://{server}/orders/{mac}/{order}", {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, method="POST", headers=headers)
    try:
        urllib.request.urlopen(request, timeout=STATUS_SECONDS).close()
    except urllib.error.HTTPError as error:
        return error.read().decode("utf-8", "replace").strip()
    except OSError as error:
        raise _nobody(server, error) from error
    return ""


def _nobody(server: str, error: OSError) -> OperatorError:
    return OperatorError(
        f"no netboot server answers at {server}: {_cause(error)}",
        hint="is 'netboot serve' running there? --server HOST:PORT names another server",
    )


def _cause(error: OSError) -> str:
    """Return the cause of a failed request without urllib's words around it."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    text = reason.strerror if isinstance(reason, OSError) else None
    return text or str(reason)
