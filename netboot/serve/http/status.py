"""Ask a running server over HTTP: its status, and orders for seats."""

import json
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

from netboot.boot import ticket
from netboot.errors import OperatorError

STATUS_SECONDS = 5.0


def fetch_status(server: str, secret: bytes = b"") -> dict[str, Any]:
    """Return the status of a running server (``HOST:PORT``): the last event of each seat.

    ``secret`` is the server's; only a program on the server's machine gets the seats without it.
    Raises OperatorError.
    """
    try:
        status = _fetch(server, "/status", secret)
    except OSError as error:
        raise _nobody(server, error) from error
    if "seats" not in status:
        raise _no_secret(server)
    return status


def fetch_history(server: str, mac: str, secret: bytes = b"") -> dict[str, Any] | None:
    """Return a seat with all events that its server has, or None. Raises OperatorError."""
    try:
        return _fetch(server, f"/status/{mac}", secret)
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError) and error.code == HTTPStatus.NOT_FOUND:
            return None
        raise _nobody(server, error) from error


def fetch_histories(server: str, secret: bytes = b"") -> dict[str, Any]:
    """Return the status of a running server with all events of each seat. Raises OperatorError."""
    status = fetch_status(server, secret)
    status["seats"] = [
        fetch_history(server, seat["mac"], secret) or seat for seat in status["seats"]
    ]
    return status


def is_there(server: str) -> bool:
    """Return True if a boot server answers at ``server`` (``HOST:PORT``)."""
    try:
        _fetch(server, "/status", b"")
    except (OSError, OperatorError):
        return False
    return True


def _fetch(server: str, path: str, secret: bytes) -> dict[str, Any]:
    request = urllib.request.Request(f"http://{server}{path}")
    if secret:
        key = ticket.order_key(secret, ticket.READ, "", int(time.time()))
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=STATUS_SECONDS) as answer:
            content: dict[str, Any] = json.load(answer)
            return content
    except urllib.error.HTTPError as error:
        with error:
            reason = error.read().decode("utf-8", "replace").strip()
        if error.code != HTTPStatus.FORBIDDEN:
            raise
        if not secret:
            raise _no_secret(server) from error
        raise OperatorError(f"{server} does not tell its seats: {reason}") from error
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


def _no_secret(server: str) -> OperatorError:
    return OperatorError(
        f"{server} tells its seats to programs of its own machine, or with its secret",
        hint="ask there, or as root with a copy of the secret: --state FOLDER",
    )


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
