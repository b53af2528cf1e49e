"""HTTP: iPXE scripts, kernel and initramfs, beacons from the initramfs, leases, orders, status.

aiohttp keeps connections and always says Content-Length. `make bench-boot` compares it with nginx.
"""

import hmac
import logging
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from netboot.errors import OperatorError
from netboot.serve.http.beacon import Beacon, parse_beacon
from netboot.serve.http.downloads import Download, send_with_end
from netboot.serve.http.orders import ORDERS, Orders
from netboot.serve.http.sending import Senders

log = logging.getLogger(__name__)

MAX_BEACON_BYTES = 4096  # a message and a few figures; the largest sent is about 300 bytes
MAX_STAGE_CHARACTERS = 40
SHUTDOWN_SECONDS = 1.0


class Answers(Protocol):
    """What the HTTP server asks; each ``mac`` came out of a ticket."""

    def seat_of(self, ticket: str) -> str | None:
        """The MAC address a ticket was issued for, or None."""

    def script(self, mac: str, name: str, server: IPv4Address) -> str | None:
        """The iPXE script ``name`` of a seat, None if there is no such script."""

    def file(self, name: str) -> Path | None:
        """A boot image by its name, None if there is none."""

    def fetched(self, mac: str, name: str) -> None:
        """A seat has fetched a boot file."""

    def unified(self, mac: str, name: str, server: IPv4Address) -> tuple[Path, str] | None:
        """The file ``name`` that is a seat's own, None if there is none: a file that all share, and
        what stands at its end in place of its own last characters.
        """

    def lease(self, mac: str, ram_bytes: int, *, fresh: bool = False, area: int = 1) -> str:
        """Grants a swap lease: ``size=BYTES``, with `` token=TOKEN`` if it is to be a ``fresh``
        one or that of a further ``area``, or ``refused=REASON``.
        """

    def end_lease(self, mac: str, area: int) -> str:
        """Ends the lease of an area: ``ended``, or ``refused=REASON``."""

    def order_key(self) -> str:
        """What whoever gives seats orders has to know."""

    def status(self) -> dict[str, Any]:
        """The state of all seats, JSON-ready, without secrets."""

    def record(self, mac: str, stage: str, message: str, **data: Any) -> None:
        """Journals an event."""

    def beacon(self, mac: str, stage: str, beacon: Beacon) -> None:
        """Journals what an initramfs reports."""


class HttpServer:
    """Serves ``room`` on ``port``."""

    def __init__(
        self, room: Answers, *, port: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._room = room
        self._port = port
        self._now = now
        self._runner: web.AppRunner | None = None
        self._orders = Orders()
        self._senders = Senders()

    @property
    def port(self) -> int:
        """The port in use (a free one if 0 was asked for)."""
        assert self._runner is not None, "not started"
        return int(self._runner.addresses[0][1])

    async def start(self, addresses: Sequence[IPv4Address]) -> None:
        """Listens on ``addresses``. Raises OperatorError if the port cannot be had."""
        app = web.Application(client_max_size=MAX_BEACON_BYTES)
        app.add_routes(
            [
                web.get("/boot/{ticket}/{name:.+}", self._boot),
                web.post("/beacon/{ticket}/{stage}", self._beacon),
                web.get("/lease/{ticket}", self._lease),
                web.delete("/lease/{ticket}", self._end_lease),
                web.get("/status", self._status),
                web.get("/orders/{ticket}", self._wait_for_order),
                web.post("/orders/{mac}/{order}", self._give_order),
            ]
        )
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        for address in addresses:
            try:
                await web.TCPSite(self._runner, str(address), self._port).start()
            except OSError as error:
                await self._runner.cleanup()
                raise OperatorError(
                    f"cannot serve HTTP on {address} port {self._port}: {error.strerror}",
                    hint="set another port in the profile: http: {port: 8081}",
                ) from error

    async def stop(self) -> None:
        """Closes the listener and every connection."""
        self._orders.release()
        if self._runner is not None:
            await self._runner.cleanup()
        self._senders.stop()

    def _seat(self, request: web.Request) -> str:
        mac = self._room.seat_of(request.match_info["ticket"])
        if mac is None:
            raise web.HTTPNotFound(text="no such seat\n")
        return mac

    async def _boot(self, request: web.Request) -> web.StreamResponse:
        mac, name = self._seat(request), request.match_info["name"]
        if name.endswith(".ipxe"):
            text = self._room.script(mac, name, _own_address(request))
            if text is None:
                raise web.HTTPNotFound(text=f"no script {name}\n")
            self._room.record(mac, "http", name, file=name, bytes=len(text))
            return web.Response(text=text)
        path = self._room.file(name)
        begin = self._now()

        def sent(size: int | None) -> None:
            self._sent(mac, name, size, self._now() - begin)

        if path is not None:
            return Download(path, sent, self._senders)
        own = self._room.unified(mac, name, _own_address(request))
        if own is None:
            raise web.HTTPNotFound(text=f"no image {name}\n")
        return await send_with_end(request, *own, sent)

    def _sent(self, mac: str, name: str, size: int | None, seconds: float) -> None:
        if size is None:
            self._room.record(mac, "http", f"{name}: the PC closed the connection", file=name)
            return
        self._room.fetched(mac, name)
        rate = size / 1e6 / max(seconds, 1e-6)
        message = f"{name} {size / 1e6:.1f} MB in {seconds:.2f} s, {rate:.1f} MB/s"
        taken = round(seconds, 3)
        self._room.record(mac, "http", message, file=name, bytes=size, seconds=taken)

    async def _beacon(self, request: web.Request) -> web.Response:
        mac, stage = self._seat(request), request.match_info["stage"]
        if len(stage) > MAX_STAGE_CHARACTERS or not stage.isprintable():
            raise web.HTTPBadRequest(text="stage: at most 40 printable characters\n")
        body = (await request.read()).decode("utf-8", "replace")
        query = request.query
        beacon = parse_beacon(body, query.get("uptime", ""), query.get("sent", ""))
        self._room.beacon(mac, stage, beacon)
        return web.Response(text="")

    async def _lease(self, request: web.Request) -> web.Response:
        mac, ram = self._seat(request), request.query.get("ram", "")
        if not (ram.isascii() and ram.isdigit()):
            raise web.HTTPBadRequest(text="ram: expected the client's RAM in bytes\n")
        fresh, area = request.query.get("fresh") == "1", _area(request)
        return web.Response(text=self._room.lease(mac, int(ram), fresh=fresh, area=area) + "\n")

    async def _end_lease(self, request: web.Request) -> web.Response:
        mac, area = self._seat(request), _area(request)
        return web.Response(text=self._room.end_lease(mac, area) + "\n")

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self._room.status())

    async def _wait_for_order(self, request: web.Request) -> web.Response:
        mac = self._seat(request)
        order = await self._orders.wait(mac)
        if order:
            self._room.record(mac, "order", order)
        return web.Response(text=order)

    async def _give_order(self, request: web.Request) -> web.Response:
        mac, order = request.match_info["mac"], request.match_info["order"]
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(key.encode(), self._room.order_key().encode()):
            raise web.HTTPForbidden(text="that takes the server's secret\n")
        if order not in ORDERS:
            raise web.HTTPNotFound(text=f"orders: {', '.join(ORDERS)}\n")
        if not self._orders.give(mac, order):
            raise web.HTTPNotFound(text="it does not run, or not from this server\n")
        return web.Response(text="")


def _area(request: web.Request) -> int:
    text = request.query.get("area", "1")
    if len(text) != 1 or text not in "123456789":
        raise web.HTTPBadRequest(text="area: expected 1 to 9\n")
    return int(text)


def _own_address(request: web.Request) -> IPv4Address:
    assert request.transport is not None
    return IPv4Address(request.transport.get_extra_info("sockname")[0])
