"""The records of a server's feed, and their lines. Pure.

A feed is a stream of JSON objects, one a line. It begins with a ``Hello``, the ``Plan`` and the row of
each seat. Then it has the events that the reader lacks, and from then on each new event, and once a
second the rows that changed and the server's figures. A reader that was away asks for the events after
the last number that it saw. Times are seconds since the epoch by the server's clock, sizes bytes.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

PROTOCOL = 1
MAX_LINE_BYTES = 65536  # of a record; a row has about 1 KB

State = Literal["booting", "waiting", "running", "short", "lost", "off", "unknown"]
Mirror = Literal["", "whole", "degraded", "resyncing", "unknown"]
MIRRORS: tuple[Mirror, ...] = ("whole", "degraded", "resyncing", "unknown")
STATES: tuple[State, ...] = ("booting", "waiting", "running", "short", "lost", "off", "unknown")


@dataclass(frozen=True, slots=True)
class Pressure:
    """PSI, averages over 10 s: percent of the time in which some or all tasks waited."""

    memory_some: float = 0.0
    memory_full: float = 0.0
    io_some: float = 0.0
    io_full: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a seat, one every 10 s. Counters are since its boot.

    ``areas``: used and whole bytes of each area of swap. ``zswap``: stored and compressed bytes.
    ``users``: sessions of its screen, -1 if it has none. ``longest_loss``: seconds. ``copied``: percent of
    its swap that are copied to a mirror's new server, -1 while nothing is.
    """

    when: float
    memory: int = 0
    available: int = 0
    areas: tuple[tuple[int, int], ...] = ()
    pressure: Pressure = field(default_factory=Pressure)
    zswap: tuple[int, int] = (0, 0)
    refaults: int = 0
    major_faults: int = 0
    oom_kills: int = 0
    load: float = 0.0
    losses: int = 0
    longest_loss: float = 0.0
    users: int = -1
    screen: str = ""
    copied: float = -1.0

    @property
    def swap_used(self) -> int:
        """Bytes of swap in use."""
        return sum(used for used, _ in self.areas)

    @property
    def swap_size(self) -> int:
        """Bytes of all areas of swap."""
        return sum(size for _, size in self.areas)


@dataclass(frozen=True, slots=True)
class Pages:
    """The swap and image traffic of one seat, as its server counts it: bytes, bytes/s, connections.

    ``granted``: of its leases. ``stored``: what its pages take on the server.
    """

    connections: int = 0
    granted: int = 0
    stored: int = 0
    read: int = 0
    written: int = 0
    read_rate: float = 0.0
    write_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Hardware:
    """The facts about a PC. ``card``: PCI ids, ``8086:100e``. ``arch``: a name of boot.arch."""

    memory: int = 0
    card: str = ""
    driver: str = ""
    arch: str = ""
    kernel: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong on a seat and is not over. ``remedy`` may be empty."""

    when: float
    stage: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class SeatRow:
    """One seat as it is now. ``boot`` names its boot, and is nobody's secret.

    ``since``: the begin of its ``state``. ``booted``: the begin of its last boot. ``seen``: its last sign
    of life. ``stage`` and ``message``: its last event. ``named``: the profile names it. ``mirror``: whether
    both servers of its swap have its pages; empty without a mirror. It is ``degraded`` with one server,
    ``resyncing`` while md copies all pages to the other one, and ``unknown`` if this server started later
    than the PC, which tells only of changes.
    """

    mac: str
    name: str
    groups: tuple[str, ...] = ()
    named: bool = False
    state: State = "unknown"
    since: float = 0.0
    seen: float = 0.0
    booted: float = 0.0
    boot: str = ""
    stage: str = ""
    message: str = ""
    address: str = ""
    uuid: str = ""
    image: str = ""
    digest: str = ""
    hardware: Hardware = field(default_factory=Hardware)
    pages: Pages = field(default_factory=Pages)
    report: Report | None = None
    trouble: Trouble | None = None
    mirror: Mirror = ""


@dataclass(frozen=True, slots=True)
class Hello:
    """The beginning of a feed. ``server``: its name. ``run``: random, new with each start.

    ``first`` and ``next``: numbers of the oldest event that is kept and of the next one. They begin at
    1 with each ``run``. ``version``: of netboot. ``versions``: of other programs: ``linux``,
    ``Python``, and by ``pcs:PROCESSOR`` of the kernels that PCs boot.
    """

    server: str
    version: str
    run: str
    started: float
    first: int
    next: int
    protocol: int = PROTOCOL
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The profile's plan of the room: rows of seats' names, from the front; empty texts are gaps."""

    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one seat, see netboot.boot.events. ``number`` counts the events of a ``run``."""

    number: int
    when: float
    seat: str
    stage: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gone:
    """A seat that the server has forgotten: a stranger that made room for another."""

    mac: str


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server as it is now. Rates are those of the last second; the rest counts since its start.

    ``cpu``: of one CPU, 0 to 1 for each. ``lag``: seconds that the event loop was late, at most, in
    that second. ``latency``: requests of pages by the power of two of their microseconds, sampled.
    ``waiting``: seats that wait for their turn. ``delayed``: seconds in that second, of all seats together,
    that their pages waited because the server decided so; ``delays``: the same since the start, by reason
    (netboot.pages.worker.delays). ``disk``: free and whole bytes of the store's file system. ``mirrors``:
    seats that are on, by the state of their mirror; a seat tells the server that booted it. ``requests``:
    of pages: read, write, trim. ``worker_cpu``: seconds of CPU of the page workers. ``sent``: bytes over
    HTTP, ``downloads``: files that HTTP sends now. ``transfers``: over TFTP now, unanswered or sending;
    ``transfers_ended``: by how they ended. ``drained``: it takes no new swap (netboot.serve.draining).
    """

    when: float
    cpu: float = 0.0
    memory: int = 0
    lag: float = 0.0
    granted: int = 0
    capacity: int = 0
    stored: int = 0
    connections: int = 0
    most_connections: int = 0
    requests_rate: float = 0.0
    read_rate: float = 0.0
    write_rate: float = 0.0
    delayed: float = 0.0
    waiting: int = 0
    latency: tuple[int, ...] = ()
    disk: tuple[int, int] = (0, 0)
    refused: dict[str, int] = field(default_factory=dict)
    packets: dict[str, int] = field(default_factory=dict)
    mirrors: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    worker_cpu: float = 0.0
    sent: int = 0
    downloads: int = 0
    transfers: dict[str, int] = field(default_factory=dict)
    transfers_ended: dict[str, int] = field(default_factory=dict)
    drained: bool = False


Record = Hello | Plan | SeatRow | Event | Gone | ServerRow
KINDS: dict[str, type[Any]] = {
    "hello": Hello,
    "plan": Plan,
    "seat": SeatRow,
    "event": Event,
    "gone": Gone,
    "server": ServerRow,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


def as_json(record: Record) -> dict[str, Any]:
    """Return a record as JSON-ready values, with its ``type``."""
    return {"type": _NAMES[type(record)], **asdict(record)}


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_fields)


def line(record: Record) -> bytes:
    """Return a record as a line.

    It is that of ``as_json``, which takes four times as long: a second of 1,000 seats has 1,000 rows.
    """
    text = _ENCODER.encode({"type": _NAMES[type(record)], **_fields(record)})
    return text.encode() + b"\n"
