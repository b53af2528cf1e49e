"""What iPXE shows of its downloads: ``python -m tests.vm.secret IMAGES FOLDER FIRMWARE``.

A picture is taken when the kernel was sent, and the PC is switched off. The report is JSON.
"""

import asyncio
import json
import sys
from pathlib import Path

from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests import ROOT

SECONDS = 600
PICTURE = "loading.png"


def has_sent(seat: SeatReport, name: str) -> bool:
    return any(event.stage == "http" and f"/{name}" in event.message for event in seat.events)


async def lesson(room: Classroom) -> None:
    (report,) = room.seats.values()
    async with room.open(), asyncio.timeout(SECONDS):
        await room.power_on()
        while not has_sent(report, "vmlinuz"):
            assert not report.failure, report.failure
            assert not room.server_failure, room.server_failure
            await asyncio.sleep(0.02)
        assert report.power is not None
        await report.power.screen.picture(room.lesson.folder / PICTURE)


def main() -> int:
    images, folder = map(Path, sys.argv[1:3])
    wanted = Lesson(
        ROOT / "profiles/lab.yaml", images, folder, firmware=(sys.argv[3],), screen=True
    )
    room, failure = Classroom(wanted), ""
    try:
        asyncio.run(lesson(room))
    except (AssertionError, TimeoutError) as error:
        failure = f"{type(error).__name__} {error}".strip()
    sys.stdout.write(json.dumps({"failure": failure}) + "\n")
    return 1 if failure else 0


if __name__ == "__main__":
    network.run_isolated(main)
