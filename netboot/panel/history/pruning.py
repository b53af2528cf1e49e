"""Make hours of minutes, and keep the history young and small. Each function is one transaction."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    Table,
    and_,
    cast,
    delete,
    func,
    literal,
    select,
    update,
)

from netboot.panel.history.schema import (
    ALL_SAMPLES,
    Figure,
    Samples,
    audit,
    boots,
    meta,
    seats,
    troubles,
)
from netboot.panel.history.writing import insert_new

HOUR = 60  # in minutes
DAY = 24 * HOUR
ROLLED = "rolled"

# A PC that boots or fails in a circle must not push out the others' history.
MOST_TROUBLES_OF_SEAT, MOST_BOOTS_OF_SEAT = 200, 1000
MOST_TROUBLES, MOST_BOOTS, MOST_AUDIT, MOST_STRANGERS = 20_000, 100_000, 50_000, 2000


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how large the history may be.

    ``detailed_hours``: the last hours, of which each minute has a sample; before, each hour has one.
    """

    days: float = 30.0
    megabytes: float = 200.0
    detailed_hours: int = 24


def merged(figure: Figure, column: Any) -> Any:
    """Return the expression that makes one value of many."""
    if figure.merge == "mean":
        return func.avg(column)
    if figure.merge == "sum":
        return func.sum(column)
    return func.max(column) if figure.merge == "max" else func.min(column)


def rolled(connection: Connection) -> int:
    """Return the minute up to which hours are made of minutes."""
    value = connection.scalar(select(meta.c.value).where(meta.c.name == ROLLED))
    return int(value) if value is not None else 0


def roll(connection: Connection, limits: Limits, now: float) -> None:
    """Make hours of all hours that are over; remove minutes that are too old to be shown."""
    begin, end = rolled(connection), int(now // 60) // HOUR * HOUR
    if begin > end:  # the clock was ahead: hours that are there stay
        begin = 0
    if end > begin:
        for kind in ALL_SAMPLES:
            _make_hours(connection, kind, begin, end)
        connection.execute(insert_new(connection, meta), {"name": ROLLED, "value": "0"})
        connection.execute(update(meta).where(meta.c.name == ROLLED).values(value=str(end)))
    for kind in ALL_SAMPLES:
        old = kind.minutes.c.at < first_minute(max(begin, end), limits, now)
        connection.execute(delete(kind.minutes).where(old))


def first_minute(rolled_to: int, limits: Limits, now: float) -> int:
    """Return the minute before which a chart has hours."""
    return min(rolled_to, (int(now // 60) - limits.detailed_hours * 60) // HOUR * HOUR)


def _make_hours(connection: Connection, kind: Samples, begin: int, end: int) -> None:
    minutes = kind.minutes
    hour = (minutes.c.at // literal(HOUR, Integer)) * literal(HOUR, Integer)
    values = [cast(merged(each, minutes.c[each.name]), Integer) for each in kind.figures]
    rows = (
        select(minutes.c.owner, hour, *values)
        .where(minutes.c.at >= begin, minutes.c.at < end)
        .group_by(minutes.c.owner, hour)
    )
    names = ["owner", "at", *(each.name for each in kind.figures)]
    connection.execute(insert_new(connection, kind.hours).from_select(names, rows))


def prune_by_age(connection: Connection, first: int) -> None:
    """Remove all of before the minute ``first``, but what is not over and what is known of PCs."""
    for kind in ALL_SAMPLES:
        for table in (kind.minutes, kind.hours):
            connection.execute(delete(table).where(table.c.at < first))
    moment = first * 60_000
    connection.execute(delete(boots).where(boots.c.began < moment))
    over = and_(troubles.c.began < moment, troubles.c.over.is_not(None))
    connection.execute(delete(troubles).where(over))
    connection.execute(delete(audit).where(audit.c.moment < moment))
    strangers = and_(seats.c.named.is_(False), seats.c.seen < moment)
    connection.execute(delete(seats).where(strangers))


def prune_by_number(connection: Connection) -> None:
    """Remove the oldest rows of those that have too many, whatever the cause."""
    for table, of_seat, of_all in (
        (troubles, MOST_TROUBLES_OF_SEAT, MOST_TROUBLES),
        (boots, MOST_BOOTS_OF_SEAT, MOST_BOOTS),
    ):
        _keep_newest(connection, table, table.c.began, of_seat, table.c.server, table.c.mac)
        _keep_newest(connection, table, table.c.began, of_all)
    _keep_newest(connection, audit, audit.c.moment, MOST_AUDIT)
    order = func.row_number().over(order_by=seats.c.seen.desc())
    ranked = select(seats.c.id, order.label("rank")).where(seats.c.named.is_(False)).subquery()
    too_many = select(ranked.c.id).where(ranked.c.rank > MOST_STRANGERS)
    connection.execute(delete(seats).where(seats.c.id.in_(too_many)))


def _keep_newest(
    connection: Connection, table: Table, when: Column[Any], most: int, *of: Column[Any]
) -> None:
    order = func.row_number().over(partition_by=of or None, order_by=when.desc())
    ranked = select(table.c.id, order.label("rank")).subquery()
    too_many = select(ranked.c.id).where(ranked.c.rank > most)
    connection.execute(delete(table).where(table.c.id.in_(too_many)))


def oldest(connection: Connection) -> int | None:
    """Return the minute of the oldest row that has an age, None without one."""
    found = [connection.scalar(select(func.min(kind.hours.c.at))) for kind in ALL_SAMPLES]
    found += [connection.scalar(select(func.min(kind.minutes.c.at))) for kind in ALL_SAMPLES]
    for column in (boots.c.began, audit.c.moment, troubles.c.began):
        moment = connection.scalar(select(func.min(column)))
        found.append(None if moment is None else moment // 60_000)
    return min((at for at in found if at is not None), default=None)
