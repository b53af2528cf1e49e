"""HTTP: iPXE scripts, kernel and initramfs, beacons and reports of seats, leases, orders, status.

aiohttp keeps connections and always sends Content-Length. `make bench-boot` compares it with nginx.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address

from aiohttp import web

from netboot.boot import ticket
from netboot.boot.arch import TOOLS, is_loader
from netboot.boot.ipxe import AUTOEXEC_FILE, KERNEL_SHIM
from netboot.boot.limits import HTTP_CONNECTIONS, HTTP_DOWNLOADS, Limit
from netboot.boot.stages import is_for_seats
from netboot.boot.ticket import Key
from netboot.errors import DeniedError, OperatorError
from netboot.feed.protocol import BY_SECRET
from netboot.serve.http.answers import Answers, Panels
from netboot.serve.http.beacon import parse_beacon
from netboot.serve.http.doorkeeper import Doorkeeper, quiet_logger
from netboot.serve.http.downloads import Download, send_with_end
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.http.menu import MenuDoor
from netboot.serve.http.orders import Orders
from netboot.serve.http.overview import Overview, Readers
from netboot.serve.http.reports import Reports
from netboot.serve.http.sending import Senders
from netboot.serve.http.words import WordsAnswers, WordsDoor

MAX_BEACON_BYTES = 4096  # a message and a few figures; the largest in use has about 300 bytes
MAX_STAGE_CHARACTERS = 40
SLASHES = re.compile("/{2,}")
MAX_RAM_DIGITS = 20  # of 64 bits
SHUTDOWN_SECONDS = 1.0
UNSAVED = "refused=the server cannot save its leases of swap; see its log"
LOOPBACK = IPv4Address("127.0.0.1")
# UEFI waits 5 s for an answer (EDK2, HttpBootDxe.h: HTTP_BOOT_RESPONSE_TIMEOUT).
PATIENCE_SECONDS, TURN_SECONDS = 3.0, 0.25
# The kernel's first question by ARP is answered in a millisecond, the next one comes a second later.
LOOKS, LOOK_SECONDS = 6, 0.2

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves ``room`` on ``port``. ``now`` is a clock in seconds.

    ``connections`` and ``downloads`` limit what a sender can hold; ``holder`` returns the machine
    that an address counts for. ``orders`` are those of seats that wait.
    ``segment`` is the most bytes of a TCP segment; 0 leaves them to the kernel.
    """

    def __init__(
        self,
        room: Answers,
        *,
        port: int,
        orders: Orders | None = None,
        panels: Panels | None = None,
        words: WordsAnswers | None = None,
        now: Callable[[], float] = time.monotonic,
        connections: Limit = HTTP_CONNECTIONS,
        downloads: Limit = HTTP_DOWNLOADS,
        holder: Callable[[str], str] = str,
        segment: int = 0,
    ) -> None:
        self._holder = holder
        self._segment = segment
        self._room = room
        self._port = port
        self._now = now
        self._connections = connections
        self._downloads = downloads
        self._runner: web.AppRunner | None = None
        self._door: Doorkeeper | None = None
        self._orders = orders or Orders()
        self._panels = panels
        self._words = words
        self._reports = Reports(room)
        self._senders = Senders()
        self._answered = 0  # bytes of answers but files
        self._overview = Overview(room.status, now)
        self._count = Overview(room.count, now)
        self._readers = Readers()

    @property
    def port(self) -> int:
        """The port in use (a free one if 0 was asked for)."""
        assert self._door is not None, "not started"
        return self._door.port

    async def start(self, addresses: Sequence[IPv4Address]) -> None:
        """Listen on ``addresses``. Raises OperatorError if the port is not available."""
        app = web.Application(client_max_size=MAX_BEACON_BYTES, middlewares=[self._enter])
        app.add_routes(
            [
                web.get("/boot/{path:.+}", self._boot),
                web.get("/{slashes:/+}boot/{path:.+}", self._boot),
                web.post("/beacon/{ticket}/{stage}", self._beacon),
                web.post("/report/{ticket}", self._report),
                web.get("/lease/{ticket}", self._lease),
                web.delete("/lease/{ticket}", self._end_lease),
                web.get("/seat/{ticket}", self._own_files),
                web.get("/status", self._status),
                web.get("/status/{mac}", self._history),
                web.get("/orders/{ticket}", self._wait_for_order),
                web.post("/orders/{mac}/{order}", self._give_order),
                web.delete("/kept/{mac}", self._delete_kept),
                *MenuDoor(self._room, self._asker).routes(),
                *(() if self._words is None else WordsDoor(self._words, self._asker).routes()),
                *(() if self._panels is None else self._panels.routes()),
            ]
        )
        # aiohttp applies this time to a connection that waits for a whole head of a request, also
        # for the first one.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_SECONDS,
            keepalive_timeout=self._connections.seconds,
            logger=quiet_logger(self._holder),
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._door = Doorkeeper(
            self._runner.server,
            connections=self._connections,
            stalled_seconds=self._downloads.seconds or 0.0,
            holder=self._holder,
            shortcut=self._reports.answer,
            segment=self._segment,
        )
        try:
            self.follow(addresses)
        except OperatorError:
            self._door.close()
            await self._runner.cleanup()
            raise

    def follow(self, addresses: Sequence[IPv4Address]) -> None:
        """Listen on ``addresses``, and on no other one. Connections that there are go on.

        Raises OperatorError for the first address that is not available, after the others.
        """
        assert self._door is not None, "not started"
        self._door.follow(addresses, self._port)

    @property
    def sent_bytes(self) -> int:
        """The bytes of content that were sent since the start, without heads."""
        return self._senders.sent + self._answered

    @property
    def downloads(self) -> int:
        """The number of files that are sent now."""
        return self._senders.under_way

    async def stop(self) -> None:
        """Close the listener and every connection."""
        self._orders.release()
        if self._door is not None:
            self._door.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._senders.stop()

    @web.middleware
    async def _enter(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Wait for the whole request, for a limited time, and answer it."""
        if self._door is not None:
            self._door.asked(request.protocol)
        if self._panels is not None and (most := self._panels.most_bytes(request)) is not None:
            request = request.clone(client_max_size=most)
        if request.can_read_body:
            try:
                async with asyncio.timeout(self._connections.seconds):
                    await request.read()
            except TimeoutError:
                raise web.HTTPRequestTimeout(text="the request has no end\n") from None
            except web.RequestPayloadError as error:
                raise web.HTTPBadRequest(text=f"{error}\n") from None
        answer = await handler(request)
        if not isinstance(answer, Download) and request.method != "HEAD":
            self._answered += answer.content_length or 0
        return answer

    async def _key(self, request: web.Request) -> Key:
        text, address = request.match_info["ticket"], await self._asker(request)
        return _allowed(lambda: self._room.admit(text, address))

    async def _asker(self, request: web.Request) -> IPv4Address:
        """Return the address that asks, after the kernel had the time to find it on our links."""
        address = _peer(request)
        for _ in range(LOOKS):
            if not self._room.is_awaited(address):
                break
            await asyncio.sleep(LOOK_SECONDS)
        return address

    async def _boot(self, request: web.Request) -> web.StreamResponse:
        # Firmware joins a folder and a name with one slash too many (tinkerbell/smee#229).
        who, name = _named(request)
        begins = request.method != "HEAD"
        address = await self._asker(request)
        path = self._room.file(name, _own_address(request))
        if path is None and not self._room.is_boot_file(name):
            raise self._missing(self._room.seat_of(who, address) or "", name, address)
        is_program = is_loader(name) and not name.endswith(".ipxe")
        if is_program or name in TOOLS or name == KERNEL_SHIM:  # nobody's secret
            mac = self._room.seat_of(who, address) or ""
        else:
            # A script, or a kernel with a seat's command line, begins a boot.
            begins = begins and path is None
            mac = _allowed(lambda: self._room.open(who, address, begins=begins)).mac
        if name.endswith(".ipxe"):
            modules = request.query.get("modules", "")
            text = self._room.script(mac, name, _own_address(request), modules, begins=begins)
            if text is None:
                raise self._missing(mac, name, address)
            if begins:
                self._room.record(mac, "http", name, file=name, bytes=len(text))
            return web.Response(text=text)
        begin = self._now()
        if mac and request.method != "HEAD":
            self._room.begun(mac)

        def sent(size: int | None) -> None:
            if mac:
                self._sent(mac, name, size, self._now() - begin)

        if path is not None:
            return Download(path, sent, self._senders, lambda: self._missing(mac, name, address))
        own = self._room.unified(mac, name, _own_address(request))
        if own is None:
            raise self._missing(mac, name, address)
        while not self._room.may_download(mac, name, PATIENCE_SECONDS):
            await asyncio.sleep(TURN_SECONDS)
        begin = self._now()
        return await send_with_end(request, *own, sent)

    def _missing(self, mac: str, name: str, address: IPv4Address) -> web.HTTPNotFound:
        """Tell that a boot file does not exist, unless none need, and return the answer."""
        if name != AUTOEXEC_FILE:
            self._room.missing(mac, name, address)
        return web.HTTPNotFound(text=f"no boot file {name}\n")

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
        mac, stage = (await self._key(request)).mac, request.match_info["stage"]
        if len(stage) > MAX_STAGE_CHARACTERS or not stage.isprintable():
            raise web.HTTPBadRequest(text="stage: expected at most 40 printable characters\n")
        if not is_for_seats(stage):
            raise web.HTTPBadRequest(text="stage: only the server reports this one\n")
        body = (await request.read()).decode("utf-8", "replace")
        query = request.query
        beacon = parse_beacon(body, query.get("uptime", ""), query.get("sent", ""))
        self._room.beacon(mac, stage, beacon)
        return web.Response(text="")

    async def _report(self, request: web.Request) -> web.Response:
        """Take a report that the doorkeeper has not answered (reports.py)."""
        self._reports.take(request.match_info["ticket"], _peer(request), await request.read())
        return web.Response()

    async def _lease(self, request: web.Request) -> web.Response:
        key, ram = await self._key(request), request.query.get("ram", "")
        # Python raises an error for a number of 4300 digits, which fit into a request's head.
        if not (ram.isascii() and ram.isdigit() and len(ram) <= MAX_RAM_DIGITS):
            raise web.HTTPBadRequest(text="ram: expected the client's RAM in bytes\n")
        asked = LeaseRequest(
            int(ram),
            key.session,
            fresh=request.query.get("fresh") == "1",
            area=_area(request),
            address=str(_peer(request)),
        )
        answer = self._room.lease(key.mac, asked)
        if not await self._room.is_saved(key.mac, asked.area):
            answer = UNSAVED
        return web.Response(text=f"{answer}\n")

    async def _end_lease(self, request: web.Request) -> web.Response:
        mac, area = (await self._key(request)).mac, _area(request)
        return web.Response(text=self._room.end_lease(mac, area) + "\n")

    async def _own_files(self, request: web.Request) -> web.Response:
        key = await self._key(request)
        try:
            body = self._room.own_files(key, _own_address(request), _peer(request))
        except DeniedError as error:
            raise web.HTTPForbidden(text=f"{error}\n") from None
        return web.Response(body=body)

    def _is_reader(self, request: web.Request) -> bool:
        """Return True for a program of this machine, or with a key. Raises HTTPForbidden."""
        if _peer(request) in (LOOPBACK, _own_address(request)):
            return True
        key = _bearer(request)
        refusal = self._room.order_refusal(key, ticket.READ, "") if key else ""
        if refusal:
            raise web.HTTPForbidden(text=f"{refusal}\n")
        return key != ""

    async def _status(self, request: web.Request) -> web.StreamResponse:
        shown = self._overview if self._is_reader(request) else self._count
        return await self._readers.send(request, await shown.content())

    async def _history(self, request: web.Request) -> web.StreamResponse:
        if not self._is_reader(request):
            raise web.HTTPForbidden(text="names of seats are for this server's secret\n")
        text = self._room.history(request.match_info["mac"])
        if text is None:
            raise web.HTTPNotFound(text="no events of this seat\n")
        return await self._readers.send(request, text.encode())

    async def _wait_for_order(self, request: web.Request) -> web.Response:
        mac = (await self._key(request)).mac
        self._room.asked_orders(mac)
        can = request.query.get("can", "").split(",")
        order = await self._orders.wait(mac, can)
        if order:
            self._room.record(mac, "order", order.partition(" ")[0])
        return web.Response(text=order)

    async def _give_order(self, request: web.Request) -> web.Response:
        mac, order = request.match_info["mac"], request.match_info["order"]
        refusal = self._room.order_refusal(_bearer(request), order, mac)
        if refusal:
            raise web.HTTPForbidden(text=f"{refusal}\n")
        if order not in BY_SECRET:
            raise web.HTTPNotFound(text=f"order: expected {' or '.join(BY_SECRET)}\n")
        if not self._orders.give(mac, order):
            raise web.HTTPNotFound(text="the PC is off, or did not boot from this server\n")
        return web.Response(text="")

    async def _delete_kept(self, request: web.Request) -> web.Response:
        mac = request.match_info["mac"]
        refusal = self._room.order_refusal(_bearer(request), ticket.DELETE, mac)
        if refusal:
            raise web.HTTPForbidden(text=f"{refusal}\n")
        if refusal := self._room.delete_kept(mac):
            raise web.HTTPConflict(text=f"{refusal}\n")
        return web.Response(text="")


def _named(request: web.Request) -> tuple[str, str]:
    """Return what tells the seat of a boot file, and the file's name. Raises HTTPUnauthorized.

    Firmware joins a folder and a name with one slash too many (tinkerbell/smee#229).
    """
    path = SLASHES.sub("/", request.match_info["path"]).lstrip("/")
    if not f"/boot/{path}".startswith(ticket.OF_PASSWORD):
        return ticket.split(path)
    name = f"/boot/{path}".removeprefix(ticket.OF_PASSWORD)
    who, rest = ticket.split(f"{ticket.password(request.headers.get('Authorization', ''))}/{name}")
    if not who:  # iPXE keeps its password until it is asked
        challenge = {"WWW-Authenticate": 'Basic realm="netboot"'}
        raise web.HTTPUnauthorized(text="the session is the password\n", headers=challenge)
    return who, rest


def _area(request: web.Request) -> int:
    text = request.query.get("area", "1")
    if len(text) != 1 or text not in "0123456789":
        raise web.HTTPBadRequest(text="area: expected 0 to 9\n")
    return int(text)


def _bearer(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def _allowed(ask: Callable[[], Key | None]) -> Key:
    """Return the key that a question to the room gets. Raises HTTPForbidden, HTTPNotFound."""
    try:
        key = ask()
    except DeniedError as error:
        raise web.HTTPForbidden(text=f"{error}\n") from None
    if key is None:
        raise web.HTTPNotFound(text="no such seat\n")
    return key


def _peer(request: web.Request) -> IPv4Address:
    assert request.transport is not None
    return IPv4Address(request.transport.get_extra_info("peername")[0])


def _own_address(request: web.Request) -> IPv4Address:
    assert request.transport is not None
    return IPv4Address(request.transport.get_extra_info("sockname")[0])
