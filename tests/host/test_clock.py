"""A clock that nobody sets: the wall clock of this machine may jump by years."""

import json
import logging
import os
from pathlib import Path

import pytest

from netboot.host import clock

NOW, YEAR = 1_790_000_000.0, 365 * 86400.0


class Machine:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "clock"
        self.wall, self.up, self.boot = NOW, 50.0, "first"

    def start(self) -> clock.Clock:
        return clock.load(self.path, lambda: self.wall, lambda: self.up, lambda: self.boot)

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds

    def reboot(self, wall: float) -> None:
        self.wall, self.up, self.boot = wall, 20.0, self.boot + " and another"


@pytest.mark.parametrize("jump", [50 * YEAR, -50 * YEAR, 3600.0, -3600.0])
def test_a_jump_of_the_wall_clock_is_none_of_this_one(tmp_path: Path, jump: float) -> None:
    machine = Machine(tmp_path)
    first = machine.start()
    machine.wait(10)
    machine.wall += jump
    assert first.now() == NOW + 10
    assert machine.start().now() == NOW + 10, "nor of the next server's"


def test_a_reboot_is_bridged_by_the_wall_clock(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.start()
    machine.reboot(NOW + 300)
    again = machine.start()
    assert again.now() == NOW + 300
    machine.wait(5)
    assert again.now() == NOW + 305


def test_without_a_battery_time_does_not_go_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.start()
    machine.reboot(wall=0.0)
    assert machine.start().now() == NOW


SPOILT = {
    "empty": "",
    "cut": "{",
    "a list": "[]",
    "a text": '{"offset": "x"}',
    "no number": '{"offset": NaN, "at": 1, "boot": ""}',
    "endless": '{"offset": 1, "at": Infinity, "boot": ""}',
    "too long": '{"offset": ' + "9" * 400 + ', "at": 1, "boot": ""}',
    "deep": "[" * 100_000,
    "newer": '{"version": 99, "offset": 1, "at": 1, "boot": ""}',
}


@pytest.mark.parametrize("kind", [*SPOILT, "a folder", "a pipe", "a loop"])
def test_a_spoilt_file_is_set_aside_and_the_clock_begins_again(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(tmp_path)
    if kind in SPOILT:
        machine.path.write_text(SPOILT[kind])
    elif kind == "a folder":
        machine.path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(machine.path)
    else:
        machine.path.symlink_to(machine.path)
    with caplog.at_level(logging.WARNING):
        assert machine.start().now() == NOW
    assert len(caplog.messages) == 1 and os.path.lexists(tmp_path / "clock.aside-1")
    assert json.loads(machine.path.read_text())["version"] == clock.VERSION


def test_the_save_before_takes_the_place_of_a_spoilt_file(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.start()
    machine.start()
    machine.path.write_text("")
    machine.wait(10)
    machine.wall += YEAR
    assert machine.start().now() == NOW + 10


def test_a_clock_of_before_had_no_digest_and_a_newline(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    row = {"version": 1, "boot": "first\n", "offset": NOW - 50 + 7, "at": NOW}
    machine.path.write_text(json.dumps(row) + "\n")
    assert machine.start().now() == NOW + 7


def test_a_clock_that_cannot_be_kept_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    machine = Machine(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        assert machine.start().now() == NOW
    assert "cannot keep the clock: File exists" in caplog.text


def test_the_kernel_counts() -> None:
    before = clock.since_boot()
    assert 0 < before <= clock.since_boot()
