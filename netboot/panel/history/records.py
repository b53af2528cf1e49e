"""The records that are written into the history: one for each fact, in their order."""

from dataclasses import dataclass

from netboot.feed.records import SeatRow, Trouble
from netboot.panel.records import AuditEntry, Boot

Values = tuple[int | None, ...]  # of a sample, as its columns have them


@dataclass(frozen=True, slots=True)
class SeatKnown:
    """A PC as a server describes it."""

    server: str
    row: SeatRow


@dataclass(frozen=True, slots=True)
class SeatMinute:
    """A seat in the minute ``at``. ``row``: its last one. ``values``: None if it was off."""

    server: str
    row: SeatRow
    at: int
    values: Values | None


@dataclass(frozen=True, slots=True)
class ServerMinute:
    """A server in the minute ``at``."""

    server: str
    at: int
    values: Values


@dataclass(frozen=True, slots=True)
class BootDone:
    """A boot that ended, or one that did not yet. The next record of the same boot replaces it."""

    server: str
    mac: str
    name: str
    boot: Boot


@dataclass(frozen=True, slots=True)
class TroubleNow:
    """The trouble of a seat from now on, None for none; ``mac`` is empty if it is the server's own."""

    server: str
    mac: str
    name: str
    when: float
    trouble: Trouble | None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Numbered:
    """All events of a server up to ``number`` of its ``run`` are in the history."""

    server: str
    run: str
    number: int


Record = SeatKnown | SeatMinute | ServerMinute | BootDone | TroubleNow | AuditEntry | Numbered
