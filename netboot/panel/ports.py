"""The ports of the web application: the room in memory, the history, the orders.

The routes (``web/``) know these names and the records, and nothing behind them. ``room.py`` implements
``Room``, ``history`` implements ``History``, ``servers.py`` implements ``Orders``; tests have fakes.

A port that cannot answer raises ``PortError``. Its text is *problem: cause; remedy*, and is for the user.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from netboot.errors import NetbootError
from netboot.panel.records import (
    AuditEntry,
    Boot,
    InventoryRow,
    Order,
    Patch,
    RoomBoot,
    RoomEvent,
    RoomSeat,
    RoomView,
    Rows,
    Samples,
    Schedule,
    TroubleEntry,
)


class PortError(NetbootError):
    """The history or a server cannot answer now. The route answers 503 with this text."""


class Room(Protocol):
    """The rows of all servers in memory. All calls are of the event loop's thread and do not block."""

    @property
    def number(self) -> int:
        """The number of the last change. It grows, also over a restart of the panel (begin at the clock)."""

    def view(self) -> RoomView:
        """Return the room as it is now."""

    def changes(self, after: int) -> Patch | None:
        """Return what changed after that number; None if it is too old, or was never given.

        A seat stands in a patch once, with its last row. Equal numbers give an empty patch.
        """

    def seat(self, mac: str) -> RoomSeat | None:
        """Return a seat by its MAC address, lower-case."""

    def events(self, mac: str) -> Sequence[RoomEvent]:
        """Return the last 60 events of a seat, oldest first."""

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener``, which must be cheap, after each change. Return the function that ends this."""

    def set_plan(self, rows: Rows) -> None:
        """Show this plan instead of the profiles'; an empty one shows the profiles' again."""


class Orders(Protocol):
    """The way of an order to the servers."""

    async def send(self, order: Order) -> dict[str, str]:
        """Give an order to the server of each seat. Return for each seat "" or why it was refused.

        A seat that no server knows, and one whose server is away, is a refusal, not an error.
        """


class History(Protocol):
    """The past: boots, samples, troubles, plan, schedules, audit. Raises PortError without its database."""

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
        """Note that a person has seen a trouble, and return it; None if it does not exist."""

    async def inventory(self) -> Sequence[InventoryRow]:
        """Return all PCs that were ever seen, sorted by name."""

    async def save_plan(self, rows: Rows) -> None:
        """Keep the plan that somebody made by hand; an empty one forgets it."""

    async def schedules(self) -> Sequence[Schedule]:
        """Return all schedules, by id."""

    async def add_schedule(self, schedule: Schedule) -> Schedule:
        """Keep a schedule, and return it with its ``id``."""

    async def remove_schedule(self, schedule: int) -> bool:
        """Remove a schedule. Return False if it does not exist."""

    async def audit(self, limit: int) -> Sequence[AuditEntry]:
        """Return what was done, newest first."""

    def note(self, entry: AuditEntry) -> None:
        """Queue an entry of the audit. Never waits and never fails: the write is retried."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the application. ``metrics`` returns the text of /metrics; it is called in the loop."""

    room: Room
    orders: Orders
    history: History
    metrics: Callable[[], bytes] | None = None
