"""A played server of a feed: aiohttp on a Unix socket or on loopback, which sends made-up rows and events."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from netboot.feed.records import (
    PROTOCOL,
    Event,
    Gone,
    Hardware,
    Hello,
    Pages,
    Plan,
    Pressure,
    Record,
    Report,
    SeatRow,
    ServerRow,
    State,
    Trouble,
    line,
)
from netboot.panel.follow import Source

MIB = 1 << 20
STATES: tuple[tuple[State, str], ...] = (
    ("running", "userland"),
    ("running", "userland"),
    ("booting", "init:network"),
    ("short", "userland"),
    ("running", "agent:reattached"),
    ("lost", "agent:lost"),
    ("waiting", "waiting"),
    ("off", "pages:detach"),
    ("unknown", ""),
    ("booting", "http"),
)

_ERRORS = {404: web.HTTPNotFound, 503: web.HTTPServiceUnavailable}


def mac_of(number: int) -> str:
    """Return the MAC address of a played seat."""
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def a_report(when: float, *, used: int = 100, some: float = 0.0, load: float = 0.5) -> Report:
    """Return the report of a seat of 256 MiB; ``used``: MiB of swap, ``some``: percent of its time."""
    return Report(
        when=when,
        memory=256 * MIB,
        available=64 * MIB,
        areas=((used * MIB, 512 * MIB),),
        pressure=Pressure(memory_some=some, memory_full=some / 2),
        zswap=(40 * MIB, 12 * MIB),
        load=load,
    )


def a_seat(number: int, when: float, state: State = "running", stage: str = "userland") -> SeatRow:
    """Return the row of a played seat."""
    runs = state in ("running", "short", "lost")
    return SeatRow(
        mac=mac_of(number),
        name=f"pc-{number:03}",
        groups=("front" if number % 2 else "back",),
        named=True,
        state=state,
        since=when - 60,
        seen=when,
        booted=when - 90 if stage else 0.0,
        boot=f"{number:08x}" if stage else "",
        stage=stage,
        message=f"message of {number}",
        address=f"10.0.{number >> 8}.{number & 255}",
        uuid=f"00000000-0000-0000-0000-{number:012}",
        image="kiosk" if runs else "",
        hardware=Hardware(memory=256 * MIB, card="8086:100e", driver="e1000", arch="uefi-x64"),
        pages=Pages(2, 512 * MIB, 90 * MIB, 70 * MIB, 95 * MIB, 1e5, 2e5) if runs else Pages(),
        report=a_report(when, some=25.0 if state == "short" else 1.0) if runs else None,
        trouble=Trouble(when, stage, "its server is away", "bring the server back")
        if state == "lost"
        else None,
    )


def a_room(seats: int, when: float) -> list[SeatRow]:
    """Return rows of so many seats, in all states."""
    return [a_seat(number, when, *STATES[number % len(STATES)]) for number in range(seats)]


def figures(when: float, **more: Any) -> ServerRow:
    """Return a server's figures."""
    return replace(
        ServerRow(
            when,
            cpu=0.25,
            memory=70 * MIB,
            lag=0.002,
            granted=30 << 30,
            capacity=64 << 30,
            stored=9 << 30,
            connections=120,
            most_connections=480,
            requests_rate=1000.0,
            read_rate=2e6,
            write_rate=1e6,
            delayed=0.5,
            waiting=3,
            latency=(0, 0, 0, 0, 5, 40, 10, 1),
            disk=(10 << 30, 40 << 30),
            refused={"full": 2},
            packets={"discover": 60, "request": 60},
            mirrors={"whole": 20, "degraded": 2, "resyncing": 1, "unknown": 0},
            requests={"read": 7000, "write": 3000, "trim": 100},
            delays={"store": 1.5, "rate": 20.0},
            worker_cpu=40.0,
            sent=5 << 30,
            downloads=2,
            transfers={"unanswered": 1, "sending": 4},
            transfers_ended={"done": 60, "broken": 1},
        ),
        **more,
    )


@dataclass
class Feeding:
    """A played server. Change its rows, then ``send``; ``break_off`` ends all connections."""

    name: str = "school"
    run: str = "run-1"
    key: str = ""
    protocol: int = PROTOCOL
    status: int = 200
    seats: dict[str, SeatRow] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    plan: Plan = field(default_factory=Plan)
    next: int = 1
    orders: list[dict[str, Any]] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    asked: list[Mapping[str, str]] = field(default_factory=list)
    source: Source = field(default_factory=Source)
    row: ServerRow = field(default_factory=lambda: figures(time.time()))
    _readers: list[asyncio.Queue[bytes | None]] = field(default_factory=list)

    def send(self, *records: Record) -> None:
        """Tell records to all who read; rows and events are kept for those who come later."""
        for record in records:
            match record:
                case SeatRow():
                    self.seats[record.mac] = record
                case Gone():
                    self.seats.pop(record.mac, None)
                case Event():
                    self.events.append(record)
                case ServerRow():
                    self.row = record
                case _:
                    pass
        self.send_raw(b"".join(map(line, records)))

    def send_raw(self, content: bytes) -> None:
        """Tell any bytes."""
        for reader in self._readers:
            reader.put_nowait(content)

    def event(self, number: int, stage: str, message: str = "", **data: Any) -> Event:
        """Return the next event of a seat."""
        self.next += 1
        return Event(self.next - 1, time.time(), mac_of(number), stage, message, data)

    def break_off(self) -> None:
        """End all connections."""
        for reader in self._readers:
            reader.put_nowait(None)

    @property
    def readers(self) -> int:
        """How many read."""
        return len(self._readers)

    def beginning(self, after: int) -> list[Record]:
        """Return what a connection begins with."""
        hello = Hello(self.name, "0.2.0", self.run, 1000.0, 1, self.next, self.protocol)
        later = [event for event in self.events if event.number > after]
        return [hello, self.plan, *self.seats.values(), *later, self.row]

    async def feed(self, request: web.Request) -> web.StreamResponse:
        """Answer a reader."""
        self._check(request)
        self.asked.append(request.query)
        same = request.query.get("run") == self.run
        answer = web.StreamResponse()
        await answer.prepare(request)
        reader: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._readers.append(reader)
        try:
            after = int(request.query.get("after", "0")) if same else 0
            await answer.write(b"".join(map(line, self.beginning(after))))
            while (content := await reader.get()) is not None:
                await answer.write(content)
        finally:
            self._readers.remove(reader)
        return answer

    async def order(self, request: web.Request) -> web.Response:
        """Take an order."""
        self._check(request)
        self.orders.append(json.loads(await request.read()))
        seats = self.orders[-1]["seats"]
        return web.json_response({mac: self.refusals.get(mac, "") for mac in seats})

    def _check(self, request: web.Request) -> None:
        if self.status != 200:
            raise _ERRORS[self.status](text="busy: come later")
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            raise web.HTTPUnauthorized


@asynccontextmanager
async def fed(place: Path | None = None, **options: Any) -> AsyncIterator[Feeding]:
    """Yield a played server on a Unix socket, or on a free port of loopback."""
    feeding = Feeding(**options)
    application = web.Application()
    application.router.add_get("/feed", feeding.feed)
    application.router.add_post("/feed/orders", feeding.order)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    if place is not None:
        await web.UnixSite(runner, str(place)).start()
        feeding.source = Source(place, key=feeding.key)
    else:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        feeding.source = Source(address=f"127.0.0.1:{port}", key=feeding.key)
    try:
        yield feeding
    finally:
        feeding.break_off()
        await runner.cleanup()


@contextmanager
def fed_beside(place: Path, *records: Record) -> Iterator[Feeding]:
    """Play a server that has told ``records``, in a thread, for a command that blocks."""
    up, end, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    played: list[Feeding] = []

    async def work() -> None:
        async with fed(place) as server:
            server.send(*records)
            played.append(server)
            up.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),))
    thread.start()
    try:
        assert up.wait(10)
        yield played[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()
