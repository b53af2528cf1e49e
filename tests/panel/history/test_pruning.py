"""Hours are made of minutes, and old, many or large rows go. A month of a room is small."""

import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, Table, func, insert, select

from netboot.feed.records import Trouble
from netboot.panel.history import Limits, charts, pruning, reading
from netboot.panel.history.database import Database
from netboot.panel.history.records import (
    BootDone,
    Record,
    SeatMinute,
    ServerMinute,
    TroubleNow,
    Values,
)
from netboot.panel.history.schema import SEATS, SERVERS, boots, seats, troubles
from netboot.panel.history.upkeep import Upkeep
from netboot.panel.history.writing import Writing
from netboot.panel.records import AuditEntry, Boot, Samples, Step
from tests.panel.history.rig import MAC, NOW, Clock, boot, mac_of, row

BEGIN = int(NOW // 60)  # the minute of NOW
DAY = 1440
LIMITS = Limits()


class Store:
    """A database without the thread: what a test writes is there at once."""

    def __init__(self, url: str, folder: Path, clock: Clock, limits: Limits = LIMITS) -> None:
        self.database = Database(url, folder)
        self.database.prepare()
        self.limits, self.clock = limits, clock
        self.writing = Writing(clock)
        self.upkeep = Upkeep(self.database, limits, clock)

    def write(self, *records: Record) -> None:
        self.database.write(partial(self.writing.write, records=records))

    def count(self, table: object) -> int:
        query = select(func.count()).select_from(table)  # type: ignore[arg-type]
        return self.database.read(lambda connection: connection.scalar(query)) or 0

    def chart(self, mac: str, days: float, points: int = 300) -> Samples:
        now = self.clock.now
        span = (now - days * 86400, now)
        return self.database.read(
            lambda connection: charts.samples(
                connection, charts.of_seat(mac), span, points, self.limits, now
            )
        )

    def size(self) -> int:
        return self.database.write(self.database.size)


@pytest.fixture
def store(url: str, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    made = Store(url, tmp_path, clock)
    yield made
    made.database.close_writer()
    made.database.close_readers()


def sample(
    at: int, mac: str = MAC, *, used: int = 1000, some: int = 0, short: int = 0
) -> SeatMinute:
    """A minute: KiB of swap in use, hundredths of a percent, reports that told of little memory."""
    values = (used, 2**20, 5000, some, 0, 0, 0, 30, 20, 75, 6, short)
    return SeatMinute("alpha", row(at * 60.0, mac), at, values)


def test_an_hour_has_the_worst_of_its_minutes_and_the_mean_of_its_traffic(
    store: Store, clock: Clock
) -> None:
    store.write(*(sample(BEGIN + each, some=100 * each, used=each) for each in range(60)))
    clock.now = NOW + 25 * 3600 + 5
    store.upkeep.run()
    assert (store.count(SEATS.minutes), store.count(SEATS.hours)) == (0, 1)
    table = store.chart(MAC, 2)
    values = dict(zip(table.columns, table.rows[0], strict=True))
    assert (values["memory_some"], values["swap_used"]) == (59.0, 59 * 1024)
    assert (values["read_rate"], values["load"]) == (30 * 1024, 0.75)


def test_hours_are_made_once_and_a_chart_shows_each_minute_once(store: Store, clock: Clock) -> None:
    for hour in range(30):
        store.write(*(sample(BEGIN + 60 * hour + each) for each in range(60)))
        clock.now = NOW + 3600 * (hour + 1) + 1
        store.upkeep.run()
        store.upkeep.run()
    assert store.count(SEATS.hours) == 30
    assert store.count(SEATS.minutes) == 24 * 60
    table = store.chart(MAC, 30 / 24, points=2000)
    assert len(table.rows) == 6 + 24 * 60
    times = [each[0] or 0.0 for each in table.rows]
    assert times == sorted(set(times))
    assert times[0] == NOW
    assert times[5] - times[4] == 3600


def test_hours_are_made_again_after_a_clock_that_was_ahead(store: Store, clock: Clock) -> None:
    clock.now = NOW + 20 * 86400
    store.upkeep.run()
    clock.now = NOW
    for hour in range(26):
        store.write(*(sample(BEGIN + 60 * hour + each) for each in range(60)))
        clock.now = NOW + 3600 * (hour + 1) + 1
        store.upkeep.run()
    assert store.count(SEATS.hours) == 26
    assert len(store.chart(MAC, 30 / 24, points=2000).rows) == 2 + 24 * 60


def test_short_of_memory_is_known_from_hours_and_minutes(store: Store, clock: Clock) -> None:
    store.write(*(sample(BEGIN + each, short=6 if each < 30 else 0) for each in range(90)))
    clock.now = NOW + 90 * 60
    store.upkeep.run()
    assert store.count(SEATS.hours) == 1
    (found,) = store.database.read(partial(reading.inventory, now=clock.now))
    assert found.short_ratio == pytest.approx(30 / 90)


def test_what_is_older_than_the_limit_goes(store: Store, clock: Clock) -> None:
    old, new = NOW - 31 * 86400, NOW - 29 * 86400
    for when in (old, new):
        store.write(
            sample(int(when // 60)),
            BootDone("alpha", MAC, "pc01", boot(when)),
            TroubleNow("alpha", MAC, "pc01", when, Trouble(when, "failed:swap", "m")),
            AuditEntry(when, "anna", "", "login"),
            SeatMinute("alpha", row(when, mac_of(int(when) % 97), named=False), BEGIN, None),
        )
    store.upkeep.run()
    counts = [store.count(each) for each in (SEATS.hours, boots, troubles, seats)]
    assert counts == [1, 1, 1, 2]


def test_a_pc_in_a_circle_does_not_push_out_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "MOST_TROUBLES_OF_SEAT", 20)
    monkeypatch.setattr(pruning, "MOST_BOOTS_OF_SEAT", 30)
    monkeypatch.setattr(pruning, "MOST_STRANGERS", 5)
    store.write(BootDone("alpha", mac_of(2), "pc02", boot(NOW - 5000)))
    for index in range(100):
        when = NOW - 1000 + index
        stranger = row(when, mac_of(1000 + index), named=False)
        store.write(
            BootDone("alpha", MAC, "pc01", boot(when)),
            TroubleNow("alpha", MAC, "pc01", when, Trouble(when, "failed:swap", "m")),
            SeatMinute("alpha", stranger, BEGIN, None),
        )
    store.upkeep.run()
    assert [store.count(each) for each in (boots, troubles, seats)] == [31, 20, 5]


def test_a_history_that_is_too_large_loses_its_oldest_days(
    url: str, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(url, tmp_path, clock, Limits(megabytes=0.5))
    try:
        for day in range(20, 0, -1):
            when = NOW - day * 86400
            store.write(
                *(AuditEntry(when + each, "anna", "", "x", detail="d" * 500) for each in range(100))
            )
        before = store.size()
        assert before > 700_000
        store.upkeep.run()
        assert 200_000 < store.size() <= 500_000
        newest = store.database.read(partial(reading.audit_entries, limit=1))
        assert newest[0].when == NOW - 86400 + 99
        (line,) = [each.getMessage() for each in caplog.records]
        assert "days fill 0.5 MB, expected 30 days" in line
        store.upkeep.run()
        if not url:  # the file has no free pages
            pages = partial(Connection.exec_driver_sql, statement="PRAGMA page_count")
            assert (
                store.database.write(lambda each: pages(each).scalar_one()) * 4096 == store.size()
            )
    finally:
        store.database.close_writer()
        store.database.close_readers()


@pytest.mark.system
@pytest.mark.timeout(240)
def test_a_month_of_a_room_is_small(store: Store, url: str) -> None:
    """60 seats, 30 days: a sample of each minute of the last day and of each hour, boots, troubles."""
    chance = random.Random(18)
    store.write(*(SeatMinute("alpha", row(NOW, mac_of(each)), 0, None) for each in range(60)))
    fill(store, url, SEATS.hours, range(BEGIN - 30 * DAY, BEGIN - DAY, 60), chance)
    fill(store, url, SEATS.minutes, range(BEGIN - DAY, BEGIN), chance)
    for at in range(BEGIN - DAY, BEGIN, 10):
        store.write(ServerMinute("alpha", at, server_figures(chance)))
    for day in range(30):
        store.write(*events_of_a_day(NOW - 86400 * (day + 1), chance))
    store.upkeep.run()
    size = store.size()
    assert len(store.chart(mac_of(7), 30).rows) > 200
    sys.stdout.write(f"30 days of 60 seats have {size / 1e6:.1f} MB\n")
    assert size < 40_000_000


def figures(chance: random.Random) -> Values:
    """Figures as a PC that swaps has them: all columns are full."""
    used, available = chance.randrange(2**21), chance.randrange(2**19)
    pressures = sorted(chance.randrange(5000) for _ in range(4))
    rates = chance.randrange(20_000), chance.randrange(20_000)
    return (
        used,
        2**21,
        available,
        *pressures,
        *rates,
        chance.randrange(900),
        6,
        chance.randrange(7),
    )


def server_figures(chance: random.Random) -> Values:
    return tuple(chance.randrange(2**16) for _ in SERVERS.figures)


def fill(store: Store, url: str, table: Table, times: range, chance: random.Random) -> None:
    """Write a sample of each of 60 seats for each time, in the order of time as a server does."""
    rows = ((owner, at, *figures(chance)) for at in times for owner in range(1, 61))
    if url:
        copy = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table.name))
        with psycopg.connect(url) as connection, connection.cursor().copy(copy) as copying:
            for each in rows:
                copying.write_row(each)
        return
    names = ["owner", "at", *(each.name for each in SEATS.figures)]
    values = [dict(zip(names, each, strict=True)) for each in rows]
    store.database.write(lambda connection: connection.execute(insert(table), values))


def events_of_a_day(when: float, chance: random.Random) -> Iterator[Record]:
    """Three boots of each PC with 25 stages, ten troubles, twenty orders."""
    steps = tuple(
        Step(f"init:stage{each}", each * 1.5, "a message of a stage") for each in range(25)
    )
    for hour in (8, 10, 13):
        for index in range(60):
            began = when + hour * 3600 + chance.random() * 60
            done = Boot(began, began + 40, "running", 40.0, steps, "kiosk")
            yield BootDone("alpha", mac_of(index), f"pc{index}", done)
    for index in range(10):
        trouble = Trouble(when + index * 1000, "failed:swap", "swap is away: " + "x" * 80, "look")
        yield TroubleNow("alpha", mac_of(index), f"pc{index}", when, trouble)
    entry = AuditEntry(when, "anna", "10.0.0.5", "order:wake", tuple(map(mac_of, range(60))))
    yield from (replace(entry, when=when + index) for index in range(20))
