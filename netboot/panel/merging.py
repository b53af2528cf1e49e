"""The rows of all servers merged into those of one room, with a name of its own for each seat.

A seat is its MAC address. Several servers may know the same one: one boots it, others have its swap. Its
row is the one of the connected server that booted it last, and its traffic is the sum of all. If seats of
two servers have the same name, their servers' names are added.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

from netboot.feed.records import Pages, SeatRow, ServerRow
from netboot.panel.facts import Facts
from netboot.panel.records import RoomSeat, RoomServer, Rows


@dataclass
class Server:
    """One server, as its feed told it."""

    link: str
    name: str
    since: float
    version: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    started: float = 0.0
    connected: bool = False
    row: ServerRow = field(default_factory=lambda: ServerRow(0.0))
    plan: Rows = ()
    rows: dict[str, SeatRow] = field(default_factory=dict)
    before: set[str] = field(default_factory=set)  # rows of before the last Hello, not told since
    number: int = 0  # of its last change

    def shown(self) -> RoomServer:
        """Return the server as browsers get it."""
        return RoomServer.of(
            self.row,
            self.name,
            self.version,
            versions=self.versions,
            connected=self.connected,
            started=self.started,
            since=self.since,
        )


class Merging:
    """The servers of a room, by link. ``clock`` returns seconds since the epoch."""

    def __init__(self, links: Iterable[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self.facts = Facts()
        self.servers = {link: Server(link, link, clock()) for link in links}
        self._called: dict[str, str] = {}  # name of each seat, as its server calls it
        self._names: dict[str, set[str]] = {}  # MAC addresses by such a name

    def server(self, link: str) -> Server:
        """Return the server of a link, a fresh one if it is not known."""
        return self.servers.setdefault(link, Server(link, link, self._clock()))

    def unique(self, name: str, server: Server) -> str:
        """Return the name of a server, with its link if another one has the same name."""
        others = {each.name for each in self.servers.values() if each is not server}
        return f"{name} ({server.link})" if name in others else name

    def _source(self, mac: str) -> tuple[Server, SeatRow] | None:
        """Return the server and the row by which a seat is shown, see the module."""
        found = [(each, row) for each in self.servers.values() if (row := each.rows.get(mac))]
        if not found:
            return None
        return max(found, key=lambda each: (each[0].connected, each[1].booted, each[1].seen))

    def servers_of(self, mac: str) -> list[str]:
        """Return the links of the connected servers that know a seat, its own first."""
        source = self._source(mac)
        known = [each for each in self.servers.values() if each.connected and mac in each.rows]
        return [
            each.link
            for each in sorted(known, key=lambda each: not source or each is not source[0])
        ]

    def merged(self, mac: str) -> RoomSeat | None:
        """Return a seat of the room; None if no server has a row of it."""
        source = self._source(mac)
        if source is None:
            return None
        server, row = source
        pages = [
            other.pages
            for each in self.servers.values()
            if each is not server and each.connected and (other := each.rows.get(mac))
        ]
        if pages:
            row = replace(row, pages=_sum((row.pages, *pages)))
        if self._is_twice(row.name):
            row = replace(row, name=f"{row.name}@{server.name}")
        return RoomSeat.of(self.facts.complete(row), server.name)

    def plans(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of the servers' plans, below each other; a plan of several servers once.

        Two boot servers have the same profile. Rooms with the same names have seats of their own.
        """
        plans: dict[Rows, None] = {}
        for server in self.servers.values():
            plans[
                tuple(
                    tuple(f"{name}@{server.name}" if self._is_twice(name) else name for name in row)
                    for row in server.plan
                )
            ] = None
        for plan in plans:
            yield from plan

    def renamed(self, dirty: Collection[str]) -> dict[str, None]:
        """Return the seats that changed (``dirty``), and those that share or shared a name with one."""
        affected = dict.fromkeys(dirty)
        for mac in dirty:
            old = self._called.pop(mac, "")
            new = source[1].name if (source := self._source(mac)) else ""
            if old != new and old:
                self._names[old].discard(mac)
                affected.update(dict.fromkeys(self._names[old]))
                if not self._names[old]:
                    del self._names[old]
            if new:
                self._called[mac] = new
                macs = self._names.setdefault(new, set())
                macs.add(mac)
                if len(macs) > 1:
                    affected.update(dict.fromkeys(macs))
        return affected

    def _is_twice(self, name: str) -> bool:
        """Return True if seats of several servers have this name."""
        macs = self._names.get(name, ())
        return len(macs) > 1 and len({each[0].link for each in map(self._source, macs) if each}) > 1


def _sum(parts: Sequence[Pages]) -> Pages:
    return Pages(*(sum(getattr(part, each.name) for part in parts) for each in fields(Pages)))
