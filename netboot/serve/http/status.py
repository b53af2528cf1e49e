"""Ask a running server over HTTP: its status, and orders for seats."""

import json
import urllib.error
import urllib.request
from typing import Any

from netboot.errors import OperatorError

STATUS_SECONDS = 5.0


def fetch_status(server: str) -> dict[str, Any]:
    """Return the status of a running server (``HOST:PORT``). Raises OperatorError."""
    try:
        with urllib.request.urlopen(f"http://{server}/status", timeout=STATUS_SECONDS) as answer:
            status: dict[str, Any] = json.load(answer)
            return status
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"no netboot server answers at {server}: {_cause(error)}",
            hint="is 'netboot serve' running there? --server HOST:PORT names another server",
        ) from error


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
        raise OperatorError(
            f"no netboot server answers at {server}: {_cause(error)}",
            hint="is 'netboot serve' running there?",
        ) from error
    return ""


def _cause(error: Exception) -> str:
    """Return the cause of a failed request without urllib's words around it."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    text = reason.strerror if isinstance(reason, OSError) else None
    return text or str(reason)
