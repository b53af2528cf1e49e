"""Boot one PC whose root image gets the files of a test, and report its events.

The report is JSON: ``failure``, and the events, each with stage, message and data.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.boot.events import BootEvent
from netboot.images import initramfs
from netboot.lab.rig import Classroom, Lesson, SeatReport

OFF_SECONDS = 60.0
WANTED = "userland/etc/systemd/system/multi-user.target.wants"


def run(
    act: Callable[[Classroom], Coroutine[Any, Any, None]],
    records: Iterable[Record],
    root: str,
    folder: Path,
    built: Path,
    **settings: Any,
) -> int:
    """Let ``act`` play with the PC; print the report, and return the exit status.

    ``root`` is the profile's root section, ``settings`` are more of the lesson's.
    """
    load, profile = folder / "guest.img", folder / "room.yaml"
    load.write_bytes(initramfs.compressed(cpio.archive(records)))
    profile.write_text(f"root: {root}\nswap: {{size: 1x}}\n")

    classroom = Classroom(
        Lesson(profile, built, folder, memory=192, initrds=(load,), **settings), tell
    )
    failure = ""
    try:
        asyncio.run(act(classroom))
    except (AssertionError, TimeoutError) as error:
        failure = f"{type(error).__name__} {error}".strip()
    (report,) = classroom.seats.values()
    events = [[event.stage, event.message, event.data] for event in report.events]
    sys.stdout.write(json.dumps({"failure": failure, "events": events}) + "\n")
    return 1 if failure else 0


def tell(seat: SeatReport, event: BootEvent) -> None:
    """Print an event of a seat, for who watches a test."""
    sys.stderr.write(f"{seat.seconds(event):7.2f} {event.stage} {event.message} {event.data}\n")


async def switch_off(report: SeatReport) -> float | None:
    """Press the power button; return the seconds until the PC is off, None if it stays on."""
    assert report.power is not None
    await report.power.screen.power_button()
    return await until_off(report)


async def until_off(report: SeatReport) -> float | None:
    """Return the seconds until the PC is off, None if it stays on."""
    assert report.power is not None
    began = time.monotonic()
    try:
        async with asyncio.timeout(OFF_SECONDS):
            await report.power.process.wait()
    except TimeoutError:
        return None
    return time.monotonic() - began


async def until(room: Classroom, condition: Callable[[SeatReport], bool]) -> None:
    """Wait for the PC. Raises AssertionError if it or the server fails meanwhile."""
    (seat,) = room.seats.values()
    while not condition(seat):
        assert not seat.failure, seat.failure
        assert not room.server_failure, room.server_failure
        await asyncio.sleep(0.2)
