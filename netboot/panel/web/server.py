"""The web server of the panel: uvicorn, with limits that uvicorn does not have."""

import asyncio
import socket
from collections import Counter

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from netboot.boot.limits import PANEL_ANSWERS, PANEL_CONNECTIONS
from netboot.errors import OperatorError
from netboot.host.text import cause
from netboot.panel.login.lockout import network
from netboot.panel.web.access import Panel
from netboot.panel.web.guard import HEADERS, NOT_KEPT, problem

MOST, MOST_OF_ADDRESS = PANEL_CONNECTIONS.in_total or 0, PANEL_CONNECTIONS.per_address or 0
REQUEST_SECONDS = PANEL_CONNECTIONS.seconds or 0.0
ANSWER_SECONDS = PANEL_ANSWERS.seconds or 0.0
KEEP_ALIVE = 30  # seconds
END_SECONDS = 2  # for answers under way when the panel ends
HEADER_BYTES = 16 << 10
BACKLOG = 256
_WHOLE = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR, h11.SWITCHED_PROTOCOL)


class Connection(H11Protocol):
    """One connection: a request must be whole, and an answer be taken, in a limited time."""

    _request: asyncio.TimerHandle | None = None
    _answer: asyncio.TimerHandle | None = None
    began = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or hang up if there are too many."""
        super().connection_made(transport)
        self.began = self.loop.time()
        self._watch()
        surplus = self._surplus()
        if surplus is not None:
            surplus._hang_up()

    def _surplus(self) -> "Connection | None":
        """Return a connection that is one too many: of the sender with the most, else this one."""
        others = [each for each in self.connections if isinstance(each, Connection)]
        counts = Counter(each._network() for each in others)
        own = self._network()
        if counts[own] > MOST_OF_ADDRESS:
            return self
        if len(others) <= MOST:
            return None
        most = counts.most_common(1)[0][0]
        if counts[most] <= counts[own]:
            return self
        return min((each for each in others if each._network() == most), key=_age)

    def _network(self) -> str:
        return network(self.client[0]) if self.client else ""

    def data_received(self, data: bytes) -> None:
        """Take bytes; the time for a request begins with its first one."""
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        whole = self.conn.their_state in _WHOLE
        if whole and self._request is not None:
            self._request.cancel()
            self._request = None
        elif not whole and self._request is None:
            self._request = self.loop.call_later(REQUEST_SECONDS, self._hang_up)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, in the form of all other errors, and hang up."""
        body = problem("request: expected HTTP/1.1, found other data; use a browser")
        fields = HEADERS | {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Cache-Control": NOT_KEPT,
            "Connection": "close",
        }
        head = h11.Response(status_code=400, headers=list(fields.items()), reason=b"Bad Request")
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _hang_up(self) -> None:
        self.transport.abort()

    def pause_writing(self) -> None:
        """Wait for a browser that reads nothing, for a limited time."""
        super().pause_writing()
        if self._answer is None:
            self._answer = self.loop.call_later(ANSWER_SECONDS, self._hang_up)

    def resume_writing(self) -> None:
        """Go on, because the browser has read something."""
        super().resume_writing()
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End all that waits for this connection."""
        for timer in (self._request, self._answer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)


def _age(connection: Connection) -> float:
    return connection.began


class WebServer(uvicorn.Server):
    """A uvicorn that ends the streams first, because they would last for ever."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            # Any stranger can send what is no request, and each would be a warning.
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=END_SECONDS,
            h11_max_incomplete_event_size=HEADER_BYTES,
        )
        super().__init__(config)
        self._panel: Panel = app.state.panel

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all connections."""
        self._panel.hub.close()
        await super().shutdown(sockets)


def listen(address: str, port: int) -> socket.socket:
    """Return a listening socket. An empty address means all addresses of this machine, IPv6 included.

    Port 0 is any free one. Raises OperatorError.
    """
    both = not address and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in address else socket.AF_INET
    try:
        sock = socket.create_server(
            (address, port), family=family, backlog=BACKLOG, dualstack_ipv6=both
        )
    except OSError as error:
        raise OperatorError(
            f"panel: cannot listen at {address or 'any address'}, port {port}: {cause(error)}",
            hint="name another port: --listen ADDRESS:PORT, or http.panel_port in the profile",
        ) from None
    # For a peer that is gone: the connections have it from this socket.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(ANSWER_SECONDS * 1000))
    sock.setblocking(False)
    return sock
