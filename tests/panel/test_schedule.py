"""Orders at a time of the day: summer time, a panel that was off, clocks that jump."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.panel import schedule as module
from netboot.panel.ports import PortError
from netboot.panel.records import Order, RoomSeat, Schedule
from netboot.panel.schedule import Scheduler, due, local_zone, next_due, targets
from tests.panel.feeding import a_room, a_seat, mac_of

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_DAY = tuple(range(7))
OFF = Schedule(1, "poweroff", (), "17:00", EVERY_DAY)
ON = Schedule(2, "wake", (), "07:30", (0, 1, 2, 3, 4))


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def times(schedule: Schedule, begin: float, end: float, step: float = 20.0) -> list[str]:
    """Return when the orders of a schedule are given by a panel that looks every ``step`` seconds."""
    found, done = [], begin
    while done < end:
        now = done + step
        for when, _ in due([schedule], done, now, BERLIN):
            found.append(datetime.fromtimestamp(when, BERLIN).strftime("%m-%d %H:%M %z"))
        done = now
    return found


def test_an_order_is_due_once_on_each_of_its_days() -> None:
    week = times(ON, at("2026-11-23 00:00"), at("2026-11-30 00:00"))  # Monday to Sunday
    assert week == [f"11-{day} 07:30 +0100" for day in (23, 24, 25, 26, 27)]


def test_one_that_is_switched_off_is_never_due() -> None:
    off = replace(OFF, enabled=False)
    assert times(off, at("2026-11-23 00:00"), at("2026-11-25 00:00")) == []
    assert next_due([off], 0.0, BERLIN) is None


@pytest.mark.parametrize("text", ("", "24:00", "7:30", "17:60", "17.00", "١٧:٠٠", "17:00\n"))
def test_a_time_that_is_none_is_never_due(text: str) -> None:
    assert times(replace(OFF, at=text), at("2026-11-23 00:00"), at("2026-11-24 00:00")) == []


def test_in_the_hour_that_summer_time_leaves_out_an_order_comes_an_hour_later() -> None:
    night = replace(OFF, at="02:30")
    assert times(night, at("2026-03-28 12:00"), at("2026-03-30 12:00")) == [
        "03-29 03:30 +0200",
        "03-30 02:30 +0200",
    ]


def test_in_the_hour_that_comes_twice_an_order_is_given_the_first_time() -> None:
    night = replace(OFF, at="02:30")
    assert times(night, at("2026-10-24 12:00"), at("2026-10-26 12:00")) == [
        "10-25 02:30 +0200",
        "10-26 02:30 +0100",
    ]


@pytest.mark.parametrize(("late", "given"), ((1, True), (299, True), (300, False), (80000, False)))
def test_a_panel_that_was_off_makes_up_for_five_minutes(late: float, given: bool) -> None:
    when = at("2026-11-23 17:00")
    assert bool(due([OFF], when - 3600, when + late, BERLIN)) is given


def test_orders_of_the_same_moment_come_by_number() -> None:
    when = at("2026-11-23 17:00")
    later = replace(OFF, id=9, at="17:01")
    found = due([later, replace(OFF, id=3), OFF], when - 1, when + 61, BERLIN)
    assert [schedule.id for _, schedule in found] == [1, 3, 9]


def test_the_next_order_is_found_within_a_week() -> None:
    now = at("2026-11-27 12:00")  # a Friday
    assert next_due([ON], now, BERLIN) == at("2026-11-30 07:30")
    assert next_due([ON, OFF], now, BERLIN) == at("2026-11-27 17:00")
    monday = replace(ON, days=(0,))
    assert next_due([monday], at("2026-11-30 07:30"), BERLIN) == at("2026-12-07 07:30")


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
    st.times(),
    st.lists(st.floats(0.1, 290), min_size=1, max_size=60),
    st.sets(st.integers(0, 6)),
)
def test_however_often_a_panel_looks_an_order_is_given_once(
    begin: datetime, wall: object, steps: list[float], days: set[int]
) -> None:
    schedule = replace(OFF, at=f"{wall:%H:%M}", days=tuple(days))
    first = done = begin.replace(tzinfo=UTC).timestamp()
    given_at = []
    for step in steps:
        given_at += [when for when, _ in due([schedule], done, done + step, BERLIN)]
        done += step
    assert len(given_at) == len(set(given_at))
    expected = next_due([schedule], first, BERLIN)
    assert (given_at[0] if given_at else None) == (
        expected if expected is not None and expected <= done else None
    )


def seats() -> list[RoomSeat]:
    return [RoomSeat.of(row, "school") for row in a_room(6, 0.0)]


def test_an_order_is_for_seats_groups_or_all_that_are_named() -> None:
    room = [*seats(), RoomSeat.of(replace(a_seat(9, 0.0), named=False, groups=()), "school")]
    macs = [mac_of(number) for number in range(6)]
    assert targets(OFF, room) == tuple(macs)
    assert targets(replace(OFF, seats=("group:front",)), room) == tuple(macs[1::2])
    both = replace(OFF, seats=("group:front", mac_of(1), mac_of(9), mac_of(2)))
    assert set(targets(both, room)) == {*macs[1::2], mac_of(2), mac_of(9)}
    assert targets(replace(OFF, seats=("group:none", mac_of(77))), room) == ()


@dataclass
class Plans:
    """A history that has schedules alone."""

    all: Sequence[Schedule] = (OFF,)
    is_away: bool = False

    async def schedules(self) -> Sequence[Schedule]:
        if self.is_away:
            raise PortError("the database is away")
        return self.all


@dataclass
class Panel:
    """A panel with a clock that is set by hand, which can be started again."""

    kept: Path
    now: float
    plans: Plans = field(default_factory=Plans)
    given: list[Order] = field(default_factory=list)
    seats: Sequence[RoomSeat] = field(default_factory=lambda: seats())

    def start(self) -> "Panel":
        self.scheduler = Scheduler(
            self.plans.schedules,
            lambda: self.seats,
            lambda _, order: self.given.append(order),
            self.kept,
            zone=lambda: BERLIN,
            clock=lambda: self.now,
        )
        return self

    def look(self, now: float) -> float:
        self.now = now
        return asyncio.run(self.scheduler.look())


FIVE = at("2026-11-23 17:00")


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    return Panel(tmp_path / "schedules.done", FIVE - 100).start()


def test_an_order_is_given_for_the_seats_of_that_moment_in_the_name_of_its_schedule(
    panel: Panel,
) -> None:
    panel.look(FIVE - 1)
    assert panel.given == []
    panel.look(FIVE)
    panel.look(FIVE + 15)
    (order,) = panel.given
    assert (order.order, order.by, len(order.seats)) == ("poweroff", "schedule 1", 6)


def test_the_panel_sleeps_until_the_order_but_looks_for_new_ones(panel: Panel) -> None:
    assert panel.look(FIVE - 3600) == module.LOOK_SECONDS
    assert panel.look(FIVE - 4) == pytest.approx(4.01)
    panel.plans.all = ()
    assert panel.look(FIVE - 3) == module.LOOK_SECONDS


def test_a_panel_that_starts_again_gives_no_order_twice(panel: Panel) -> None:
    panel.look(FIVE + 1)
    panel.start()
    panel.look(FIVE + 20)
    assert len(panel.given) == 1


def test_a_panel_that_was_off_at_the_time_gives_a_late_order_or_none(panel: Panel) -> None:
    panel.look(FIVE - 60)
    panel.now = FIVE + 200
    panel.start().look(FIVE + 200)
    assert len(panel.given) == 1
    panel.now = FIVE + 86400 + 301
    panel.start().look(FIVE + 86400 + 301)
    assert len(panel.given) == 1


def test_a_panel_that_never_ran_gives_no_order_of_the_past(panel: Panel) -> None:
    panel.now = FIVE + 10
    panel.start().look(FIVE + 11)
    assert panel.given == []


def test_a_clock_that_is_set_back_gives_no_order_twice(panel: Panel) -> None:
    for now in (FIVE + 1, FIVE - 3600, FIVE + 1, FIVE + 60):
        panel.look(now)
    assert len(panel.given) == 1


def test_a_clock_of_the_future_that_is_mended_is_no_end_of_all_orders(panel: Panel) -> None:
    panel.look(FIVE + 30 * 86400 + 7200)
    panel.look(FIVE - 10)
    panel.look(FIVE + 1)
    assert len(panel.given) == 1


def test_an_order_waits_for_a_server_that_starts_at_the_same_time(panel: Panel) -> None:
    room, panel.seats = panel.seats, ()
    assert panel.look(FIVE + 1) == module.EMPTY_SECONDS
    panel.seats = room
    panel.look(FIVE + 30)
    assert len(panel.given[0].seats) == 6


def test_a_database_that_is_away_delays_an_order(panel: Panel) -> None:
    panel.plans.is_away = True
    with pytest.raises(PortError):
        panel.look(FIVE + 1)
    panel.plans.is_away = False
    panel.look(FIVE + 120)
    assert len(panel.given) == 1


@pytest.mark.parametrize(
    "content",
    (
        *(b"", b"5\n", b"[" * 9999, b"\xff", b"null", b'{"version": 1}'),
        b'{"version": 1, "given_until": NaN}',
        b'{"version": 1, "given_until": 1e300}',
        b'{"version": 1, "given_until": [5]}',
        b'{"version": 2, "given_until": 5}',
    ),
)
def test_a_file_that_is_broken_is_none(panel: Panel, content: bytes) -> None:
    panel.kept.write_bytes(content)
    panel.start().look(FIVE + 1)
    assert len(panel.given) == 1


def test_a_folder_that_cannot_be_written_stops_no_order(
    panel: Panel, caplog: pytest.LogCaptureFixture
) -> None:
    panel.kept = panel.kept / "none" / "file"
    panel.start().look(FIVE + 1)
    assert len(panel.given) == 1 and "cannot be written" in caplog.text


def test_the_task_goes_on_while_the_database_is_away(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.01)
    panel.plans.is_away = True
    panel.now = FIVE + 1

    async def work() -> None:
        task = asyncio.create_task(panel.scheduler.run())
        await asyncio.sleep(0.05)
        panel.plans.is_away = False
        async with asyncio.timeout(60):
            while not panel.given:
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(work())


def test_the_zone_of_this_machine_has_an_offset() -> None:
    assert isinstance(datetime.now(local_zone()).utcoffset(), timedelta)
