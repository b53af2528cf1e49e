"""A PC with a screen whose server dies under it: ``python -m tests.vm.shown IMAGES FOLDER IMAGE RAM``.

The page is shown, all of the server is killed for 20 s, the page is looked at again, then the power
button is pressed. Pictures go to FOLDER; the result is JSON.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from netboot.errors import AnswerError
from netboot.lab import network
from netboot.lab.pictures import SHOWN
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests import ROOT

AWAY_SECONDS = 20
OFF_SECONDS = 60.0
TIMEOUT = 300.0


async def lesson(room: Classroom, folder: Path) -> dict[str, Any]:
    (report,) = room.seats.values()
    result: dict[str, Any] = {"off_seconds": None}
    async with room.open():
        await room.power_on()
        await room.wait()
        if report.power is not None and room.ok:
            try:
                await _look(room, report, folder)
                result["off_seconds"] = await _switch_off(report)
            except AnswerError as error:
                report.failure = str(error)
    result["failure"] = room.server_failure or report.failure
    result["stages"] = [[event.stage, event.message, event.data] for event in report.events]
    return result


async def _look(room: Classroom, report: SeatReport, folder: Path) -> None:
    assert report.power is not None
    await report.power.screen.still_picture(folder / "before.png")
    room.kill_server()
    await asyncio.sleep(AWAY_SECONDS)
    await report.power.screen.picture(folder / "away.png")
    await room.start_server()
    await report.power.screen.still_picture(folder / "after.png")


async def _switch_off(report: SeatReport) -> float | None:
    """Press the power button; return the seconds until the PC is off, None if it stays on."""
    assert report.power is not None
    began = time.monotonic()
    await report.power.screen.power_button()
    try:
        async with asyncio.timeout(OFF_SECONDS):
            await report.power.process.wait()
    except TimeoutError:
        return None
    return time.monotonic() - began


def main() -> int:
    images, folder, image, memory = sys.argv[1:]
    wanted = Lesson(
        ROOT / "profiles/lab.yaml",
        Path(images),
        Path(folder),
        memory=int(memory),
        until=SHOWN,
        screen=True,
        timeout=TIMEOUT,
        settings=("root.kind=image", f"root.image={image}"),
    )
    result = asyncio.run(lesson(Classroom(wanted), Path(folder)))
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(main)
