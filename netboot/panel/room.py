"""The room in memory: its rows, its plan and its last events, and what changed by number.

A change has a number, once a second. ``changes`` makes a patch of any older number from the rows
themselves, so that a slow browser costs no memory. The servers' records come from follow.py.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile

from netboot.boot.events import estimate
from netboot.feed.records import Event, Gone, Hello, Plan, Record, SeatRow, ServerRow
from netboot.panel.facts import Facts
from netboot.panel.merging import Merging, Server
from netboot.panel.records import Patch, RoomEvent, RoomSeat, RoomView, Rows

MOST_SEATS = 4096  # of a server; a room has 1,000
MOST_EVENTS = 20_000  # of all servers: a boot of 600 PCs; the history has the others
MOST_EVENT_BYTES = 32 << 20  # of all servers; a server's feed keeps 8 MiB
MOST_GONE = 10_000
EVENTS_OF_SEAT = 60
EVENTS_OF_PATCH = 1000
SECONDS = 1.0  # after which a change is published, if no record came
GATHER_SECONDS = 0.05  # a server's rows come before its figures, in one write
NUMBERS_A_SECOND = (
    10  # more than are used, so that a panel that starts again goes on with higher ones
)
REST_SECONDS = 0.4  # between two patches: the servers' seconds begin at different times


class Room:
    """The room of netboot.panel.ports. ``clock`` returns seconds since the epoch."""

    def __init__(
        self, links: Iterable[str] = (), *, clock: Callable[[], float] = time.time
    ) -> None:
        """Begin without a seat. ``links``: the servers that will be followed, as follow.py calls them."""
        self._clock = clock
        self._oldest = self._number = int(clock() * NUMBERS_A_SECOND)
        self._merging = Merging(links, clock)
        self._seats: dict[str, RoomSeat] = {}
        self._numbers: dict[str, int] = {}  # of each seat's last change
        self._gone: deque[tuple[int, str]] = deque()
        self._events: deque[tuple[int, RoomEvent]] = deque()
        self._bytes = 0  # of the events, about
        self._plan: Rows = ()
        self._plan_number = self._number
        self._made_by_hand: Rows = ()
        self._dirty: dict[str, None] = {}  # in the order in which servers tell them: the profile's
        self._dirty_servers: set[str] = set(self._merging.servers)
        self._new_events = False
        self._listeners: list[Callable[[], None]] = []
        self._patches: dict[int, Patch] = {}  # of the current number
        self._told = asyncio.Event()

    # What follow.py tells.

    def connected(self, link: str, reason: str) -> None:
        """Note that a server's feed is read, or for which ``reason`` it is not."""
        server = self._merging.server(link)
        if server.connected != (not reason):
            server.connected, server.since = not reason, self._clock()
            self._dirty.update(dict.fromkeys(server.rows))
            self._dirty_servers.add(link)
            self._told.set()

    def take(self, link: str, record: Record) -> None:
        """Take a record of a server's feed."""
        server = self._merging.server(link)
        match record:
            case SeatRow():
                if record.mac in server.rows or len(server.rows) < MOST_SEATS:
                    server.rows[record.mac] = record
                    server.before.discard(record.mac)
                    self._dirty[record.mac] = None
            case Event():
                self._add_event(RoomEvent.of(record, server.name))
            case ServerRow():
                server.row = record
                self._forget(server, tuple(server.before))
                self._dirty_servers.add(link)
                self._told.set()
            case Gone():
                self._forget(server, (record.mac,))
            case Plan():
                server.plan = record.rows
                self._dirty_servers.add(link)
            case Hello():
                server.name = self._merging.unique(record.server, server)
                server.version, server.started = record.version, record.started
                server.versions = record.versions
                server.before = set(server.rows)
                self._dirty_servers.add(link)
                self._dirty.update(dict.fromkeys(server.rows))

    def _forget(self, server: Server, macs: Iterable[str]) -> None:
        for mac in macs:
            server.before.discard(mac)
            if server.rows.pop(mac, None) is not None:
                self._dirty[mac] = None

    def _add_event(self, event: RoomEvent) -> None:
        self._events.append((self._number + 1, event))
        self._bytes += estimate(event.message, event.data)
        self._new_events = True
        while len(self._events) > MOST_EVENTS or self._bytes > MOST_EVENT_BYTES:
            number, old = self._events.popleft()
            self._bytes -= estimate(old.message, old.data)
            self._oldest = max(self._oldest, min(number, self._number))

    # The change, once a second.

    async def run(self) -> None:
        """Publish changes for ever."""
        while True:
            try:
                async with asyncio.timeout(SECONDS):
                    await self._told.wait()
                await asyncio.sleep(GATHER_SECONDS)
            except TimeoutError:
                pass
            self._told.clear()
            self.publish()
            await asyncio.sleep(REST_SECONDS)

    def publish(self) -> bool:
        """Give all that was taken since the last call a number; return False if nothing changed."""
        if not (self._dirty or self._dirty_servers or self._new_events):
            return False
        number = self._number + 1
        for link in self._dirty_servers:
            self._merging.servers[link].number = number
        for mac in self._merging.renamed(self._dirty):
            self._set(mac, self._merging.merged(mac), number)
        if self._dirty or self._dirty_servers:
            self._lay_out(number)
        self._dirty.clear()
        self._dirty_servers.clear()
        self._new_events = False
        self._number = number
        self._patches.clear()
        for listener in tuple(self._listeners):
            listener()
        return True

    def _set(self, mac: str, seat: RoomSeat | None, number: int) -> None:
        if seat == self._seats.get(mac):
            return
        if seat is not None:
            self._seats[mac] = seat
            self._numbers[mac] = number
            return
        del self._seats[mac], self._numbers[mac]
        self._gone.append((number, mac))
        if len(self._gone) > MOST_GONE:
            self._oldest = max(self._oldest, self._gone.popleft()[0])

    def _lay_out(self, number: int) -> None:
        """Make the plan of the room: of hand, or those of the servers below each other."""
        plan = self._made_by_hand or tuple(self._merging.plans())
        if plan != self._plan:
            self._plan, self._plan_number = plan, number

    # What netboot.panel.ports asks for.

    @property
    def facts(self) -> Facts:
        """The facts about PCs, for rows that lack them."""
        return self._merging.facts

    @property
    def number(self) -> int:
        """The number of the last change. It begins at the clock, and grows at most as fast."""
        return self._number

    def view(self) -> RoomView:
        """Return the room as it is now."""
        servers = tuple(each.shown() for each in self._merging.servers.values())
        return RoomView(self._number, servers, self._plan, tuple(self._seats.values()))

    def changes(self, after: int) -> Patch | None:
        """Return what changed after that number; None if it is too old, or was never given."""
        if not self._oldest <= after <= self._number:
            return None
        if after == self._number:
            return Patch(after)
        if after not in self._patches:
            self._patches[after] = self._patch(after)
        return self._patches[after]

    def _patch(self, after: int) -> Patch:
        seats = (self._seats[mac] for mac, number in self._numbers.items() if number > after)
        gone = dict.fromkeys(mac for _, mac in takewhile(_is_after(after), reversed(self._gone)))
        events = [event for _, event in takewhile(_is_after(after), reversed(self._events))]
        return Patch(
            self._number,
            tuple(seats),
            tuple(mac for mac in gone if mac not in self._seats),
            tuple(each.shown() for each in self._merging.servers.values() if each.number > after),
            tuple(reversed(events[:EVENTS_OF_PATCH])),
            self._plan if self._plan_number > after else None,
        )

    def seat(self, mac: str) -> RoomSeat | None:
        """Return a seat by its MAC address, lower-case."""
        return self._seats.get(mac)

    def events(self, mac: str) -> Sequence[RoomEvent]:
        """Return the last 60 events of a seat, oldest first."""
        found = []
        for _, event in reversed(self._events):
            if event.seat == mac:
                found.append(event)
                if len(found) == EVENTS_OF_SEAT:
                    break
        return found[::-1]

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener``, which must be cheap, after each change. Return the function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def set_plan(self, rows: Rows) -> None:
        """Show this plan instead of the profiles'; an empty one shows the profiles' again."""
        self._made_by_hand = rows
        self._lay_out(self._number + 1)
        self._dirty_servers.update(self._merging.servers)
        self._told.set()

    def servers_of(self, mac: str) -> list[str]:
        """Return the links of the connected servers that know a seat, its own first."""
        return self._merging.servers_of(mac)

    def server_name(self, link: str) -> str:
        """Return the name of a server."""
        return self._merging.server(link).name


def _is_after(after: int) -> Callable[[tuple[int, object]], bool]:
    return lambda numbered: numbered[0] > after
