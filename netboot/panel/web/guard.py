"""Rules for every request before a route sees it, and for every answer: ASGI middleware.

A page of a stranger can make the browser of somebody in the school talk to the panel. Two ways are
closed here. *DNS rebinding*: the stranger's name gets the panel's address, and to the browser both are
one site; so the header ``Host`` must be an address or one of the panel's own names. *CSRF*: a form of
the stranger's page sends a change; so ``Origin`` must be the panel itself (and a change needs a token,
see ``access.py``).
"""

import json
import logging
import socket
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from netboot.boot.limits import PANEL_BODY

log = logging.getLogger(__name__)

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
CSP = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Without a referrer a browser says "Origin: null" in some changes.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
MOST_SHOWN = 80  # characters of a request
NOT_KEPT = "no-store"  # of all that does not say otherwise
MOST_BYTES = PANEL_BODY.per_address or 0  # of a body
TOO_LARGE = f"body: more than {MOST_BYTES} bytes; send less"


def problem(text: str) -> bytes:
    """Return the body of an error. Escapes keep it valid, whatever a request had in it."""
    return json.dumps({"detail": text}).encode()


def machine_names() -> frozenset[str]:
    """Return the names of this machine, without a query to a name server."""
    name = socket.gethostname().lower().rstrip(".")
    short = name.partition(".")[0]
    return frozenset(each for each in ("localhost", name, short, f"{short}.local") if short)


class Guard:
    """Refuses requests for other sites or from other sites, and adds security headers to answers.

    ``names``: further names by which browsers reach the panel, without a port.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = machine_names() | {name.lower().rstrip(".") for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        has_begun = False

        async def send_safely(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", NOT_KEPT)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            try:
                await self._app(scope, receive, send_safely)
                return
            except Exception as error:
                if has_begun:
                    raise
                log.exception("%s %s failed", scope["method"], scope["path"][:MOST_SHOWN])
                kind = type(error).__name__
                refusal = (
                    500,
                    f"the panel failed: {kind} is a fault of netboot; the panel's log has the details",
                )
        status, text = refusal
        body = problem(text)
        fields = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send_safely({"type": "http.response.start", "status": status, "headers": fields})
        await send_safely({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            return 400, f"header Host: expected one, found {len(hosts)}; ask with HTTP/1.1"
        if not self._is_own(hosts[0]):
            return 421, (
                f"header Host: {hosts[0][:MOST_SHOWN]!r} is not a name of this panel; use its IP address, or "
                "start 'netboot panel' with that name"
            )
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:MOST_SHOWN]) > MOST_BYTES:
            return 413, TOO_LARGE
        if scope["method"] in SAFE:
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None:
            foreign = _authority(origin) != _plain(hosts[0])
        else:
            foreign = site not in (None, "same-origin", "none")
        if foreign:
            told = origin if origin is not None else site
            return 403, (
                f"a page of another site sent this change: origin {str(told)[:MOST_SHOWN]!r}, expected "
                f"{hosts[0][:MOST_SHOWN]!r}; use the panel's own page"
            )
        return None

    def _is_own(self, host: str) -> bool:
        name = _name(host)
        if name is None:
            return False
        try:
            ip_address(name)
        except ValueError:
            return name.rstrip(".") in self._names
        return True


def _name(host: str) -> str | None:
    """Return the host of ``host:port``, lower-case; None if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises for what is no number
    except ValueError:
        return None
    # A path, a query or a user is no part of a host.
    return parts.hostname if parts.netloc == host and "@" not in host else None


def _authority(origin: str) -> str | None:
    """Return host and port of an origin; None for ``null`` and others without."""
    scheme, separator, host = origin.partition("://")
    return _plain(host) if separator and scheme in ("http", "https") else None


def _plain(host: str) -> str:
    """Return a host without the port that follows from http or https: a proxy may end TLS."""
    return host.lower().removesuffix(":80").removesuffix(":443")
