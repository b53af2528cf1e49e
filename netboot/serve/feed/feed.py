"""The feed of a server: what happens in its room, and each second how all is, for its readers.

An event waits for a moment before it is looked at: a PC's DHCP answer comes first. Rows that changed are
sent once a second, and made only if there is a reader.
"""

import asyncio
import logging
import platform
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from netboot import __version__
from netboot.boot.client import is_played
from netboot.boot.events import BootEvent
from netboot.feed.records import Event, Gone, Hello, Pages, Plan, Record, Report, ServerRow, line
from netboot.feed.ring import Ring
from netboot.feed.seat import Known
from netboot.feed.state import RoomState, Standing
from netboot.feed.waiting import Waiting
from netboot.host import faults
from netboot.serve.feed.acting import Acting, Order
from netboot.serve.feed.figures import Figures
from netboot.serve.feed.readers import Readers, chunks
from netboot.serve.room import Room

log = logging.getLogger(__name__)

MOMENT_SECONDS = 0.1  # until an event is looked at
AT_ONCE = 32  # events between two visits to the event loop, and rows: about a millisecond
# Between two looks at AT_ONCE events of strangers: 640 a second. A storm of new PCs makes 15,000, and a
# look at one takes as long as half an answer to DHCP. The ring keeps 1,000 of them.
STRANGERS_SECONDS = 0.05
SECOND = 1.0
LEAST_REPORT_SECONDS = 2.0  # between two reports of a seat, which sends one every 10 s
RUN_BYTES = 8
NOTHING = Pages()
PCS = "pcs:"  # before a processor, of the kernel that its PCs boot


class Feed:
    """The feed of ``room``. It follows the room's journal from now on."""

    def __init__(self, room: Room, figures: Figures, acting: Acting) -> None:
        self._room = room
        self._figures = figures
        self._acting = acting
        self.readers = Readers()
        profile, proven = room.profile, room.journal.is_proven
        self._ring = Ring(named=profile.clients, is_proven=proven)
        self._state = RoomState(
            {mac: profile.hostname(mac) for mac in profile.clients},
            {mac: profile.groups_of(mac) for mac in profile.clients},
            others=lambda mac: (profile.hostname(mac), profile.groups_of(mac)),
            is_proven=proven,
        )
        self._name, self._run = socket.gethostname(), secrets.token_hex(RUN_BYTES)
        self._started = time.time()
        self._versions = _versions(room.shelf.kernels)
        self._plan = Plan(profile.room.plan)
        self._server: ServerRow | None = None
        self._pages: dict[str, Pages] = {}  # of the last second
        self._waiting = Waiting(proven)
        self._fresh: list[Event] = []  # that no reader has yet
        self._is_due = False
        self._tasks: list[asyncio.Task[None]] = []
        room.journal.subscribe(self._happened)
        room.on_report, room.on_asked = self._reported, self._asked

    def start(self) -> None:
        """Begin to look each second."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._each_second()), loop.create_task(self._watch())]
        for task in self._tasks:
            faults.watch(task)

    def stop(self) -> None:
        """Look no more, and let all readers go."""
        for task in self._tasks:
            task.cancel()
        self._acting.stop()
        self.readers.end()

    def standing(self) -> Standing:
        """Return how many seats there are of each state, and how many are in trouble."""
        return self._state.standing()

    async def carry_out(self, order: Order) -> dict[str, str]:
        """Carry out an order of a panel (see ``Acting``)."""
        return await self._acting.carry_out(order)

    async def _watch(self) -> None:
        await self._figures.lag.watch()

    # Events.

    def _happened(self, event: BootEvent) -> None:
        """Keep an event for a moment."""
        if not event.seat or is_played(event.seat):
            return
        self._figures.told.count(event)
        self._waiting.put(event)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(MOMENT_SECONDS, self._look)

    def _look(self) -> None:
        """Look at some of the events that wait, at those of strangers if there are no others."""
        for event in self._waiting.take(AT_ONCE):
            self._take(event)
        if self._waiting.proven:
            asyncio.get_running_loop().call_soon(self._look)
            return
        for event in self._waiting.take_of_strangers(AT_ONCE):
            self._take(event)
        self._is_due = len(self._waiting) > 0
        if self._is_due:
            asyncio.get_running_loop().call_later(STRANGERS_SECONDS, self._look)
        self._send_events()

    def _take(self, event: BootEvent) -> None:
        numbered = self._ring.add(event.when, event.seat, event.stage, event.message, event.data)
        self._state.event(numbered, self._known(event.seat))
        if self.readers:
            self._fresh.append(numbered)

    def _send_events(self) -> None:
        if self._fresh:
            for chunk in chunks(map(line, self._fresh)):
                self.readers.put(chunk)
            self._fresh.clear()

    def _known(self, mac: str) -> Known:
        """Return what the server knows of a seat besides its events."""
        seat, use = self._room.seats.peek(mac), self._room.uses.of(mac)
        card = "" if seat is None or seat.nic is None else f"{seat.nic[0]:04x}:{seat.nic[1]:04x}"
        return Known(
            uuid="" if seat is None else seat.machine,
            card=card,
            address="" if seat is None else seat.address,
            image="" if use is None else use.label,
            digest="" if use is None else use.short,
            mirrored=seat is not None and seat.settings.swap.layout == "mirror",
        )

    # What seats tell of themselves.

    def _reported(self, mac: str, report: Report) -> None:
        """Take a report, unless it comes too soon after the one before."""
        last = self._state.row(mac).report if mac in self._state else None
        if last is None or not 0 <= report.when - last.when < LEAST_REPORT_SECONDS:
            self._state.report(mac, report, self._known(mac))

    def _asked(self, mac: str) -> None:
        self._state.asked_orders(mac, time.time())

    # Each second.

    async def _each_second(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + SECOND, loop.time())
            await asyncio.sleep(due - loop.time())
            async for chunk in self._news(time.time()):
                self.readers.put(chunk)
                await asyncio.sleep(0)

    async def _news(self, when: float) -> AsyncIterator[bytes]:
        """Take the figures. Yield the lines for readers, which are made only if there are some."""
        rows, self._server = await self._figures.take(when)
        for mac in self._pages.keys() - rows.keys():
            self._state.pages(mac, NOTHING)
        moved = [mac for mac, pages in rows.items() if self._pages.get(mac, NOTHING) != pages]
        self._pages = rows
        for number, mac in enumerate(moved):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            self._state.pages(mac, rows[mac])
        await asyncio.sleep(0)
        changed, gone = self._state.tick(when), self._state.gone()
        drained, mirrors = self._room.leases.drained, self._state.mirrors()
        self._server = replace(self._server, drained=drained, mirrors=mirrors)
        if not self.readers:
            return
        self._send_events()
        told: Iterator[Record] = chain(
            map(Gone, gone),
            (self._state.row(mac) for mac in changed if mac in self._state),
            (self._server,),
        )
        for chunk in chunks(map(line, told)):
            yield chunk

    # For a reader.

    def begin(self, after: int, run: str) -> Iterator[bytes]:
        """Return the lines with which a reader begins, who has the events to number ``after``.

        ``run`` is that of these events. Add the reader in the same moment.
        """
        for event in self._waiting.take(len(self._waiting)):
            self._take(event)
        for event in self._waiting.take_of_strangers(len(self._waiting)):
            self._take(event)
        self._send_events()
        known = after if run == self._run and after < self._ring.next else 0
        records: list[Record] = [
            Hello(
                self._name,
                __version__,
                self._run,
                self._started,
                self._ring.first,
                self._ring.next,
                versions=self._versions,
            ),
            self._plan,
            *self._state.rows(),
            *(() if self._server is None else (self._server,)),
            *self._ring.kept(known),
        ]
        return chunks(map(line, records))


def _versions(kernels: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of what runs here, and of the ``kernels`` that PCs boot, by processor."""
    own = {"linux": platform.release(), "Python": platform.python_version()}
    return own | {f"{PCS}{name}": kernel for name, kernel in kernels.items()}
