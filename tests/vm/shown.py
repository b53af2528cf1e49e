"""A PC with a screen whose server dies under it: ``python -m tests.vm.shown IMAGES FOLDER ROOTS IMAGE RAM``.

The page is shown, all of the server is killed for 20 s or until the screen says so, the screen is looked
at until it is as before, then the power button is pressed. Pictures go to FOLDER; the result is JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netboot.errors import AnswerError
from netboot.lab import network
from netboot.lab.pictures import SHOWN
from netboot.lab.rig import Classroom, Lesson, SeatReport
from netboot.lab.screen import Screen
from tests import ROOT
from tests.support.picture import share_of_colour
from tests.vm.guest import switch_off

AWAY_SECONDS = 20
TOLD_SECONDS = 90.0
# The strip of rootfs/screen/usr/lib/netboot/watch: 96 of 768 lines, and its letters are black.
STRIP, STRIP_SHARE = "fff3c4", 0.08
TIMEOUT = 900.0


async def lesson(room: Classroom, folder: Path) -> dict[str, Any]:
    (report,) = room.seats.values()
    result: dict[str, Any] = {}
    async with room.open():
        await room.power_on()
        await room.wait()
        if report.power is not None and room.ok:
            try:
                result |= await _look(room, report, folder)
                result["off_seconds"] = await switch_off(report)
            except AnswerError as error:
                report.failure = str(error)
    result["failure"] = room.server_failure or report.failure
    result["stages"] = [[event.stage, event.message, event.data] for event in report.events]
    return result


async def _look(room: Classroom, report: SeatReport, folder: Path) -> dict[str, float | None]:
    """Return the seconds until the screen says that the server is away, and until it no longer does."""
    assert report.power is not None
    screen = report.power.screen
    before, away, after = (folder / f"{name}.png" for name in ("before", "away", "after"))
    await screen.still_picture(before)
    began = time.monotonic()
    room.kill_server()

    def told() -> bool:
        return share_of_colour(away, STRIP) > STRIP_SHARE

    seconds = {"told_seconds": await _until(screen, away, told)}
    await asyncio.sleep(max(0, began + AWAY_SECONDS - time.monotonic()))
    await room.start_server()
    same = await _until(screen, after, lambda: after.read_bytes() == before.read_bytes())
    return seconds | {"same_seconds": same}


async def _until(screen: Screen, picture: Path, done: Callable[[], bool]) -> float | None:
    """Take pictures until one is right; return the seconds, or None if none is."""
    began = time.monotonic()
    while (seconds := time.monotonic() - began) < TOLD_SECONDS:
        await screen.picture(picture)
        if done():
            return round(seconds, 1)
        await asyncio.sleep(0.5)
    return None


def main() -> int:
    images, folder, roots, image, memory = sys.argv[1:]
    wanted = Lesson(
        ROOT / "profiles/lab.yaml",
        Path(images),
        Path(folder),
        memory=int(memory),
        until=SHOWN,
        screen=True,
        timeout=TIMEOUT,
        settings=("root.kind=image", f"root.image={image}"),
        roots=Path(roots),
    )
    result = asyncio.run(lesson(Classroom(wanted), Path(folder)))
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(main)
