"""The seats of a room as lines for a terminal, troubles first: for ``netboot top`` and ``status``. Pure.

Text of PCs and servers is made fit for a terminal here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from netboot.feed.records import State
from netboot.host.text import printable
from netboot.panel.records import RoomEvent, RoomSeat, RoomServer

# The order in which a person wants to see them, and the colour of each.
ORDER: tuple[State, ...] = ("lost", "short", "waiting", "booting", "running", "off", "unknown")
STYLES: dict[State, str] = {
    "lost": "bold red",
    "short": "bold yellow",
    "waiting": "cyan",
    "booting": "blue",
    "running": "green",
    "off": "dim",
    "unknown": "dim",
}
COLUMNS = ("Name", "State", "Since", "Swap", "Mem", "I/O", "Last")
SHORTEST_LAST = 12  # characters of the last column, on a terminal of 80


@dataclass(frozen=True, slots=True)
class Line:
    """One seat. ``cells`` are as ``COLUMNS``."""

    mac: str
    cells: tuple[str, ...]
    style: str


def is_in_trouble(seat: RoomSeat) -> bool:
    """Return True if somebody should look at a seat."""
    return seat.state in ("lost", "short") or seat.trouble is not None


def ordered(seats: Iterable[RoomSeat]) -> list[RoomSeat]:
    """Return seats with those in trouble first, then by state and name."""
    return sorted(
        seats, key=lambda seat: (not is_in_trouble(seat), ORDER.index(seat.state), seat.name)
    )


def matches(seat: RoomSeat, words: str) -> bool:
    """Return True if each word stands in a seat's name, state, group, address, stage, image or server."""
    fields = (seat.name, seat.mac, seat.state, seat.address, seat.stage, seat.image, seat.server)
    text = " ".join((*fields, *seat.groups)).lower()
    return all(word in text for word in words.lower().split())


def line(seat: RoomSeat, now: float) -> Line:
    """Return the line of a seat. ``now``: seconds since the epoch, by the server's clock."""
    report = seat.report
    swap = mem = io = ""
    if report is not None and seat.state not in ("off", "unknown"):
        swap = f"{size(report.swap_used)}/{size(report.swap_size)}" if report.areas else "none"
        mem = f"{report.pressure.memory_some:.0f} %"
        io = f"{report.pressure.io_some:.0f} %"
    last = seat.trouble.message if seat.trouble else f"{seat.stage} {seat.message}".strip()
    if seat.mirror == "resyncing":
        last = f"{mirror(seat)}; {last}"
    cells = (
        seat.name,
        seat.state,
        ago(now - seat.since) if seat.since else "",
        swap,
        mem,
        io,
        last,
    )
    return Line(seat.mac, tuple(map(printable, cells)), STYLES[seat.state])


def mirror(seat: RoomSeat) -> str:
    """Return the state of a seat's mirror, such as ``mirror: 42 % copied``; empty without one."""
    if seat.mirror == "resyncing" and seat.report is not None and seat.report.copied >= 0:
        return f"mirror: {seat.report.copied:.0f} % copied"
    return f"mirror: {seat.mirror}" if seat.mirror else ""


def size(number: float) -> str:
    """Return bytes in at most four characters, such as ``512M`` or ``1.5G``."""
    for unit in "KMGT":
        number /= 1024
        if number < 1000 or unit == "T":
            return (
                f"{number:.1f}{unit}"
                if 0 < number < 9.95 and unit in "GT"
                else f"{number:.0f}{unit}"
            )
    raise AssertionError


def ago(seconds: float) -> str:
    """Return a time in at most four characters: ``9s``, ``59m``, ``23h``, ``400d``."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def moment(servers: Iterable[RoomServer], now: float) -> float:
    """Return the time by the servers' clock, of the last second; ``now`` if none is connected."""
    return max((server.when for server in servers if server.connected), default=0.0) or now


def counted(seats: Sequence[RoomSeat], shown: int) -> str:
    """Return how many seats there are of each state, troubles first; ``shown``: pass the filter."""
    found = Counter(seat.state for seat in seats)
    states = [f"{found[state]} {state}" for state in ORDER if found[state]]
    trouble = sum(map(is_in_trouble, seats))
    of = "" if shown == len(seats) else f"{shown} of "
    parts = [
        f"{of}{len(seats)} seat{'s' if len(seats) != 1 else ''}",
        *([f"{trouble} in trouble"] if trouble else []),
        *states,
    ]
    return ", ".join(parts)


def server_line(server: RoomServer, reason: str = "") -> str:
    """Return the line of a server. ``reason``: why its feed is not read."""
    if not server.connected:
        return printable(f"{server.name}: {reason or 'not connected'}")
    parts = (
        f"{server.name} {server.version}",
        f"pages {size(server.stored)} of {size(server.capacity)}",
        f"{server.connections}/{server.most_connections} connections",
        f"{(server.read_rate + server.write_rate) / 1e6:.1f} MB/s",
        f"CPU {100 * server.cpu:.0f} %",
        *([f"{server.waiting} wait"] if server.waiting else []),
        *(["drained"] if server.drained else []),
    )
    return printable("  ".join(parts))


def details(seat: RoomSeat, events: Iterable[RoomEvent], now: float) -> Iterator[tuple[str, str]]:
    """Yield title and text of all that is known of a seat; a title is empty for a further line."""
    for title, text in _facts(seat, now):
        if text:
            yield title, printable(text)
    for index, event in enumerate(reversed(list(events))):
        clock = f"{ago(now - event.when):>4} ago  {event.stage:<16} {event.message}"
        yield "Events" if index == 0 else "", printable(clock)


def _facts(seat: RoomSeat, now: float) -> Iterator[tuple[str, str]]:
    hardware, report, pages = seat.hardware, seat.report, seat.pages
    yield "State", f"{seat.state}, for {ago(now - seat.since)}" if seat.since else seat.state
    if seat.trouble is not None:
        yield "Trouble", f"{seat.trouble.stage}: {seat.trouble.message}"
        yield "Remedy", seat.trouble.remedy
    yield "Last", f"{seat.stage}: {seat.message}" if seat.stage else ""
    yield "Booted", f"{ago(now - seat.booted)} ago" if seat.booted else ""
    yield "Heard of", f"{ago(now - seat.seen)} ago" if seat.seen else ""
    yield "Address", f"{seat.mac}  {seat.address}"
    yield "Server", seat.server
    yield "Groups", ", ".join(seat.groups)
    yield "Image", f"{seat.image} {seat.digest[:12]}".strip()
    words = (size(hardware.memory) if hardware.memory else "", hardware.arch, hardware.driver)
    yield "Hardware", "  ".join(filter(None, (*words, hardware.card)))
    if pages.granted:
        stored = f"{size(pages.stored)} stored, {size(pages.granted)} granted"
        rates = f"{pages.read_rate / 1e6:.2f} MB/s read, {pages.write_rate / 1e6:.2f} written"
        yield "Pages", f"{stored}, {pages.connections} connections, {rates}"
    yield "Mirror", mirror(seat).removeprefix("mirror: ")
    if report is None:
        return
    pressure = report.pressure
    yield "Memory", f"{size(report.available)} available of {size(report.memory)}"
    yield "Swap", "  ".join(f"{size(used)} of {size(whole)}" for used, whole in report.areas)
    memory = f"memory {pressure.memory_some:.1f} % (all tasks {pressure.memory_full:.1f} %)"
    yield "Pressure", f"{memory}, I/O {pressure.io_some:.1f} % (all {pressure.io_full:.1f} %)"
    whole, packed = report.zswap
    yield "Zswap", f"{size(whole)} in {size(packed)}" if packed else ""
    yield "Load", f"{report.load:.2f}"
    if report.oom_kills or report.losses:
        losses = f"swap lost {report.losses} times, {report.longest_loss:.0f} s at most"
        yield "Losses", f"{losses}; {report.oom_kills} programs killed for lack of memory"
    yield "Users", str(report.users) if report.users >= 0 else ""
