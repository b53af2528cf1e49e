"""Ask a running server over HTTP: its status, and orders for seats.

The server may be another's. All its text is made fit for a terminal here, at the one place where it
enters, and an answer of another shape is none.
"""

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from netboot.boot import ticket
from netboot.boot.limits import STATUS_BYTES
from netboot.errors import NobodyError, OperatorError
from netboot.feed.protocol import DRAIN_PATH
from netboot.host.text import printable

STATUS_SECONDS = 5.0
MOST_BYTES = 8 * (STATUS_BYTES.in_total or 0)  # a server of another release may tell more than ours
MOST_TEXT = 4096
MAC = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")
PROGRESS = ("drained", "left", "moves", "moved", "copying")  # figures of a drain
LAST_SECOND = 1e11  # of the year 5138: later ones are no time that can be shown

# A room's server is on this network: a proxy of the environment does not lead to it.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class _Odd(OSError):
    """The answer is none of a server of ours."""


def fetch_status(server: str, secret: bytes = b"") -> dict[str, Any]:
    """Return the status of a running server (``HOST:PORT``): the last event of each seat.

    ``secret`` is the server's; only a program on the server's machine gets the seats without it.
    Raises OperatorError.
    """
    try:
        status = _fetch(server, "/status", secret)
        if "count" in status and "seats" not in status:
            raise _no_secret(server)
        kept = [_kept(row) for row in _rows(status, "kept")] if "kept" in status else []
        return status | {
            "seats": [_seat(row) for row in _rows(status, "seats")],
            **({"kept": kept} if kept else {}),
        }
    except OSError as error:
        raise _nobody(server, error) from error


def fetch_history(server: str, mac: str, secret: bytes = b"") -> dict[str, Any] | None:
    """Return a seat with all events that its server has, or None. Raises OperatorError."""
    try:
        return _seat(_fetch(server, f"/status/{mac}", secret))
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
        check_there(server)
    except OperatorError:
        return False
    return True


def check_there(server: str) -> None:
    """Raise NobodyError if no boot server answers at ``server`` (``HOST:PORT``)."""
    try:
        _fetch(server, "/status", b"")
    except OSError as error:
        raise _nobody(server, error) from error


def _fetch(server: str, path: str, secret: bytes) -> dict[str, Any]:
    request = urllib.request.Request(f"http://{server}{path}")
    if secret:
        key = ticket.order_key(secret, ticket.READ, "", int(time.time()))
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with _open(request, timeout=STATUS_SECONDS) as answer:
            content = answer.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise _Odd(f"more than {MOST_BYTES} bytes")
        return _object(_plain(json.loads(content)))
    except urllib.error.HTTPError as error:
        with error:
            reason = printable(error.read(MOST_TEXT).decode("utf-8", "replace").strip())
        if error.code != HTTPStatus.FORBIDDEN:
            raise
        if not secret:
            raise _no_secret(server) from error
        raise OperatorError(f"{server} does not tell its seats: {reason}") from error
    except (ValueError, RecursionError, HTTPException) as error:
        raise _Odd(printable(str(error) or "not HTTP")) from error


def _plain(content: Any) -> Any:
    """Return JSON with all its text made printable."""
    match content:
        case str():
            return printable(content, MOST_TEXT)
        case list():
            return [_plain(each) for each in content]
        case dict():
            return {printable(key, MOST_TEXT): _plain(value) for key, value in content.items()}
        case _:
            return content


def _object(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise _Odd("not a status of netboot")
    return content


def _rows(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = content.get(name)
    if not isinstance(rows, list):
        raise _Odd(f"a status of netboot has {name}")
    return [_object(row) for row in rows]


def _seat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a seat with its events. Raises OSError if it has another shape."""
    mac, events = row.get("mac"), _rows(row, "events")
    if not (isinstance(mac, str) and MAC.fullmatch(mac)) or not events:
        raise _Odd("a seat has a MAC address and events")
    return row | {
        "hostname": str(row.get("hostname", "")),
        "events": [_event(event) for event in events],
    }


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    sizes = [row.get(name) for name in ("size_bytes", "used_bytes")]
    if not (isinstance(row.get("mac"), str) and all(isinstance(each, int) for each in sizes)):
        raise _Odd("an area that is kept has a MAC address and sizes")
    when = row.get("last_boot")  # which older servers do not tell
    known = isinstance(when, int | float) and 0 <= when < LAST_SECOND
    return row | {"in_use": row.get("in_use") is True, "last_boot": when if known else None}


def _event(event: dict[str, Any]) -> dict[str, Any]:
    when, data = event.get("when"), event.get("data")
    if not isinstance(when, int | float) or not 0 <= when < LAST_SECOND:
        raise _Odd("an event has a time")
    texts = {name: str(event.get(name, "")) for name in ("seat", "stage", "message")}
    return {"when": when, **texts, "data": data if isinstance(data, dict) else {}}


def give_order(server: str, key: str, mac: str, order: str) -> str:
    """Have a running server (``HOST:PORT``) give an order to a seat.

    Return the server's objection, or an empty text. Raises OperatorError if no server answers.
    """
    return _told(server, "POST", f"/orders/{mac}/{order}", key)


def delete_kept(server: str, key: str, mac: str) -> str:
    """Have a running server (``HOST:PORT``) delete the files that a seat keeps.

    Return the server's objection, or an empty text. Raises OperatorError if no server answers.
    """
    return _told(server, "DELETE", f"/kept/{mac}", key)


def ask_drain(server: str, key: str, do: str = "", by: str = "") -> dict[str, Any]:
    """Have a running server (``HOST:PORT``) ``drain`` or ``undrain``; ask how far it is without ``do``.

    ``key`` is the key for its panels, ``by`` names the person. Return the progress
    (netboot.serve.draining). Raises OperatorError if the server refuses, or no server answers.
    """
    query = f"?{urllib.parse.urlencode({'do': do, 'by': by})}" if do else ""
    headers = {"Authorization": f"Bearer {key}"}
    address, method = f"http://{server}{DRAIN_PATH}{query}", "POST" if do else "GET"
    request = urllib.request.Request(address, method=method, headers=headers)
    try:
        with _open(request, timeout=2 * STATUS_SECONDS) as answer:
            row = _object(_plain(json.loads(answer.read(MOST_TEXT))))
        if not all(isinstance(row.get(name), int) for name in PROGRESS):
            raise _Odd("no progress of a server that can be drained")
        return row
    except urllib.error.HTTPError as error:
        with error:
            reason = printable(error.read(MOST_TEXT).decode("utf-8", "replace").strip())
        if error.code == HTTPStatus.NOT_FOUND:
            reason = "its release is older than this one and cannot be drained"
        raise OperatorError(f"{server}: {reason}") from error
    except (ValueError, RecursionError, HTTPException) as error:
        raise _nobody(server, _Odd(printable(str(error) or "not HTTP"))) from error
    except OSError as error:
        raise _nobody(server, error) from error


def _told(server: str, method: str, path: str, key: str) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"http://{server}{path}", method=method, headers=headers)
    try:
        _open(request, timeout=STATUS_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            return printable(error.read(MOST_TEXT).decode("utf-8", "replace").strip())
    except HTTPException as error:
        raise _nobody(server, _Odd(printable(str(error) or "not HTTP"))) from error
    except OSError as error:
        raise _nobody(server, error) from error
    return ""


def _no_secret(server: str) -> OperatorError:
    return OperatorError(
        f"{server} tells its seats to programs of its own machine, or with its secret",
        hint="ask there, or as root with a copy of the secret: --state FOLDER",
    )


def _nobody(server: str, error: OSError) -> NobodyError:
    return NobodyError(
        f"no netboot server answers at {server}: {_cause(error)}",
        hint="is 'netboot serve' running there? --server HOST:PORT names another server",
    )


def _cause(error: OSError) -> str:
    """Return the cause of a failed request without urllib's words around it."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    text = reason.strerror if isinstance(reason, OSError) else None
    return text or printable(str(reason))
