"""Changes that somebody waits for. Each is one transaction of the writer's thread."""

from sqlalchemy import Connection, delete, insert, select, update

from netboot.panel.history.reading import trouble_entry
from netboot.panel.history.schema import plan, schedules, troubles
from netboot.panel.history.writing import milliseconds
from netboot.panel.records import Rows, Schedule, TroubleEntry


def acknowledge(connection: Connection, trouble: int, by: str, when: float) -> TroubleEntry | None:
    """Note that somebody has seen a trouble. The first one who did stays."""
    is_this = troubles.c.id == trouble
    connection.execute(
        update(troubles)
        .where(is_this, troubles.c.acknowledged.is_(None))
        .values(acknowledged_by=by, acknowledged=milliseconds(when))
    )
    row = connection.execute(select(troubles).where(is_this)).one_or_none()
    return None if row is None else trouble_entry(row)


def save_plan(connection: Connection, rows: Rows) -> None:
    """Replace the plan; an empty one removes it."""
    connection.execute(delete(plan))
    if rows:
        connection.execute(insert(plan).values(id=1, lines=rows))


def add_schedule(connection: Connection, schedule: Schedule) -> int:
    """Add a schedule, and return its number."""
    values = {
        "enabled": schedule.enabled,
        "clock": schedule.at,
        "ordered": schedule.order,
        "seats": schedule.seats,
        "days": schedule.days,
        "words": (schedule.text, schedule.image, schedule.loader),
        "who": schedule.by,
    }
    result = connection.execute(insert(schedules).values(values))
    key = result.inserted_primary_key
    assert key is not None, "a row was inserted"
    return int(key[0])


def remove_schedule(connection: Connection, schedule: int) -> bool:
    """Remove a schedule; False if there is no such one."""
    return connection.execute(delete(schedules).where(schedules.c.id == schedule)).rowcount > 0
