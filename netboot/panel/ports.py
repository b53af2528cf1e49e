"""The ports on which the panel stands: the room in memory, the history, the orders; and their records.

The routes (``web/``) know these names and nothing behind them. ``room.py`` implements
``Room``, ``history`` implements ``History``, ``follow.py`` implements ``Orders``; tests have fakes. Times
are seconds since the epoch, sizes bytes.

A port that cannot answer raises ``PortError``. Its text is *problem: cause; remedy*, and is for the user.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

from netboot.errors import NetbootError
from netboot.feed.protocol import OrderName
from netboot.feed.records import Event, Hardware, SeatRow, ServerRow

Outcome = Literal["running", "failed", "unfinished"]


class PortError(NetbootError):
    """The history or a server cannot answer now. The route answers 503 with this text."""


@dataclass(frozen=True, slots=True)
class RoomSeat(SeatRow):
    """A seat and its server: that to which it spoke last."""

    server: str = ""

    @classmethod
    def of(cls, row: SeatRow, server: str) -> "RoomSeat":
        """Return the row of a server's feed as a seat of the room."""
        return cls(**_values(row), server=server)


@dataclass(frozen=True, slots=True)
class RoomServer(ServerRow):
    """A server of the room. ``started``: when it did. ``since``: when ``connected`` changed last.

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
    """All that changed after another number, up to and with ``number``. ``plan``: None if it did not."""

    number: int
    seats: tuple[RoomSeat, ...] = ()
    gone: tuple[str, ...] = ()
    servers: tuple[RoomServer, ...] = ()
    events: tuple[RoomEvent, ...] = ()
    plan: Rows | None = None


class Room(Protocol):
    """The rows of all servers in memory. All calls are of the event loop's thread and do not block."""

    @property
    def number(self) -> int:
        """The number of the last change. It grows, also over a restart of the panel (begin at the clock)."""

    def view(self) -> RoomView:
        """Return the room as it is now."""

    def changes(self, after: int) -> Patch | None:
        """Return what changed after that number; None if that is too long ago, or not of this room.

        A seat stands in a patch once, with its last row. Equal numbers give an empty patch.
        """

    def seat(self, mac: str) -> RoomSeat | None:
        """Return a seat by its MAC address, lower-case."""

    def events(self, mac: str) -> Sequence[RoomEvent]:
        """Return the last 60 events of a seat, oldest first."""

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` after each change; return the call that ends that. It must be cheap."""

    def set_plan(self, rows: Rows) -> None:
        """Show this plan instead of the profiles'; an empty one shows the profiles' again."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order for seats. ``seats``: MAC addresses. ``by``: the account. ``address``: of its browser.

    ``text`` is of ``message``, ``image`` of ``image`` (empty: the profile's again), ``loader`` of
    ``loader``; else they are empty.
    """

    order: OrderName
    seats: tuple[str, ...]
    by: str
    address: str = ""
    text: str = ""
    image: str = ""
    loader: str = ""


class Orders(Protocol):
    """The way of an order to the servers."""

    async def send(self, order: Order) -> dict[str, str]:
        """Give an order to the server of each seat. Return for each seat "" or why it was refused.

        A seat that no server knows, and one whose server is away, is a refusal, not an error.
        """


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of a boot. ``at``: seconds after power-on (of the first packet)."""

    stage: str
    at: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot of one seat. ``ended`` and ``seconds`` are None as long as it is unfinished."""

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
    """A seat whose boot takes long. ``stage``: the longest one, or that in which it is now."""

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
    """Something that went wrong. ``over``: when it was; None: it is not."""

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
    """A PC that was ever seen. ``short_ratio``: part of its running time that memory was short, 0 to 1."""

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

    ``seats`` without any: all. ``at``: ``HH:MM``, by the clock of the panel's machine.
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
    """One deed of an account. ``action``: ``order:reboot``, ``login``, ``plan`` ... ``outcome``: "" is well."""

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


class History(Protocol):
    """The past: boots, samples, troubles, plan, schedules, audit. Raises PortError if it is away."""

    async def boots(self, mac: str, limit: int) -> Sequence[Boot]:
        """Return the last boots of a seat, newest first."""

    async def samples(self, mac: str, since: float, until: float, points: int) -> Samples:
        """Return a seat's figures, at most ``points`` rows (means, and maxima of pressure)."""

    async def server_samples(self, name: str, since: float, until: float, points: int) -> Samples:
        """Return a server's figures, likewise."""

    async def room_boot(self) -> RoomBoot:
        """Return the last boot of the room."""

    async def troubles(self, *, all_of_them: bool, limit: int) -> Sequence[TroubleEntry]:
        """Return troubles, newest first; without those that are over or acknowledged, unless asked."""

    async def acknowledge(self, trouble: int, by: str, when: float) -> TroubleEntry | None:
        """Note that a person has seen a trouble, and return it; None if there is no such one."""

    async def inventory(self) -> Sequence[InventoryRow]:
        """Return each PC that was ever seen, by name."""

    async def save_plan(self, rows: Rows) -> None:
        """Keep the plan that somebody made by hand; an empty one forgets it."""

    async def schedules(self) -> Sequence[Schedule]:
        """Return all schedules, by id."""

    async def add_schedule(self, schedule: Schedule) -> Schedule:
        """Keep a schedule, and return it with its ``id``."""

    async def remove_schedule(self, schedule: int) -> bool:
        """Remove a schedule; False if there is no such one."""

    async def audit(self, limit: int) -> Sequence[AuditEntry]:
        """Return what was done, newest first."""

    def note(self, entry: AuditEntry) -> None:
        """Write down what somebody did. Never waits and never fails: it is queued, and retried."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All that the application needs. ``metrics``: the text of /metrics; cheap, called in the loop."""

    room: Room
    orders: Orders
    history: History
    metrics: Callable[[], bytes] | None = None
