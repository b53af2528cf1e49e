"""The record of the versions that seats run: what it keeps, for how long, and for whom."""

import stat
from pathlib import Path

import pytest

from netboot.roots import uses
from netboot.roots.uses import FORGET_SECONDS, SAVE_SECONDS, USES_FILE, Uses, read_uses

PC, OTHER = "52:54:00:12:34:56", "52:54:00:12:34:57"
OLD, NEW = "a" * 16, "b" * 16


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def attach(record: Uses, mac: str, short: str) -> None:
    record.attached(mac, short, lambda: f"kiosk@{short[:2]}")


def test_a_seat_runs_the_version_that_it_attached_last(tmp_path: Path, clock: Clock) -> None:
    record = Uses(tmp_path, clock)
    assert read_uses(tmp_path) is None and not (tmp_path / USES_FILE).exists()
    record.begin()
    assert read_uses(tmp_path) == {}
    for mac, short in ((PC, OLD), (OTHER, OLD), (OTHER, NEW), (PC, OLD)):
        attach(record, mac, short)
    assert read_uses(tmp_path) == {OLD: (PC,), NEW: (OTHER,)}
    use = record.of(OTHER)
    assert use is not None and (use.label, use.short, use.seen) == ("kiosk@bb", NEW, clock.now)
    attach(record, PC, NEW)
    assert read_uses(tmp_path) == {NEW: (PC, OTHER)}, "nobody runs the old one"
    assert stat.S_IMODE((tmp_path / USES_FILE).stat().st_mode) == 0o600
    assert Uses(tmp_path, clock).of(OTHER) == use, "the next server knows it"


def test_a_seat_that_was_not_heard_for_a_week_is_forgotten(tmp_path: Path, clock: Clock) -> None:
    record = Uses(tmp_path, clock)
    attach(record, PC, OLD)
    attach(record, OTHER, OLD)
    for _ in range(2):
        clock.now += FORGET_SECONDS - 1
        record.heard([OTHER, "52:54:00:00:00:01"])
        record.forget()
    assert read_uses(tmp_path) == {OLD: (OTHER,)} and record.of(PC) is None
    after = Uses(tmp_path, clock)
    clock.now += 2 * FORGET_SECONDS
    assert after.of(OTHER) is not None, "not before it had time to come back"
    attach(after, OTHER, OLD)
    after.forget()
    assert read_uses(tmp_path) == {OLD: (OTHER,)}


def test_times_alone_are_saved_once_an_hour(tmp_path: Path, clock: Clock) -> None:
    record = Uses(tmp_path, clock)
    attach(record, PC, OLD)
    change = record.keeper.change
    for _ in range(10):
        clock.now += SAVE_SECONDS / 11
        attach(record, PC, OLD)
        record.heard([PC])
    assert record.keeper.change == change
    clock.now += SAVE_SECONDS
    record.heard([PC])
    assert record.keeper.change == change + 1
    found = Uses(tmp_path, clock).of(PC)
    assert found is not None and found.seen == clock.now


def test_made_up_seats_take_no_more_than_their_room(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses, "MAX_SEATS", 3)
    record = Uses(None, clock)
    for number in range(6):
        clock.now += 1
        record.heard([PC])
        attach(record, PC if not number else f"02:00:00:00:00:{number:02x}", OLD)
    assert record.of(PC) is not None and record.of("02:00:00:00:00:05") is not None
    assert record.of("02:00:00:00:00:01") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seats": 3}', '{"seats": {"a": []}}', "\0"])
def test_a_damaged_record_is_set_aside_and_prunes_nothing(
    tmp_path: Path, clock: Clock, content: str
) -> None:
    (tmp_path / USES_FILE).write_text(content)
    assert read_uses(tmp_path) is None
    record = Uses(tmp_path, clock)
    attach(record, PC, OLD)
    assert read_uses(tmp_path) == {OLD: (PC,)}


def test_a_full_disk_keeps_no_seat_waiting(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "file"
    record = Uses(folder, clock)
    folder.write_text("no folder")  # so it cannot be written
    attach(record, PC, OLD)
    assert record.of(PC) is not None
    assert read_uses(folder) is None


def test_two_servers_of_a_machine_are_read_together(tmp_path: Path, clock: Clock) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    attach(Uses(one, clock), PC, OLD)
    assert read_uses(one, two) == {OLD: (PC,)}
    attach(Uses(two, clock), OTHER, OLD)
    assert read_uses(one, two) == {OLD: (PC, OTHER)}
    (two / USES_FILE).write_text("damaged")
    assert read_uses(one, two) is None, "so nothing is removed"
