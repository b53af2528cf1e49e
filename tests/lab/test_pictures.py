"""Which pictures a lesson leaves, and what is said if one is doubtful."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from netboot.boot.events import BootEvent
from netboot.errors import AnswerError
from netboot.lab import pictures
from netboot.lab.machine import KINDS, Machine, Power
from netboot.lab.rig import Classroom, Lesson, SeatReport

PICTURE = b"P6\n640 480\n255\n"


@dataclass
class FakeScreen:
    """A screen whose picture is always the same. It may be ``off``, or move."""

    off: bool = False
    still: bool = True

    async def still_picture(self, path: Path) -> bool:
        if self.off:
            raise AnswerError("screendump: the PC is switched off")
        path.write_bytes(PICTURE)
        return self.still


class FakeClassroom:
    """PCs that need no time for their lesson."""

    def __init__(self, lesson: Lesson, *screens: FakeScreen) -> None:
        self.lesson = lesson
        self.seats: dict[str, SeatReport] = {}
        for number, screen in enumerate(screens, 1):
            machine = Machine(number, "bios", 256, lesson.folder)
            power = Power(cast(Any, None), cast(Any, None), cast(Any, screen))
            self.seats[machine.mac] = SeatReport(machine, power=power)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    async def power_on(self) -> None:
        pass

    async def wait(self) -> None:
        pass


def lesson_of(folder: Path, until: str = "userland") -> Lesson:
    return Lesson(folder, folder, folder, until=until, screen=True)


def take(room: FakeClassroom, target: Path) -> tuple[list[SeatReport], list[str]]:
    told: list[str] = []
    work = pictures.photograph(cast(Classroom, room), target, lambda _, text: told.append(text))
    asyncio.run(work)
    return list(room.seats.values()), told


def test_several_pcs_have_a_file_each(tmp_path: Path) -> None:
    room = FakeClassroom(lesson_of(tmp_path), FakeScreen(), FakeScreen())
    reports, told = take(room, tmp_path / "page.ppm")
    assert [report.picture for report in reports] == [
        tmp_path / "page-1.ppm",
        tmp_path / "page-2.ppm",
    ]
    assert told == [f"640 x 480 pixels, {report.picture}" for report in reports]
    assert not any(report.doubt for report in reports)
    assert (tmp_path / "page-2.ppm").read_bytes() == PICTURE
    assert reports[0].as_json()["picture"] == str(tmp_path / "page-1.ppm")


def test_one_pc_has_the_file_that_was_named(tmp_path: Path) -> None:
    target = tmp_path / "page.ppm"
    target.write_bytes(b"an older picture")
    target.chmod(0o600)
    take(FakeClassroom(lesson_of(tmp_path), FakeScreen()), target)
    assert target.read_bytes() == PICTURE
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_pc_that_is_off_has_no_picture_and_says_why(tmp_path: Path) -> None:
    room = FakeClassroom(lesson_of(tmp_path), FakeScreen(off=True))
    (report,), told = take(room, tmp_path / "page.ppm")
    assert report.picture is None and not (tmp_path / "page.ppm").exists()
    assert told == [report.doubt] == ["no picture: screendump: the PC is switched off"]


def test_a_screen_that_moves_is_told(tmp_path: Path) -> None:
    room = FakeClassroom(lesson_of(tmp_path), FakeScreen(still=False))
    (report,), _ = take(room, tmp_path / "page.ppm")
    assert report.picture is not None and "still changed after 30 s" in report.doubt


@pytest.mark.parametrize("shown", [True, False])
def test_a_picture_without_the_beacon_is_doubtful(tmp_path: Path, shown: bool) -> None:
    room = FakeClassroom(lesson_of(tmp_path, pictures.SHOWN), FakeScreen())
    for report in room.seats.values():
        report.events += [BootEvent(1.0, report.machine.mac, pictures.SHOWN, "")] * shown
    (report,), told = take(room, tmp_path / "page.ppm")
    assert report.picture is not None
    assert bool(report.doubt) == (not shown)
    assert ("screen:shown was not reported" in told[0]) == (not shown)


def test_only_a_pc_with_a_screen_has_devices_for_one(tmp_path: Path) -> None:
    for name in KINDS:
        plain, shown = (
            Machine(1, name, 256, tmp_path, medium=tmp_path, screen=screen).command()
            for screen in (False, True)
        )
        assert not any("usb-tablet" in word for word in plain)
        assert any("usb-tablet" in word for word in shown)
        assert not any("graphics=off" in word for word in shown)
