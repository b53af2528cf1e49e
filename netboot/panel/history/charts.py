"""Samples for a chart, which the database reduces: minutes of the last day, hours before."""

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Float, Integer, Select, cast, func, literal, select, union_all

from netboot.panel.history.pruning import DAY, Limits, first_minute, merged, rolled
from netboot.panel.history.schema import SEATS, SERVERS, Figure, Samples, seats, servers, unscaled
from netboot.panel.records import Samples as Table

MOST_POINTS = 2000


@dataclass(frozen=True, slots=True)
class Owners:
    """The rows whose samples a chart shows. ``ids`` selects their numbers."""

    kind: Samples
    ids: Select[Any]


def of_seat(mac: str) -> Owners:
    """Return a PC as each server knows it."""
    return Owners(SEATS, select(seats.c.id).where(seats.c.mac == mac))


def of_server(name: str) -> Owners:
    """Return a server."""
    return Owners(SERVERS, select(servers.c.id).where(servers.c.name == name))


def samples(
    connection: Connection,
    owners: Owners,
    span: tuple[float, float],
    points: int,
    limits: Limits,
    now: float,
) -> Table:
    """Return the figures of ``span`` in at most ``points`` rows. Times are seconds since the epoch."""
    kind = owners.kind
    begin, end = _span(span, limits, now)
    width = math.ceil((end - begin + 1) / max(1, min(points, MOST_POINTS)))
    first = first_minute(rolled(connection), limits, now)
    parts = []
    for table, low, high in (
        (kind.hours, begin, first - 1),
        (kind.minutes, max(begin, first), end),
    ):
        bucket = (table.c.at - literal(begin, Integer)) // literal(width, Integer)
        figures = [merged(each, table.c[each.name]).label(each.name) for each in kind.shown]
        parts.append(
            select(table.c.owner, bucket.label("bucket"), *figures)
            .where(table.c.owner.in_(owners.ids), table.c.at.between(low, min(high, end)))
            .group_by(table.c.owner, bucket)
        )
    both = union_all(*parts).subquery()
    values = [_of_owners(each, both.c[each.name]) for each in kind.shown]
    rows = connection.execute(
        select(both.c.bucket, *values).group_by(both.c.bucket).order_by(both.c.bucket)
    )
    return Table(
        ("when", *(figure.name for figure in kind.shown)),
        tuple(
            (
                float((begin + row[0] * width) * 60),
                *(unscaled(each, value) for each, value in zip(kind.shown, row[1:], strict=True)),
            )
            for row in rows
        ),
    )


def _span(span: tuple[float, float], limits: Limits, now: float) -> tuple[int, int]:
    """Return the first and last minute of a chart, whatever was asked for."""
    oldest = now - limits.days * DAY * 60
    since, until = (each if math.isfinite(each) else now for each in span)
    begin = int(min(max(since, oldest), now) // 60)
    return begin, max(begin, int(min(until, now + 60) // 60))


def _of_owners(figure: Figure, column: Any) -> Any:
    """Return one value for a PC whose figures come from several servers: its traffic is their sum."""
    if figure.name in ("read_rate", "write_rate"):
        return cast(func.sum(column), Float)
    return cast(merged(figure, column), Float)
