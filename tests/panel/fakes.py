"""Ports that live in memory, for tests of the panel's routes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from netboot.feed.records import Hardware, Report, SeatRow, ServerRow, Trouble
from netboot.panel.ports import PortError, Ports
from netboot.panel.records import (
    AuditEntry,
    Boot,
    InventoryRow,
    Order,
    Patch,
    RoomBoot,
    RoomEvent,
    RoomSeat,
    RoomServer,
    RoomView,
    Rows,
    Samples,
    Schedule,
    SlowSeat,
    Step,
    TroubleEntry,
)

XSS = "<script>alert('x')</script>\"'&</style>\u2028"
MACS = tuple(f"52:54:00:00:00:{n:02x}" for n in range(1, 4))
TROUBLE = TroubleEntry(7, 1.0, MACS[0], XSS, XSS, XSS, XSS, XSS)


def seat(mac: str, **values: object) -> RoomSeat:
    """Return a seat whose every text is what a PC could send."""
    row = SeatRow(
        mac,
        name=f"pc-{mac[-2:]}{XSS}",
        message=XSS,
        stage=XSS,
        image=XSS,
        hardware=Hardware(kernel=XSS, driver=XSS),
        report=Report(1.0, areas=((1, 2),), screen=XSS),
        trouble=Trouble(1.0, XSS, XSS, XSS),
    )
    return replace(RoomSeat.of(row, "first"), **values)  # type: ignore[arg-type]


class FakeRoom:
    """A room that keeps the last ``kept`` changes."""

    def __init__(self, kept: int = 20) -> None:
        self.number = 100
        self.seats = {mac: seat(mac) for mac in MACS}
        self.servers: tuple[RoomServer, ...] = (
            RoomServer.of(
                ServerRow(1.0), "first", "1", versions={}, connected=True, started=1.0, since=1.0
            ),
        )
        self.plan: Rows = (("pc-01", "", "pc-02"),)
        self.told: list[RoomEvent] = []
        self.log: list[tuple[int, str]] = []
        self.kept = kept
        self.listeners: list[Callable[[], None]] = []

    def view(self) -> RoomView:
        return RoomView(self.number, self.servers, self.plan, tuple(self.seats.values()))

    def changes(self, after: int) -> Patch | None:
        if after > self.number or after < self.number - self.kept:
            return None
        macs = dict.fromkeys(mac for number, mac in self.log if number > after)
        return Patch(self.number, tuple(self.seats[mac] for mac in macs))

    def seat(self, mac: str) -> RoomSeat | None:
        return self.seats.get(mac)

    def events(self, mac: str) -> Sequence[RoomEvent]:
        return [each for each in self.told if each.seat == mac]

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def set_plan(self, rows: Rows) -> None:
        self.plan = rows

    def change(self, mac: str, **values: object) -> None:
        """Change a seat."""
        self.number += 1
        self.seats[mac] = replace(self.seats[mac], **values)  # type: ignore[arg-type]
        self.log.append((self.number, mac))
        for listener in self.listeners:
            listener()


@dataclass
class FakeOrders:
    """Servers that take each order, but for the third seat."""

    sent: list[Order] = field(default_factory=list)
    away: bool = False

    async def send(self, order: Order) -> dict[str, str]:
        if self.away:
            raise PortError("server 'first' is away: connection refused; start it")
        self.sent.append(order)
        return {mac: "it is off" if mac == MACS[2] else "" for mac in order.seats}


@dataclass
class FakeHistory:
    """A history of one trouble, which keeps schedules and what was noted."""

    trouble: TroubleEntry = TROUBLE
    kept: dict[int, Schedule] = field(default_factory=dict)
    noted: list[AuditEntry] = field(default_factory=list)
    saved: Rows = ()
    away: bool = False
    asked: list[tuple[object, ...]] = field(default_factory=list)

    def _ask(self, *what: object) -> None:
        self.asked.append(what)
        if self.away:
            raise PortError("history: the database is locked; stop the other program")

    async def boots(self, mac: str, limit: int) -> Sequence[Boot]:
        self._ask("boots", mac, limit)
        return [Boot(1.0, 2.0, "running", 1.0, (Step(XSS, 0.5, XSS),), XSS)][:limit]

    async def samples(self, mac: str, since: float, until: float, points: int) -> Samples:
        self._ask("samples", mac, since, until, points)
        return Samples(("when", "load"), ((since, 0.5), (until, None)))

    async def server_samples(self, name: str, since: float, until: float, points: int) -> Samples:
        self._ask("server_samples", name, since, until, points)
        return Samples(("when", "cpu"), ((since, 0.5),))

    async def room_boot(self) -> RoomBoot:
        self._ask("room_boot")
        return RoomBoot(1.0, 3, 2, 1, 0, (SlowSeat(MACS[0], XSS, 9.0, XSS),), None, XSS)

    async def troubles(self, *, all_of_them: bool, limit: int) -> Sequence[TroubleEntry]:
        self._ask("troubles", all_of_them, limit)
        seen = self.trouble.acknowledged_at is not None
        return [] if seen and not all_of_them else [self.trouble]

    async def acknowledge(self, trouble: int, by: str, when: float) -> TroubleEntry | None:
        self._ask("acknowledge", trouble)
        if trouble != self.trouble.id:
            return None
        self.trouble = replace(self.trouble, acknowledged_by=by, acknowledged_at=when)
        return self.trouble

    async def inventory(self) -> Sequence[InventoryRow]:
        self._ask("inventory")
        return [InventoryRow(MACS[0], XSS, advice=XSS)]

    async def save_plan(self, rows: Rows) -> None:
        self._ask("save_plan")
        self.saved = rows

    async def schedules(self) -> Sequence[Schedule]:
        self._ask("schedules")
        return list(self.kept.values())

    async def add_schedule(self, schedule: Schedule) -> Schedule:
        self._ask("add_schedule")
        number = max(self.kept, default=0) + 1
        self.kept[number] = replace(schedule, id=number)
        return self.kept[number]

    async def remove_schedule(self, schedule: int) -> bool:
        self._ask("remove_schedule")
        return self.kept.pop(schedule, None) is not None

    async def audit(self, limit: int) -> Sequence[AuditEntry]:
        self._ask("audit")
        return self.noted[::-1][:limit]

    def note(self, entry: AuditEntry) -> None:
        self.noted.append(entry)


@dataclass
class Fakes:
    """All ports."""

    room: FakeRoom = field(default_factory=FakeRoom)
    orders: FakeOrders = field(default_factory=FakeOrders)
    history: FakeHistory = field(default_factory=FakeHistory)

    @property
    def ports(self) -> Ports:
        """The ports as the application takes them."""
        return Ports(self.room, self.orders, self.history, lambda: b"netboot_seats 3\n")
