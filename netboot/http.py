"""HTTP: iPXE scripts, kernel and initramfs, beacons from the initramfs, leases, status.

aiohttp sends files with sendfile(2), answers Range and always says Content-Length; measured
beside nginx it moves the same bytes at the same CPU (docs/performance.md says how much).
"""

import json
import logging
import math
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from netboot.errors import OperatorError

log = logging.getLogger(__name__)

MAX_BEACON_BYTES = 4096  # a message and a few figures; the largest sent is about 300 bytes
MAX_STAGE_CHARACTERS = 40
SHUTDOWN_SECONDS = 1.0
STATUS_SECONDS = 5.0


class Room(Protocol):
    """What the HTTP server asks of the composition root; each ``mac`` came out of a ticket."""

    def seat_of(self, ticket: str) -> str | None:
        """The MAC address a ticket was issued for, or None."""

    def script(self, mac: str, name: str, server: IPv4Address) -> str | None:
        """The iPXE script ``name`` of a seat, None if there is no such script."""

    def file(self, name: str) -> Path | None:
        """A boot image by its name, None if there is none."""

    def lease(self, mac: str, ram_bytes: int) -> str:
        """Grants a swap lease: ``size=BYTES`` or ``refused=REASON``."""

    def status(self) -> dict[str, Any]:
        """The state of all seats, JSON-ready, without secrets."""

    def record(self, mac: str, stage: str, message: str, **data: Any) -> None:
        """Journals an event."""


@dataclass(frozen=True, slots=True)
class Beacon:
    """What an initramfs reports: a line for people, and ``key=value`` lines for scripts."""

    message: str
    data: dict[str, Any]


def parse_beacon(body: str, uptime: str) -> Beacon:
    """Reads a beacon. Figures become numbers; ``uptime`` is the client's, in seconds."""
    # Beacons end on somebody's terminal: nothing in them may move its cursor.
    plain = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in body)
    lines = [line for line in plain.split("\n") if line.strip()]
    data: dict[str, Any] = {}
    for line in lines[1:]:
        key, separator, value = line.partition("=")
        if separator:
            data[key.strip()] = _number(value.strip())
    seconds = _number(uptime)
    if isinstance(seconds, int | float):
        data["uptime"] = seconds
    return Beacon(lines[0].strip() if lines else "", data)


def _number(text: str) -> int | float | str:
    for convert in (int, float):
        try:
            number = convert(text)
        except ValueError:
            continue
        if math.isfinite(number):  # JSON has no word for the others
            return number
    return text


class HttpServer:
    """Serves ``room`` on ``port``."""

    def __init__(self, room: Room, *, port: int, now: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._port = port
        self._now = now
        self._runner: web.AppRunner | None = None

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
                web.get("/boot/{ticket}/{name}", self._boot),
                web.post("/beacon/{ticket}/{stage}", self._beacon),
                web.get("/lease/{ticket}", self._lease),
                web.get("/status", self._status),
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
        if self._runner is not None:
            await self._runner.cleanup()

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
        if path is None:
            raise web.HTTPNotFound(text=f"no image {name}\n")
        return await self._send(request, mac, name, path)

    async def _send(
        self, request: web.Request, mac: str, name: str, path: Path
    ) -> web.StreamResponse:
        response = web.FileResponse(path)
        begin = self._now()
        try:
            await response.prepare(request)  # sends the whole file
        except ConnectionError:
            self._room.record(mac, "http", f"{name}: the PC closed the connection", file=name)
            raise
        sent = response.content_length or 0
        seconds = max(self._now() - begin, 1e-6)
        self._room.record(
            mac,
            "http",
            f"{name} {sent / 1e6:.1f} MB in {seconds:.2f} s, {sent / 1e6 / seconds:.1f} MB/s",
            file=name,
            bytes=sent,
            seconds=round(seconds, 3),
        )
        return response

    async def _beacon(self, request: web.Request) -> web.Response:
        mac, stage = self._seat(request), request.match_info["stage"]
        if len(stage) > MAX_STAGE_CHARACTERS or not stage.isprintable():
            raise web.HTTPBadRequest(text="stage: at most 40 printable characters\n")
        body = (await request.read()).decode("utf-8", "replace")
        beacon = parse_beacon(body, request.query.get("uptime", ""))
        self._room.record(mac, stage, beacon.message, **beacon.data)
        return web.Response(text="")

    async def _lease(self, request: web.Request) -> web.Response:
        mac, ram = self._seat(request), request.query.get("ram", "")
        if not (ram.isascii() and ram.isdigit()):
            raise web.HTTPBadRequest(text="ram: expected the client's RAM in bytes\n")
        return web.Response(text=self._room.lease(mac, int(ram)) + "\n")

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self._room.status())


def fetch_status(server: str) -> dict[str, Any]:
    """Asks a running server (``HOST:PORT``) for its status. Raises OperatorError."""
    try:
        with urllib.request.urlopen(f"http://{server}/status", timeout=STATUS_SECONDS) as answer:
            status: dict[str, Any] = json.load(answer)
            return status
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"no netboot server answers at {server}: {error}",
            hint="is 'netboot serve' running there? --server HOST:PORT names another",
        ) from error


def _own_address(request: web.Request) -> IPv4Address:
    assert request.transport is not None
    return IPv4Address(request.transport.get_extra_info("sockname")[0])
