"""The records of the panel: the room and its changes, orders, boots, troubles, schedules, the audit. Pure.

Times are seconds since the epoch, sizes bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from netboot.feed.protocol import OrderName
from netboot.feed.records import Event, Hardware, SeatRow, ServerRow

Outcome = Literal["running", "failed", "unfinished"]


@dataclass(frozen=True, slots=True)
class RoomSeat(SeatRow):
    """A seat, and the name of the server by whose row it is shown."""

    server: str = ""

    @classmethod
    def of(cls, row: SeatRow, server: str) -> "RoomSeat":
        """Return the row of a server's feed as a seat of the room."""
        return cls(**_values(row), server=server)


@dataclass(frozen=True, slots=True)
class RoomServer(ServerRow):
    """A server of the room. ``started``: the time of its start. ``since``: of the last change of ``connected``.

    ``version``: of netboot. ``versions``: of other programs, see ``Hello``.
    """

    name: str = ""
    version: str = ""
    connected: bool = False
    started: float = 0.0
    since: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        row: ServerRow,
        name: str,
        version: str,
        *,
        versions: dict[str, str],
        connected: bool,
        started: float,
        since: float,
    ) -> "RoomServer":
        """Return the row of a server's feed as a server of the room."""
        return cls(
            **_values(row),
            name=name,
            version=version,
            versions=versions,
            connected=connected,
            started=started,
            since=since,
        )


@dataclass(frozen=True, slots=True)
class RoomEvent(Event):
    """An event and the server that told it; ``number`` is that server's."""

    server: str = ""

    @classmethod
    def of(cls, event: Event, server: str) -> "RoomEvent":
        """Return an event of a server's feed as one of the room."""
        return cls(**_values(event), server=server)


def _values(row: Any) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row)}


Rows = tuple[tuple[str, ...], ...]  # of a plan: seats' names, from the front; empty texts are gaps


@dataclass(frozen=True, slots=True)
class RoomView:
    """The whole room, as it is after change ``number``."""

    number: int
    servers: tuple[RoomServer, ...] = ()
    plan: Rows = ()
    seats: tuple[RoomSeat, ...] = ()


@dataclass(frozen=True, slots=True)
class Patch:
    """All changes after another number, up to and with ``number``. ``plan``: None if it is the same."""

    number: int
    seats: tuple[RoomSeat, ...] = ()
    gone: tuple[str, ...] = ()
    servers: tuple[RoomServer, ...] = ()
    events: tuple[RoomEvent, ...] = ()
    plan: Rows | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One order for seats. ``seats``: MAC addresses. ``by``: the account. ``address``: of its browser.

    ``text`` is of ``message`` and ``entry``, ``image`` of ``image`` (empty: the profile's again), ``loader`` of
    ``loader``; else they are empty.
    """

    order: OrderName
    seats: tuple[str, ...]
    by: str
    address: str = ""
    text: str = ""
    image: str = ""
    loader: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of a boot. ``at``: seconds after power-on (of the first packet)."""

    stage: str
    at: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot of one seat. ``ended`` and ``seconds`` are None while it is unfinished."""

    began: float
    ended: float | None
    outcome: Outcome
    seconds: float | None
    stages: tuple[Step, ...] = ()
    image: str = ""


@dataclass(frozen=True, slots=True)
class Samples:
    """A table of figures over time. The first column is ``when``; None is unknown."""

    columns: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class SlowSeat:
    """A seat whose boot takes long. ``stage``: its longest stage, or the present one."""

    mac: str
    name: str
    seconds: float
    stage: str


@dataclass(frozen=True, slots=True)
class PreviousBoot:
    """The boot of the room before this one. ``seconds``: until the last seat ran."""

    seats: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RoomBoot:
    """The last boot of the whole room. ``regression``: a sentence if it is slower than the one before."""

    began: float = 0.0
    seats: int = 0
    done: int = 0
    failed: int = 0
    waiting: int = 0
    slowest: tuple[SlowSeat, ...] = ()
    previous: PreviousBoot | None = None
    regression: str = ""


@dataclass(frozen=True, slots=True)
class TroubleEntry:
    """A trouble of a seat or a server. ``over``: the time of its end; None while it lasts."""

    id: int
    when: float
    seat: str
    name: str
    stage: str
    message: str
    cause: str = ""
    remedy: str = ""
    acknowledged_by: str = ""
    acknowledged_at: float | None = None
    over: float | None = None


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """A PC that was ever seen. ``short_ratio``: the part of its running time, 0 to 1, with short memory."""

    mac: str
    name: str
    uuid: str = ""
    hardware: Hardware = field(default_factory=Hardware)
    image: str = ""
    last_seen: float = 0.0
    short_ratio: float = 0.0
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """An order at a time of the day. ``days``: 0 is Monday. ``seats``: MAC addresses, ``group:NAME``.

    Without ``seats`` it is for all seats. ``at``: ``HH:MM``, by the clock of the panel's machine.
    """

    id: int
    order: OrderName
    seats: tuple[str, ...]
    at: str
    days: tuple[int, ...]
    enabled: bool = True
    text: str = ""
    image: str = ""
    loader: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action of an account: ``order:reboot``, ``login``, ``plan``... ``outcome``: "" for success."""

    when: float
    by: str
    address: str
    action: str
    seats: tuple[str, ...] = ()
    detail: str = ""
    outcome: str = ""
    id: int = 0  # given by the history

    @classmethod
    def of(cls, order: Order, when: float, results: Mapping[str, str] | None) -> "AuditEntry":
        """Return the entry of an order. ``results``: those of ``Orders.send``, None without an answer."""
        refused = sum(map(bool, (results or {}).values()))
        outcome = f"{refused} of {len(order.seats)} refused" if refused else ""
        return cls(
            when,
            order.by,
            order.address,
            f"order:{order.order}",
            order.seats,
            order.text or order.image or order.loader,
            "no answer" if results is None else outcome,
        )
