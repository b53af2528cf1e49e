"""The tables of the panel's history, the same for SQLite and PostgreSQL.

The bulk is samples: one of each seat and minute, for a day, and one of each seat and hour from then on.
Their figures are integers of coarse units (``Figure.unit``), which SQLite stores in 0 to 4 bytes each.
A time named ``at`` is in minutes since the epoch, each other time in milliseconds.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)

from netboot.panel.history.columns import Json, Whole, Words

# Characters of texts. A stage's message has 500 at most on the wire.
MAC, NAME, STAGE, MESSAGE, LONG = 32, 128, 64, 600, 2000

Merge = Literal["max", "min", "mean", "sum"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of samples. ``unit``: what 1 in the database is worth. ``bits``: of its column.

    ``minute``: how those of a minute become one. ``merge``: how those of minutes become one of an hour
    or of a chart; the worst minute of an hour stays to be seen.
    """

    name: str
    unit: float
    minute: Merge = "mean"
    merge: Merge = "mean"
    bits: int = 32


KIB, MIB, PERCENT_OF_PERCENT, MILLISECOND = 1024.0, 1024.0 * 1024, 0.01, 0.001

# The order is that of ``GET /api/v1/seats/{mac}/samples``, behind ``when``.
SEAT_FIGURES = (
    Figure("swap_used", KIB, "max", "max"),
    Figure("swap_size", KIB, "max", "max"),
    Figure("available", KIB, "min", "min"),
    Figure("memory_some", PERCENT_OF_PERCENT, "mean", "max", 16),
    Figure("memory_full", PERCENT_OF_PERCENT, "mean", "max", 16),
    Figure("io_some", PERCENT_OF_PERCENT, "mean", "max", 16),
    Figure("io_full", PERCENT_OF_PERCENT, "mean", "max", 16),
    Figure("read_rate", KIB),
    Figure("write_rate", KIB),
    Figure("load", 0.01),
)
# Not shown in a chart: how many reports a sample is made of, and in how many memory was short.
SEAT_COUNTS = (Figure("reports", 1, "sum", "sum", 16), Figure("short", 1, "sum", "sum", 16))

SERVER_FIGURES = (
    Figure("cpu", 0.001),
    Figure("memory", KIB, "max", "max"),
    Figure("lag", 0.0001, "max", "max"),
    Figure("granted", MIB, "max", "max"),
    Figure("capacity", MIB, "max", "max"),
    Figure("stored", MIB, "max", "max"),
    Figure("connections", 1, "max", "max"),
    Figure("requests_rate", 1),
    Figure("read_rate", KIB),
    Figure("write_rate", KIB),
    Figure("delayed", MILLISECOND, "max", "max"),
    Figure("waiting", 1, "max", "max"),
    Figure("disk_free", MIB, "min", "min"),
)

METADATA = MetaData()

# ``version`` of the tables, and ``rolled``: the minute up to which hours are made of minutes.
meta = Table(
    "meta", METADATA, Column("name", Words(NAME), primary_key=True), Column("value", Words(NAME))
)

# ``run`` and ``number``: the last event of a server's feed that is in here.
servers = Table(
    "servers",
    METADATA,
    Column("id", Whole(32), primary_key=True, autoincrement=True),
    Column("name", Words(NAME), nullable=False, unique=True),
    Column("run", Words(NAME), nullable=False, default=""),
    Column("number", Whole(64), nullable=False, default=0),
)

# A PC as one server knows it. ``named``: it is in the profile, and never forgotten for a stranger.
seats = Table(
    "seats",
    METADATA,
    Column("id", Whole(32), primary_key=True, autoincrement=True),
    Column("server", Words(NAME), nullable=False),
    Column("mac", Words(MAC), nullable=False, index=True),
    Column("name", Words(NAME), nullable=False),
    Column("named", Boolean, nullable=False),
    Column("uuid", Words(NAME), nullable=False),
    Column("hardware", Json(NAME), nullable=False),
    Column("image", Words(NAME), nullable=False),
    Column("seen", Whole(64), nullable=False),
    UniqueConstraint("server", "mac"),
)


def _samples(name: str, owner: Table, figures: tuple[Figure, ...]) -> Table:
    """A table without row numbers: its key is the tree in which the rows lie."""
    key = ForeignKey(owner.c.id, ondelete="CASCADE")
    return Table(
        name,
        METADATA,
        Column("owner", Whole(32), key, nullable=False),
        Column("at", Whole(32), nullable=False),
        *(Column(figure.name, Whole(figure.bits)) for figure in figures),
        PrimaryKeyConstraint("owner", "at"),
        sqlite_with_rowid=False,
    )


@dataclass(frozen=True, slots=True)
class Samples:
    """The two tables of one kind of samples. ``shown``: the figures of a chart."""

    owner: Table
    shown: tuple[Figure, ...]
    figures: tuple[Figure, ...]
    minutes: Table
    hours: Table

    @classmethod
    def made(
        cls, prefix: str, owner: Table, shown: tuple[Figure, ...], others: tuple[Figure, ...] = ()
    ) -> "Samples":
        """Return tables whose names begin with ``prefix``."""
        both = shown + others
        minutes, hours = (
            _samples(f"{prefix}_{span}", owner, both) for span in ("minutes", "hours")
        )
        return cls(owner, shown, both, minutes, hours)


SEATS = Samples.made("seat", seats, SEAT_FIGURES, SEAT_COUNTS)
SERVERS = Samples.made("server", servers, SERVER_FIGURES)
ALL_SAMPLES = (SEATS, SERVERS)

boots = Table(
    "boots",
    METADATA,
    Column("id", Whole(32), primary_key=True, autoincrement=True),
    Column("server", Words(NAME), nullable=False),
    Column("mac", Words(MAC), nullable=False),
    Column("name", Words(NAME), nullable=False),
    Column("began", Whole(64), nullable=False, index=True),
    Column("ended", Whole(64)),
    Column("outcome", Words(STAGE), nullable=False),
    Column("milliseconds", Whole(64)),
    Column("image", Words(NAME), nullable=False),
    Column("stages", Json(MESSAGE), nullable=False),
    UniqueConstraint("mac", "began", "server"),
)

# ``over``: when it was; NULL: it is not.
troubles = Table(
    "troubles",
    METADATA,
    Column("id", Whole(32), primary_key=True, autoincrement=True),
    Column("server", Words(NAME), nullable=False),
    Column("mac", Words(MAC), nullable=False),
    Column("name", Words(NAME), nullable=False),
    Column("began", Whole(64), nullable=False, index=True),
    Column("stage", Words(STAGE), nullable=False),
    Column("message", Words(MESSAGE), nullable=False),
    Column("cause", Words(MESSAGE), nullable=False),
    Column("remedy", Words(MESSAGE), nullable=False),
    Column("acknowledged_by", Words(NAME), nullable=False, default=""),
    Column("acknowledged", Whole(64)),
    Column("over", Whole(64)),
    UniqueConstraint("server", "mac", "began", "stage"),
    sqlite_autoincrement=True,  # a number is never given to another trouble
)

audit = Table(
    "audit",
    METADATA,
    Column("id", Whole(32), primary_key=True, autoincrement=True),
    Column("moment", Whole(64), nullable=False, index=True),
    Column("who", Words(NAME), nullable=False),
    Column("address", Words(NAME), nullable=False),
    Column("action", Words(STAGE), nullable=False),
    Column("seats", Json(MAC), nullable=False),
    Column("detail", Words(LONG), nullable=False),
    Column("outcome", Words(LONG), nullable=False),
)

# One row at most: the plan that somebody made by hand.
plan = Table(
    "plan",
    METADATA,
    Column("id", Whole(32), primary_key=True, autoincrement=False),
    Column("lines", Json(NAME), nullable=False),
)

schedules = Table(
    "schedules",
    METADATA,
    Column("id", Whole(32), primary_key=True, autoincrement=True),
    Column("enabled", Boolean, nullable=False),
    Column("clock", Words(NAME), nullable=False),
    Column("ordered", Words(STAGE), nullable=False),
    Column("seats", Json(NAME), nullable=False),
    Column("days", Json(NAME), nullable=False),
    Column("words", Json(MESSAGE), nullable=False),
    Column("who", Words(NAME), nullable=False),
    sqlite_autoincrement=True,
)

Index("troubles_open", troubles.c.server, troubles.c.mac, sqlite_where=troubles.c.over.is_(None),
      postgresql_where=troubles.c.over.is_(None))  # fmt: skip


def scaled(figure: Figure, value: float | None) -> int | None:
    """Return a value as its column has it; NaN and infinity are unknown."""
    if value is None or not abs(value) < float("inf"):
        return None
    return round(value / figure.unit)


def unscaled(figure: Figure, value: Any) -> float | None:
    """Return the value of a column as it was."""
    if value is None:
        return None
    whole = float(value) * figure.unit
    return whole if figure.unit >= 1 else round(whole, 4)
