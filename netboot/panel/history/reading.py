"""Questions to the history, one function each. They run in threads, with connections that only read."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from netboot.feed.records import Hardware
from netboot.panel.history import rooms
from netboot.panel.history.pruning import DAY, rolled
from netboot.panel.history.schema import (
    SEATS,
    audit,
    boots,
    plan,
    schedules,
    seats,
    servers,
    troubles,
)
from netboot.panel.records import (
    AuditEntry,
    Boot,
    InventoryRow,
    RoomBoot,
    Rows,
    Schedule,
    Step,
    TroubleEntry,
)

MOST_ROWS = 5000
MOST_BOOTS = (
    6000  # that are looked at for those of the room: two of 1,000 seats, and what came between
)
SHORT_DAYS = 7
ADVISED_RATIO = 0.05  # of the running time: 2 minutes of a lesson


def limit_of(limit: int) -> int:
    """Return a number of rows that may be asked for."""
    return max(1, min(limit, MOST_ROWS))


def seat_boots(connection: Connection, mac: str, limit: int) -> Sequence[Boot]:
    """Return the last boots of a PC, newest first."""
    rows = connection.execute(
        select(boots)
        .where(boots.c.mac == mac)
        .order_by(boots.c.began.desc(), boots.c.id.desc())
        .limit(limit_of(limit))
    )
    return [
        Boot(
            _seconds(row.began) or 0.0,
            _seconds(row.ended),
            row.outcome,
            _seconds(row.milliseconds),
            _steps(row.stages),
            row.image,
        )
        for row in rows
    ]


def room_boot(connection: Connection, now: float) -> RoomBoot:
    """Return the last boot of the room, beside the one before."""
    columns = (boots.c[name] for name in ("id", "mac", "name", "began", "ended", "outcome"))
    rows = connection.execute(
        select(*columns, boots.c.milliseconds).order_by(boots.c.began.desc()).limit(MOST_BOOTS)
    )
    found = [
        rooms.SeatBoot(
            row.id,
            row.mac,
            row.name,
            _seconds(row.began) or 0.0,
            _seconds(row.ended),
            row.outcome,
            _seconds(row.milliseconds),
        )
        for row in rows
    ]
    divided = rooms.divided(found[::-1])
    ids = [boot.id for boot in rooms.slowest(divided[0], now)] if divided else []
    stages = connection.execute(select(boots.c.id, boots.c.stages).where(boots.c.id.in_(ids)))
    return rooms.summary(divided, {row.id: _steps(row.stages) for row in stages}, now)


def _steps(stages: list[tuple[str, float, str]]) -> tuple[Step, ...]:
    return tuple(Step(*each) for each in stages)


def trouble_entries(
    connection: Connection, *, all_of_them: bool, limit: int
) -> Sequence[TroubleEntry]:
    """Return troubles, newest first."""
    query = select(troubles).order_by(troubles.c.began.desc(), troubles.c.id.desc())
    if not all_of_them:
        query = query.where(troubles.c.over.is_(None), troubles.c.acknowledged.is_(None))
    return [trouble_entry(row) for row in connection.execute(query.limit(limit_of(limit)))]


def trouble_entry(row: Any) -> TroubleEntry:
    """Return a row of the table as an entry."""
    return TroubleEntry(
        row.id,
        _seconds(row.began) or 0.0,
        row.mac,
        row.name,
        row.stage,
        row.message,
        row.cause,
        row.remedy,
        row.acknowledged_by,
        _seconds(row.acknowledged),
        _seconds(row.over),
    )


def inventory(connection: Connection, now: float) -> Sequence[InventoryRow]:
    """Return each PC that was ever seen, by name, as the server describes it that saw it last."""
    sums = _short_sums(connection, now)
    pcs: dict[str, Any] = {}
    counts: dict[str, tuple[int, int]] = {}
    for row in connection.execute(select(seats).order_by(seats.c.seen, seats.c.id)):
        pcs[row.mac] = row
        before, here = counts.get(row.mac, (0, 0)), sums.get(row.id, (0, 0))
        counts[row.mac] = before[0] + here[0], before[1] + here[1]
    return [
        _inventory_row(row, *counts[mac])
        for mac, row in sorted(pcs.items(), key=lambda item: (item[1].name, item[0]))
    ]


def _short_sums(connection: Connection, now: float) -> dict[int, tuple[int, int]]:
    """Return how many reports told of too little memory, and how many there were, by seat."""
    border, since = rolled(connection), int(now // 60) - SHORT_DAYS * DAY
    found: dict[int, tuple[int, int]] = {}
    for table, low, high in (
        (SEATS.hours, since, border - 1),
        (SEATS.minutes, max(since, border), 2**31 - 1),
    ):
        query = (
            select(table.c.owner, func.sum(table.c.short), func.sum(table.c.reports))
            .where(table.c.at.between(low, high))
            .group_by(table.c.owner)
        )
        for owner, short, reports in connection.execute(query):
            before = found.get(owner, (0, 0))
            found[owner] = before[0] + int(short or 0), before[1] + int(reports or 0)
    return found


def _inventory_row(row: Any, short: int, reports: int) -> InventoryRow:
    hardware = Hardware(**row.hardware)
    ratio = short / reports if reports else 0.0
    advice = ""
    if ratio >= ADVISED_RATIO:
        has = f"its {hardware.memory / 2**20:.0f} MiB are" if hardware.memory else "its memory is"
        advice = (
            f"waited for memory {ratio:.0%} of its time in {SHORT_DAYS} days: {has} too little; "
            "add RAM, or boot a smaller image"
        )
    seen = _seconds(row.seen) or 0.0
    return InventoryRow(row.mac, row.name, row.uuid, hardware, row.image, seen, ratio, advice)


def audit_entries(connection: Connection, limit: int) -> Sequence[AuditEntry]:
    """Return what was done, newest first."""
    newest = (audit.c.moment.desc(), audit.c.id.desc())
    return [
        AuditEntry(
            _seconds(row.moment) or 0.0,
            row.who,
            row.address,
            row.action,
            tuple(row.seats),
            row.detail,
            row.outcome,
            row.id,
        )
        for row in connection.execute(select(audit).order_by(*newest).limit(limit_of(limit)))
    ]


def schedule_entries(connection: Connection) -> Sequence[Schedule]:
    """Return all schedules, by id."""
    return [
        _schedule(row) for row in connection.execute(select(schedules).order_by(schedules.c.id))
    ]


def _schedule(row: Any) -> Schedule:
    text, image, loader = row.words
    return Schedule(
        row.id,
        row.ordered,
        tuple(row.seats),
        row.clock,
        tuple(row.days),
        row.enabled,
        text,
        image,
        loader,
        row.who,
    )


def saved_plan(connection: Connection) -> Rows:
    """Return the plan that was made by hand; empty without one."""
    lines = connection.scalar(select(plan.c.lines)) or []
    return tuple(tuple(line) for line in lines)


def numbers(connection: Connection) -> dict[str, tuple[str, int]]:
    """Return the run and the last number of each server's feed that is in the history."""
    rows = connection.execute(select(servers).where(servers.c.run != ""))
    return {row.name: (row.run, row.number) for row in rows}


def _seconds(moment: int | None) -> float | None:
    return None if moment is None else moment / 1000
