"""Rows of servers become samples of a minute, and troubles that begin or end. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from netboot.feed.judging import SHORT_PERCENT
from netboot.feed.records import SeatRow, ServerRow, Trouble
from netboot.panel.history.records import Record, SeatKnown, SeatMinute, ServerMinute, TroubleNow
from netboot.panel.history.records import Values as Stored
from netboot.panel.history.schema import SEATS, SERVERS, Figure, scaled

MINUTE = 60
MOST_SEATS = 20_000  # of all servers; a feed has 4,096 at most
SAMPLED = frozenset(("booting", "waiting", "running", "short"))
RATES = ("read_rate", "write_rate")

Values = Sequence[float | None]


class Sums:
    """Values of the figures of one kind of samples within one minute."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self._figures = figures
        self._values: list[float | None] = [None] * len(figures)
        self._counts = [0] * len(figures)

    def add(self, values: Values) -> None:
        """Add a value to each figure but those with None."""
        for index, (figure, value) in enumerate(zip(self._figures, values, strict=True)):
            if value is None:
                continue
            before = self._values[index]
            self._counts[index] += 1
            if before is None:
                self._values[index] = value
            elif figure.minute == "max":
                self._values[index] = max(before, value)
            elif figure.minute == "min":
                self._values[index] = min(before, value)
            else:
                self._values[index] = before + value

    def stored(self) -> Stored:
        """Return the minute's values as the database has them."""
        means = [figure.minute == "mean" for figure in self._figures]
        return tuple(
            scaled(figure, value / count if mean and value is not None else value)
            for figure, value, count, mean in zip(
                self._figures, self._values, self._counts, means, strict=True
            )
        )


@dataclass
class _Seat:
    """A seat in the minute ``at``. A rate holds from one row to the next: ``moved`` is its integral."""

    row: SeatRow
    at: int
    since: float
    sums: Sums = field(default_factory=lambda: Sums(SEATS.figures))
    sampled: bool = False
    began: float = 0.0
    moved: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def advance(self, now: float) -> None:
        """Let the rates of the last row count until ``now``."""
        if self.row.state in SAMPLED and now > self.since:
            for index, rate in enumerate((self.row.pages.read_rate, self.row.pages.write_rate)):
                self.moved[index] += rate * (now - self.since)
        self.since = now

    def ended(self, now: float) -> Stored | None:
        """Return the values of the minute, None if the seat was off."""
        end = min(now, float((self.at + 1) * MINUTE))
        self.advance(end)
        if not self.sampled:
            return None
        span = max(1.0, end - self.began)
        rates = dict(zip(RATES, (moved / span for moved in self.moved), strict=True))
        self.sums.add([rates.get(figure.name) for figure in SEATS.figures])
        return self.sums.stored()


class Minutes:
    """All seats and servers in the current minute. ``now`` is seconds since the epoch.

    A minute ends with the first call in a later one. Not thread-safe.
    """

    def __init__(self) -> None:
        self._seats: dict[tuple[str, str], _Seat] = {}
        self._fresh: set[tuple[str, str]] = set()  # seats with a row in this minute
        self._servers: dict[str, tuple[int, Sums]] = {}

    def seat(self, server: str, row: SeatRow, now: float) -> Iterator[Record]:
        """Take a row; yield what is to be written at once."""
        key = server, row.mac
        seat, at = self._seats.get(key), int(now // MINUTE)
        before = None if seat is None else seat.row
        if seat is None:
            if len(self._seats) >= MOST_SEATS:
                return
            seat = self._seats[key] = _Seat(row, at, now, began=now)
        elif seat.at != at:
            yield from self._seat_ended(key, now)
            seat = self._seats[key]
        is_new_report = row.report is not None and (
            before is None or before.report is None or before.report.when != row.report.when
        )
        seat.advance(now)
        seat.row = row
        self._fresh.add(key)
        if row.state in SAMPLED:
            seat.sampled = seat.sampled or is_new_report or row.pages.connections > 0
            if is_new_report:
                seat.sums.add(_values(row))
        if row.seen and (before is None or _identity(before) != _identity(row) or not before.seen):
            yield SeatKnown(server, row)
        # The database may have troubles of before a restart, so the first row always tells.
        if before is None or _key(before.trouble) != _key(row.trouble):
            yield TroubleNow(server, row.mac, row.name, now, row.trouble)

    def gone(self, server: str, mac: str, now: float) -> Iterator[Record]:
        """Forget a seat; yield the end of its trouble."""
        seat = self._seats.pop((server, mac), None)
        self._fresh.discard((server, mac))
        if seat is not None and seat.row.trouble is not None:
            yield TroubleNow(server, mac, seat.row.name, now, None)

    def server(self, name: str, row: ServerRow, now: float) -> Iterator[Record]:
        """Take a server's figures; yield the minute that ended before them."""
        at = int(now // MINUTE)
        if name not in self._servers:
            self._servers[name] = at, Sums(SERVERS.figures)
        elif self._servers[name][0] != at:
            yield self._server_ended(name)
            self._servers[name] = at, Sums(SERVERS.figures)
        self._servers[name][1].add(
            [
                row.disk[0] if each.name == "disk_free" else getattr(row, each.name)
                for each in SERVERS.figures
            ]
        )

    def ended(self, now: float, *, all_of_them: bool = False) -> Iterator[Record]:
        """Yield the samples of minutes that are over, or of the current one as well."""
        at = int(now // MINUTE)
        for name, (minute, _) in list(self._servers.items()):
            if minute != at or all_of_them:
                yield self._server_ended(name)
                del self._servers[name]
        for key in [each for each in self._fresh if all_of_them or self._seats[each].at != at]:
            yield from self._seat_ended(key, now)

    def _seat_ended(self, key: tuple[str, str], now: float) -> Iterator[Record]:
        """Begin a minute of a seat; yield the one before if a row came in it."""
        seat = self._seats[key]
        if key in self._fresh and seat.row.seen:
            yield SeatMinute(key[0], seat.row, seat.at, seat.ended(now))
        self._fresh.discard(key)
        at = int(now // MINUTE)
        begin = float(at * MINUTE)
        self._seats[key] = _Seat(seat.row, at, begin, began=begin)

    def _server_ended(self, name: str) -> ServerMinute:
        at, sums = self._servers[name]
        return ServerMinute(name, at, sums.stored())


def _values(row: SeatRow) -> list[float | None]:
    """Return a report's values in the order of the figures. Rates come at the minute's end."""
    report = row.report
    assert report is not None, "the caller has looked"
    pressure = report.pressure
    values: dict[str, float] = {
        "swap_used": report.swap_used,
        "swap_size": report.swap_size,
        "available": report.available,
        "memory_some": pressure.memory_some,
        "memory_full": pressure.memory_full,
        "io_some": pressure.io_some,
        "io_full": pressure.io_full,
        "load": report.load,
        "reports": 1,
        "short": 1 if pressure.memory_some >= SHORT_PERCENT else 0,
    }
    return [values.get(figure.name) for figure in SEATS.figures]


def _identity(row: SeatRow) -> tuple[object, ...]:
    return row.name, row.named, row.uuid, row.hardware, row.image


def _key(trouble: Trouble | None) -> tuple[float, str] | None:
    return None if trouble is None else (trouble.when, trouble.stage)
