"""Write records into the tables. All functions are of the writer's thread and of its transaction."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from netboot.feed.records import Hardware, SeatRow
from netboot.panel.facts import completed
from netboot.panel.history.records import (
    BootDone,
    Numbered,
    Record,
    SeatKnown,
    SeatMinute,
    ServerMinute,
    TroubleNow,
)
from netboot.panel.history.schema import (
    SEATS,
    SERVERS,
    Samples,
    audit,
    boots,
    seats,
    servers,
    troubles,
)
from netboot.panel.records import AuditEntry

DAY_SECONDS = 86_400.0
MOST_STEPS = 200  # of a boot
MOST_SEATS = 2000  # of an audit entry

T = TypeVar("T")


def milliseconds(when: float | None, *, latest: float | None = None) -> int | None:
    """Return a time as its column has it; a server's clock may be wrong, so ``latest`` limits it."""
    if when is None or not abs(when) < float("inf"):
        return None
    return round((when if latest is None else min(when, latest)) * 1000)


def insert_new(connection: Connection, table: Table) -> Any:
    """Return an INSERT that passes over rows whose key is there."""
    return _insert(connection, table).on_conflict_do_nothing()


def _insert(connection: Connection, table: Table) -> Any:
    of_engine = sqlite if connection.dialect.name == "sqlite" else postgresql
    return of_engine.insert(table)


class Writing:
    """Writes records; remembers the numbers of seats and servers. ``clock``: the panel's."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seats: dict[tuple[str, str], int] = {}
        self._servers: dict[str, int] = {}

    def forget(self) -> None:
        """Forget the numbers: the transaction failed, or rows were removed."""
        self._seats.clear()
        self._servers.clear()

    def write(self, connection: Connection, records: Sequence[Record]) -> None:
        """Write records; those of one kind in their order."""
        self._know(connection, _of(records, SeatKnown))
        self._seat_minutes(connection, _of(records, SeatMinute))
        self._server_minutes(connection, _of(records, ServerMinute))
        self._boots(connection, _of(records, BootDone))
        for trouble in _of(records, TroubleNow):
            self._trouble(connection, trouble)
        self._audit(connection, _of(records, AuditEntry))
        for numbered in _of(records, Numbered):
            values = {"run": numbered.run, "number": numbered.number}
            number = self._server(connection, numbered.server)
            connection.execute(update(servers).where(servers.c.id == number).values(values))

    def _know(self, connection: Connection, records: Iterable[SeatKnown]) -> None:
        for record in records:
            where = seats.c.id == self._seat(connection, record.server, record.row)
            # The database may have been away when the panel started: then the row may lack something.
            uuid, hardware = connection.execute(
                select(seats.c.uuid, seats.c.hardware).where(where)
            ).one()
            row = completed(record.row, uuid, Hardware(**hardware))
            connection.execute(update(seats).where(where).values(self._described(row)))

    def _seat_minutes(self, connection: Connection, records: Sequence[SeatMinute]) -> None:
        seen: dict[int, int | None] = {}
        rows = []
        for record in records:
            number = self._seat(connection, record.server, record.row)
            seen[number] = self._moment(record.row.seen)
            if record.values is not None:
                rows.append(_sample(SEATS, number, record.at, record.values))
        self._samples(connection, SEATS, rows)
        if seen:
            where = seats.c.id == bindparam("number")
            statement = update(seats).where(where).values(seen=bindparam("moment"))
            moments = [{"number": number, "moment": moment} for number, moment in seen.items()]
            connection.execute(statement, moments)

    def _server_minutes(self, connection: Connection, records: Sequence[ServerMinute]) -> None:
        rows = [
            _sample(SERVERS, self._server(connection, record.server), record.at, record.values)
            for record in records
        ]
        self._samples(connection, SERVERS, rows)

    def _samples(self, connection: Connection, kind: Samples, rows: list[dict[str, Any]]) -> None:
        if rows:
            connection.execute(insert_new(connection, kind.minutes), rows)

    def _seat(self, connection: Connection, server: str, row: SeatRow) -> int:
        key = server, row.mac
        if key not in self._seats:
            where = (seats.c.server == server, seats.c.mac == row.mac)
            found = connection.scalar(select(seats.c.id).where(*where))
            if found is None:
                values = {"server": server, "mac": row.mac, **self._described(row)}
                connection.execute(insert_new(connection, seats), values)
                found = connection.scalar(select(seats.c.id).where(*where))
            assert found is not None, "inserted"
            self._seats[key] = found
        return self._seats[key]

    def _described(self, row: SeatRow) -> dict[str, Any]:
        hardware = row.hardware
        return {
            "name": row.name,
            "named": row.named,
            "uuid": row.uuid,
            "image": row.image,
            "seen": self._moment(row.seen),
            "hardware": {name: getattr(hardware, name) for name in hardware.__dataclass_fields__},
        }

    def _server(self, connection: Connection, name: str) -> int:
        if name not in self._servers:
            connection.execute(insert_new(connection, servers), {"name": name})
            found = connection.scalar(select(servers.c.id).where(servers.c.name == name))
            assert found is not None, "inserted"
            self._servers[name] = found
        return self._servers[name]

    def _boots(self, connection: Connection, records: Sequence[BootDone]) -> None:
        if not records:
            return
        statement = _insert(connection, boots)
        key = [boots.c.mac, boots.c.began, boots.c.server]
        names = ("name", "ended", "outcome", "milliseconds", "image", "stages")
        again = statement.on_conflict_do_update(
            index_elements=key, set_={name: statement.excluded[name] for name in names}
        )
        # A boot is told with each of its stages: only the last record of a batch counts.
        rows = [self._boot(record) for record in records]
        newest = {(row["server"], row["mac"], row["began"]): row for row in rows}
        connection.execute(again, list(newest.values()))

    def _boot(self, record: BootDone) -> dict[str, Any]:
        boot = record.boot
        steps = [[each.stage, round(each.at, 3), each.message] for each in boot.stages]
        return {
            "server": record.server,
            "mac": record.mac,
            "began": self._moment(boot.began),
            "name": record.name,
            "ended": self._moment(boot.ended),
            "outcome": boot.outcome,
            "milliseconds": milliseconds(boot.seconds),
            "image": boot.image,
            "stages": steps[:MOST_STEPS],
        }

    def _trouble(self, connection: Connection, record: TroubleNow) -> None:
        """End the troubles of a seat but this one, which begins if it is not there."""
        now = self._moment(record.when)
        open_ones = (
            troubles.c.server == record.server,
            troubles.c.mac == record.mac,
            troubles.c.over.is_(None),
        )
        trouble = record.trouble
        if trouble is None:
            connection.execute(update(troubles).where(*open_ones).values(over=now))
            return
        began = self._moment(trouble.when)
        is_this = (troubles.c.began == began) & (troubles.c.stage == trouble.stage)
        connection.execute(update(troubles).where(*open_ones, ~is_this).values(over=now))
        row = {
            "server": record.server,
            "mac": record.mac,
            "name": record.name,
            "began": began,
            "stage": trouble.stage,
            "message": trouble.message,
            "cause": record.cause,
            "remedy": trouble.remedy,
        }
        key = [troubles.c.server, troubles.c.mac, troubles.c.began, troubles.c.stage]
        again = _insert(connection, troubles).on_conflict_do_update(
            index_elements=key, set_={"over": None}
        )
        connection.execute(again, row)

    def _audit(self, connection: Connection, entries: Sequence[AuditEntry]) -> None:
        rows = [
            {
                "moment": self._moment(entry.when),
                "who": entry.by,
                "address": entry.address,
                "action": entry.action,
                "seats": entry.seats[:MOST_SEATS],
                "detail": entry.detail,
                "outcome": entry.outcome,
            }
            for entry in entries
        ]
        if rows:
            connection.execute(insert(audit), rows)

    def _moment(self, when: float | None) -> int | None:
        """Return a server's time in ms, at most a day ahead of our clock."""
        return milliseconds(when, latest=self._clock() + DAY_SECONDS)


def _of(records: Sequence[Record], kind: type[T]) -> list[T]:
    return [record for record in records if isinstance(record, kind)]


def _sample(kind: Samples, owner: int, at: int, values: tuple[int | None, ...]) -> dict[str, Any]:
    names = (figure.name for figure in kind.figures)
    return {"owner": owner, "at": at, **dict(zip(names, values, strict=True))}
