"""The history as the panel uses it.

Methods that take a fact never wait and never fail: a thread writes it, and tells if it cannot.
Methods with ``async`` ask the database in threads, with time limits, and raise PortError.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from netboot.errors import OperatorError
from netboot.feed.records import SeatRow, ServerRow, Trouble
from netboot.panel.history import changing, charts, reading
from netboot.panel.history.database import Database
from netboot.panel.history.minutes import Minutes
from netboot.panel.history.pruning import Limits
from netboot.panel.history.records import BootDone, Numbered, Record, TroubleNow
from netboot.panel.history.upkeep import Upkeep
from netboot.panel.history.writer import Writer
from netboot.panel.history.writing import Writing
from netboot.panel.ports import PortError
from netboot.panel.records import (
    AuditEntry,
    Boot,
    InventoryRow,
    RoomBoot,
    Rows,
    Samples,
    Schedule,
    TroubleEntry,
)

ANSWER_SECONDS = 10.0  # that a change may take

T = TypeVar("T")


class History:
    """A history in ``folder``, or in the database of ``url`` (``postgresql://USER@HOST/DATABASE``)."""

    def __init__(
        self,
        folder: Path,
        url: str = "",
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open nothing yet. ``clock``: seconds since the epoch. Raises OperatorError."""
        self._limits = limits if limits is not None else Limits()
        self._clock = clock
        self._database = Database(url, folder)
        self._minutes, self._lock = Minutes(), threading.Lock()
        upkeep = Upkeep(self._database, self._limits, clock)
        self._writer = Writer(self._database, Writing(clock), upkeep, self._ended)

    @property
    def where(self) -> str:
        """The database for a person, without a password."""
        return self._database.where

    @property
    def lost(self) -> int:
        """The number of records that were lost since the start."""
        return self._writer.lost

    @property
    def waiting(self) -> int:
        """The number of records that are not written yet."""
        return self._writer.waiting

    def start(self) -> None:
        """Open the database and begin to write; this may take 5 s.

        Raises OperatorError if the tables are a newer release's or another program's. A database that
        is away is no error: it is tried again each second.
        """
        try:
            for _ in range(2):  # a file that is no database is set aside by the first
                with suppress(SQLAlchemyError, OSError):
                    self._database.prepare()
                    break
        except OperatorError:
            self.close()
            raise
        self._writer.start()

    def close(self) -> None:
        """Write what waits, for at most 5 s, and close the database."""
        self._writer.close()
        self._database.close_readers()

    # Facts, from the thread of the event loop.

    def seat(self, server: str, row: SeatRow) -> None:
        """Take a seat's row, whenever it has changed."""
        with self._lock:
            records = list(self._minutes.seat(server, row, self._clock()))
        self._put(records)

    def gone(self, server: str, mac: str) -> None:
        """Note that a server has forgotten a seat."""
        with self._lock:
            records = list(self._minutes.gone(server, mac, self._clock()))
        self._put(records)

    def server(self, name: str, row: ServerRow) -> None:
        """Take a server's figures."""
        with self._lock:
            records = list(self._minutes.server(name, row, self._clock()))
        self._put(records)

    def boot(self, server: str, mac: str, name: str, boot: Boot) -> None:
        """Take a boot, finished or not. A later one with the same beginning replaces it."""
        self._writer.put(BootDone(server, mac, name, boot))

    def trouble(self, server: str, trouble: Trouble | None, cause: str = "") -> None:
        """Note the present trouble of a server itself, or that it has none. Those of seats are in rows."""
        self._writer.put(TroubleNow(server, "", server, self._clock(), trouble, cause))

    def number(self, server: str, run: str, number: int) -> None:
        """Note that the history has all events of a server up to ``number``."""
        self._writer.put(Numbered(server, run, number))

    def note(self, entry: AuditEntry) -> None:
        """Queue an entry of the audit."""
        self._writer.put(entry)

    def _put(self, records: Iterable[Record]) -> None:
        for record in records:
            self._writer.put(record)

    def _ended(self, all_of_them: bool) -> list[Record]:
        """Return the samples of minutes that are over. Of the writer's thread."""
        with self._lock:
            return list(self._minutes.ended(self._clock(), all_of_them=all_of_them))

    # Questions.

    async def boots(self, mac: str, limit: int) -> Sequence[Boot]:
        """Return the last boots of a seat, newest first."""
        return await self._read(partial(reading.seat_boots, mac=mac, limit=limit))

    async def samples(self, mac: str, since: float, until: float, points: int) -> Samples:
        """Return a seat's figures, at most ``points`` rows."""
        return await self._chart(charts.of_seat(mac), (since, until), points)

    async def server_samples(self, name: str, since: float, until: float, points: int) -> Samples:
        """Return a server's figures, at most ``points`` rows."""
        return await self._chart(charts.of_server(name), (since, until), points)

    async def room_boot(self) -> RoomBoot:
        """Return the last boot of the room, beside the one before."""
        return await self._read(partial(reading.room_boot, now=self._clock()))

    async def troubles(self, *, all_of_them: bool, limit: int) -> Sequence[TroubleEntry]:
        """Return troubles, newest first; without those that are over or acknowledged, unless asked."""
        return await self._read(
            partial(reading.trouble_entries, all_of_them=all_of_them, limit=limit)
        )

    async def inventory(self) -> Sequence[InventoryRow]:
        """Return each PC that was ever seen, by name."""
        return await self._read(partial(reading.inventory, now=self._clock()))

    async def audit(self, limit: int) -> Sequence[AuditEntry]:
        """Return what was done, newest first."""
        return await self._read(partial(reading.audit_entries, limit=limit))

    async def plan(self) -> Rows:
        """Return the plan that somebody made by hand; empty without one."""
        return await self._read(reading.saved_plan)

    async def schedules(self) -> Sequence[Schedule]:
        """Return all schedules, by id."""
        return await self._read(reading.schedule_entries)

    async def numbers(self) -> dict[str, tuple[str, int]]:
        """Return run and last number of each server's feed, so that the panel can catch up."""
        return await self._read(reading.numbers)

    # Changes.

    async def acknowledge(self, trouble: int, by: str, when: float) -> TroubleEntry | None:
        """Note that somebody has seen a trouble, and return it; None if there is no such one."""
        return await self._change(partial(changing.acknowledge, trouble=trouble, by=by, when=when))

    async def save_plan(self, rows: Rows) -> None:
        """Keep the plan that somebody made by hand; an empty one forgets it."""
        await self._change(partial(changing.save_plan, rows=rows))

    async def add_schedule(self, schedule: Schedule) -> Schedule:
        """Keep a schedule, and return it with its ``id``."""
        number = await self._change(partial(changing.add_schedule, schedule=schedule))
        return replace(schedule, id=number)

    async def remove_schedule(self, schedule: int) -> bool:
        """Remove a schedule; False if there is no such one."""
        return await self._change(partial(changing.remove_schedule, schedule=schedule))

    async def _chart(
        self, owners: charts.Owners, span: tuple[float, float], points: int
    ) -> Samples:
        limits, now = self._limits, self._clock()
        return await self._read(
            lambda connection: charts.samples(connection, owners, span, points, limits, now)
        )

    async def _read(self, question: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self._database.read, question)

    async def _change(self, change: Callable[[Connection], T]) -> T:
        future: Future[T] = self._writer.ask(change)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_SECONDS)
        except TimeoutError:
            raise PortError(
                f"the history cannot be written: {self.where} does not answer within "
                f"{ANSWER_SECONDS:.0f} s; try again"
            ) from None
