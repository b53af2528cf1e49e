"""What is given to the history comes back, over a restart, from both kinds of database."""

import asyncio
from dataclasses import replace

import pytest

from netboot.feed.records import Hardware, ServerRow, Trouble
from netboot.panel import ports
from netboot.panel.history import History
from netboot.panel.records import AuditEntry, Boot, Schedule, Step
from tests.panel.history.conftest import Make
from tests.panel.history.rig import (
    MAC,
    MIB,
    NOW,
    Clock,
    boot,
    eventually,
    mac_of,
    row,
    run,
    written,
)

SERVER = "alpha"
# What a PC may send: NUL, half a surrogate pair, SQL, an escape, other scripts.
NASTY = "a\0b\ud800'; DROP TABLE boots; --\x1b[31m %s :x ? \u202e\U0001f600"


def as_port(history: History) -> ports.History:
    """Let mypy see that the routes can use it."""
    return history


def test_boots_come_back_newest_first_and_survive_a_restart(make: Make) -> None:
    history = make()
    history.boot(SERVER, MAC, "pc01", boot(NOW - 200))
    history.boot(SERVER, MAC, "pc01", boot(NOW - 100, None, "unfinished"))
    written(history)
    history.boot(SERVER, MAC, "pc01", boot(NOW - 100, 41.5))
    history.boot(SERVER, mac_of(2), "pc02", boot(NOW))
    history.close()
    found = run(make().boots(MAC, 20))
    assert found == [boot(NOW - 100, 41.5), boot(NOW - 200)]
    assert len(run(make().boots(MAC, 1))) == 1


def test_a_minute_becomes_one_row(history: History, clock: Clock) -> None:
    for second in range(0, 60, 10):
        clock.now = NOW + second
        history.seat(SERVER, row(clock.now, some=10.0 + second))
    clock.now = NOW + 61
    eventually(lambda: run(history.samples(MAC, NOW, NOW + 60, 300)).rows)
    found = run(history.samples(MAC, NOW, NOW + 60, 300))
    assert found.columns == (
        *("when", "swap_used", "swap_size", "available", "memory_some", "memory_full"),
        *("io_some", "io_full", "read_rate", "write_rate", "load"),
    )
    pressure = (35.0, 17.5, 3.5, 1.25)
    expected = (NOW, 64 * MIB, 512 * MIB, 100 * MIB, *pressure, 40960, 20480, 0.75)
    assert len(found.rows) == 1
    assert found.rows[0] == pytest.approx(expected)


def test_a_seat_that_is_off_has_no_sample(history: History, clock: Clock) -> None:
    history.seat(SERVER, row(NOW - 3600, state="off"))
    clock.now = NOW + 61
    eventually(lambda: run(history.inventory()))
    written(history)
    assert run(history.samples(MAC, NOW - 86400, NOW + 60, 300)).rows == ()


def test_a_rate_counts_for_as_long_as_it_held(history: History, clock: Clock) -> None:
    busy = row(NOW)
    history.seat(SERVER, busy)
    clock.now = NOW + 15
    idle = replace(busy.pages, read_rate=0.0, write_rate=0.0)
    history.seat(SERVER, row(NOW + 15, pages=idle))
    clock.now = NOW + 70
    eventually(lambda: run(history.samples(MAC, NOW, NOW + 60, 300)).rows)
    table = run(history.samples(MAC, NOW, NOW + 60, 300))
    assert table.rows[0][table.columns.index("read_rate")] == 10240


def test_a_chart_shows_the_worst_minute_of_each_of_its_points(
    history: History, clock: Clock
) -> None:
    for minute in range(120):
        clock.now = NOW + 60 * minute
        history.seat(SERVER, row(clock.now, some=90.0 if minute == 17 else 1.0))
    clock.now += 60
    written(history)
    eventually(lambda: len(run(history.samples(MAC, NOW, NOW + 7199, 300)).rows) == 120)
    table = run(history.samples(MAC, NOW, NOW + 7199, 12))
    some = [each[table.columns.index("memory_some")] for each in table.rows]
    assert some == [1.0, 90.0] + 10 * [1.0]
    assert [each[0] for each in table.rows] == [NOW + 600 * index for index in range(12)]


def test_the_traffic_of_a_seat_with_two_servers_is_their_sum(
    history: History, clock: Clock
) -> None:
    for name in ("alpha", "beta"):
        history.seat(name, row(NOW, report=row(NOW).report if name == "alpha" else None))
    clock.now = NOW + 61
    eventually(lambda: run(history.samples(MAC, NOW, NOW + 60, 300)).rows)
    table = run(history.samples(MAC, NOW, NOW + 60, 300))
    values = dict(zip(table.columns, table.rows[0], strict=True))
    assert (values["read_rate"], values["load"]) == (81920, 0.75)
    assert [each.mac for each in run(history.inventory())] == [MAC]


def test_a_server_has_samples(history: History, clock: Clock) -> None:
    for second in range(3):
        clock.now = NOW + second
        history.server(
            SERVER, ServerRow(clock.now, cpu=0.25 * second, lag=0.002, disk=(900 * MIB, 1000 * MIB))
        )
    clock.now = NOW + 60
    eventually(lambda: run(history.server_samples(SERVER, NOW, NOW + 60, 300)).rows)
    table = run(history.server_samples(SERVER, NOW, NOW + 60, 300))
    values = dict(zip(table.columns, table.rows[0], strict=True))
    assert (values["cpu"], values["lag"], values["disk_free"]) == (0.25, 0.002, 900 * MIB)
    assert run(history.server_samples("another", NOW, NOW + 60, 300)).rows == ()


def test_a_trouble_is_told_acknowledged_and_over(history: History, clock: Clock) -> None:
    trouble = Trouble(NOW - 5, "failed:swap", "swap is away", "check the page server")
    history.seat(SERVER, row(NOW, trouble=trouble))
    written(history)
    (entry,) = run(history.troubles(all_of_them=False, limit=10))
    assert (entry.when, entry.seat, entry.name) == (NOW - 5, MAC, "pc01")
    assert (entry.stage, entry.message, entry.remedy, entry.over) == (
        *("failed:swap", "swap is away", "check the page server"),
        None,
    )
    seen = run(history.acknowledge(entry.id, "anna", NOW + 1))
    assert seen is not None
    assert (seen.acknowledged_by, seen.acknowledged_at) == ("anna", NOW + 1)
    assert run(history.acknowledge(entry.id, "bob", NOW + 2)) == seen
    assert run(history.acknowledge(10**30, "bob", NOW)) is None
    assert run(history.troubles(all_of_them=False, limit=10)) == []
    clock.now = NOW + 10
    history.seat(SERVER, row(NOW + 10))
    written(history)
    (entry,) = run(history.troubles(all_of_them=True, limit=10))
    assert entry.over == NOW + 10


def test_a_trouble_from_before_a_restart_stays_the_same_one(make: Make, clock: Clock) -> None:
    trouble = Trouble(NOW - 5, "failed:swap", "swap is away")
    first = make()
    first.seat(SERVER, row(NOW, trouble=trouble))
    first.close()
    second = make()
    second.seat(SERVER, row(NOW, trouble=trouble))
    written(second)
    (entry,) = run(second.troubles(all_of_them=False, limit=10))
    assert entry.over is None
    second.close()
    third = make()  # it ended while nobody listened
    third.seat(SERVER, row(NOW))
    written(third)
    assert run(third.troubles(all_of_them=False, limit=10)) == []


def test_another_trouble_ends_the_one_before_and_can_come_back(history: History) -> None:
    one, other = Trouble(NOW, "failed:swap", "a"), Trouble(NOW + 1, "failed:root", "b")
    for trouble in (one, other, one):
        history.seat(SERVER, row(NOW, trouble=trouble))
        written(history)
    (entry,) = run(history.troubles(all_of_them=False, limit=10))
    assert entry.stage == "failed:swap"
    history.gone(SERVER, MAC)
    written(history)
    assert run(history.troubles(all_of_them=False, limit=10)) == []


def test_a_server_has_troubles_too(history: History) -> None:
    history.trouble(SERVER, Trouble(NOW, "panel:away", "alpha is away"), "its cable is out")
    written(history)
    (entry,) = run(history.troubles(all_of_them=False, limit=10))
    assert (entry.seat, entry.name, entry.cause) == ("", SERVER, "its cable is out")


def test_the_inventory_tells_which_pcs_lack_memory(history: History, clock: Clock) -> None:
    for minute in range(100):
        clock.now = NOW + 60 * minute
        for index in (1, 2):
            some = 50.0 if index == 1 and minute < 20 else 0.0
            history.seat(SERVER, row(clock.now, mac_of(index), some=some))
    clock.now += 60
    eventually(lambda: run(history.inventory())[1:] and history.waiting == 0)
    eventually(lambda: run(history.inventory())[0].short_ratio == pytest.approx(0.2))
    short, well = run(history.inventory())
    assert (short.name, short.hardware.memory, short.image) == ("pc01", 512 * MIB, "")
    assert short.advice.startswith("waited for memory 20% of its time")
    assert (well.short_ratio, well.advice) == (0.0, "")
    assert well.last_seen == clock.now - 60


def test_a_server_that_starts_again_wipes_no_hardware(history: History, clock: Clock) -> None:
    history.seat(SERVER, row(NOW))
    eventually(lambda: bool(run(history.inventory())) and history.waiting == 0)
    (before,) = run(history.inventory())
    clock.now = NOW + 60
    bare = Hardware(memory=400 * MIB)  # of its report
    history.seat(SERVER, row(clock.now, name="anna", uuid="", hardware=bare))
    eventually(lambda: run(history.inventory())[0].name == "anna")
    (after,) = run(history.inventory())
    assert (after.hardware, after.uuid) == (before.hardware, before.uuid)


def test_the_room_s_boot_is_compared_with_the_one_before(history: History, clock: Clock) -> None:
    for index in range(10):
        history.boot(SERVER, mac_of(index), f"pc{index}", boot(NOW - 86400 + index, 30.0))
        history.boot(SERVER, mac_of(index), f"pc{index}", boot(NOW + index, 50.0 + index))
    history.boot(SERVER, mac_of(10), "pc10", boot(NOW, 20.0, "failed"))
    history.boot(SERVER, mac_of(11), "pc11", boot(NOW + 1, None, "unfinished"))
    history.boot(SERVER, mac_of(3), "pc3", boot(NOW + 5000, 30.0))  # one alone is no room
    written(history)
    clock.now = NOW + 30
    found = run(history.room_boot())
    assert (found.began, found.seats, found.done, found.failed, found.waiting) == (
        NOW,
        12,
        10,
        1,
        1,
    )
    assert [each.name for each in found.slowest] == ["pc9", "pc8", "pc7", "pc6", "pc5"]
    assert (found.slowest[0].seconds, found.slowest[0].stage) == (59.0, "swap")
    assert found.previous is not None
    assert (found.previous.seats, found.previous.seconds) == (10, 39.0)
    assert "54 s in the median of 10 PCs, 30 s the time before" in found.regression
    clock.now = NOW + 3600
    later = run(history.room_boot())
    assert (later.failed, later.waiting) == (2, 0)  # one was switched off
    assert [each.name for each in later.slowest] == ["pc9", "pc8", "pc7", "pc6", "pc5"]


def test_an_empty_history_answers(history: History) -> None:
    assert run(history.room_boot()).seats == 0
    assert run(history.boots(MAC, 5)) == []
    assert run(history.samples(MAC, 0, NOW, 300)).rows == ()
    assert run(history.inventory()) == []
    assert run(history.plan()) == ()
    assert run(history.numbers()) == {}
    assert run(history.remove_schedule(5)) is False


def test_plan_schedules_and_audit_come_back(make: Make) -> None:
    history = make()
    rows = (("pc1", "", "pc2"), ("pc3",))
    run(history.save_plan((("x",),)))
    run(history.save_plan(rows))
    given = Schedule(0, "poweroff", ("group:a", MAC), "17:00", (0, 4), True, "t", "i", "l", "anna")
    added = run(history.add_schedule(given))
    other = run(history.add_schedule(replace(given, enabled=False)))
    entry = AuditEntry(NOW, "anna", "10.0.0.5", "order:reboot", (MAC,), "detail", "refused")
    history.note(entry)
    history.note(replace(entry, when=NOW + 1, action="login"))
    history.close()
    history = make()
    assert run(history.plan()) == rows
    assert run(history.schedules()) == [added, other]
    assert [each.action for each in run(history.audit(10))] == ["login", "order:reboot"]
    assert replace(run(history.audit(10))[1], id=0) == entry
    assert run(history.remove_schedule(added.id)) is True
    assert run(history.schedules()) == [other]
    run(history.save_plan(()))
    assert run(history.plan()) == ()


def test_the_last_numbers_of_servers_come_back(make: Make) -> None:
    history = make()
    for number in range(100):
        history.number(SERVER, "run1", number)
    history.number("beta", "run2", 7)
    history.close()
    assert run(make().numbers()) == {SERVER: ("run1", 99), "beta": ("run2", 7)}


def test_whatever_a_pc_sends_is_stored_and_found(history: History, clock: Clock) -> None:
    trouble = Trouble(NOW, NASTY, NASTY * 100, NASTY)
    seat = row(NOW, mac=NASTY, name=NASTY, uuid=NASTY, image=NASTY, trouble=trouble)
    history.seat(NASTY, seat)
    history.boot(NASTY, NASTY, NASTY, Boot(NOW, NOW, "failed", 1.0, (Step(NASTY, 1.0, NASTY),)))
    history.note(AuditEntry(NOW, NASTY, NASTY, NASTY, (NASTY,), NASTY, NASTY))
    run(history.save_plan(((NASTY,),)))
    clock.now = NOW + 61
    written(history)
    eventually(lambda: run(history.samples(NASTY, NOW, NOW + 60, 5)).rows)
    expected = NASTY.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert run(history.boots(NASTY, 5))[0].stages[0].message == expected
    assert run(history.inventory())[0].name == expected
    assert run(history.troubles(all_of_them=True, limit=5))[0].remedy == expected
    assert run(history.audit(5))[0].detail == expected
    assert run(history.plan()) == ((expected,),)
    assert history.lost == 0


def test_numbers_without_sense_are_stored_as_far_as_possible(
    history: History, clock: Clock
) -> None:
    report = row(NOW).report
    assert report is not None
    report = replace(report, available=2**80, load=float("nan"), areas=((-1, 2**63),))
    history.seat(SERVER, row(NOW, report=report))
    history.seat(SERVER, row(1e300, mac_of(2)))
    clock.now = NOW + 61
    eventually(lambda: run(history.samples(MAC, NOW, NOW + 60, 5)).rows)
    for span in ((float("nan"), float("inf")), (-1e300, 1e300), (NOW, NOW - 5)):
        run(history.samples(MAC, *span, points=-7))
    assert len(run(history.boots(MAC, -5))) == 0
    assert history.lost == 0


def test_questions_and_changes_at_once_are_all_answered(history: History) -> None:
    async def many() -> list[object]:
        changes = [history.save_plan(((f"pc{index}",),)) for index in range(20)]
        questions = [history.inventory() for _ in range(20)]
        return await asyncio.gather(*changes, *questions)

    assert len(run(many())) == 40
    assert run(history.plan())
