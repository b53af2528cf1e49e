"""A kiosk whose home is on an NFS server: ``python -m tests.vm.homes IMAGES FOLDER ROOTS IMAGE there|never``.

there: the page is shown, the NFS server is killed until the screen says so, and comes back. never: there is
no such server. Pictures go to FOLDER; the result is JSON.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netboot.lab import network
from netboot.lab.pictures import SHOWN
from netboot.lab.rig import Classroom, Lesson, SeatReport
from netboot.lab.screen import Screen
from tests import ROOT
from tests.support.nfs_server import NfsServer
from tests.support.picture import share_of_colour
from tests.vm.shown import STRIP, STRIP_SHARE

MEMORY = 256
NAME = "/srv/homes"
SECONDS = 60.0
TIMEOUT = 900.0


async def lesson(room: Classroom, folder: Path, nfs: NfsServer | None) -> dict[str, Any]:
    (report,) = room.seats.values()
    result: dict[str, Any] = {}
    if nfs is not None:
        nfs.start()
    async with room.open():
        await room.power_on()
        await room.wait()
        if report.power is not None and room.ok:
            screen = report.power.screen
            if nfs is None:
                result["told"] = await _strip(screen, folder / "never.png", shown=True)
            else:
                nfs.kill()
                result["away"] = await _event(report, "home:away")
                result["told"] = await _strip(screen, folder / "away.png", shown=True)
                nfs.start()
                result["back"] = await _event(report, "home:back")
                result["gone"] = await _strip(screen, folder / "back.png", shown=False)
    result["failure"] = room.server_failure or report.failure
    result["events"] = [[event.stage, event.message] for event in report.events]
    return result


async def _strip(screen: Screen, picture: Path, *, shown: bool) -> bool:
    """Take pictures until the strip is on them, or is not; return False if that does not happen."""

    async def is_so() -> bool:
        await screen.picture(picture)
        return (share_of_colour(picture, STRIP) > STRIP_SHARE) is shown

    return await _until(is_so)


async def _event(report: SeatReport, stage: str) -> bool:
    async def is_so() -> bool:
        return any(event.stage == stage for event in report.events)

    return await _until(is_so)


async def _until(is_so: Callable[[], Any]) -> bool:
    end = asyncio.get_running_loop().time() + SECONDS
    while not await is_so():
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(1)
    return True


def main() -> int:
    images, folder, roots, image, kind = sys.argv[1:]
    place = Path(folder)
    export = place / "homes"
    export.mkdir()
    export.chmod(0o1777)
    wanted = Lesson(
        ROOT / "profiles/lab.yaml",
        Path(images),
        place,
        memory=MEMORY,
        until=SHOWN,
        screen=True,
        timeout=TIMEOUT,
        settings=(
            *("root.kind=image", f"root.image={image}"),
            f"seat.home=nfs:{network.SERVER.ip}:{NAME}",
        ),
        roots=Path(roots),
    )
    nfs = NfsServer(place / "nfs", export, NAME) if kind == "there" else None
    try:
        result = asyncio.run(lesson(Classroom(wanted), place, nfs))
    finally:
        if nfs is not None:
            nfs.kill()
    result["homes"] = [
        [
            each.name,
            oct(each.stat().st_mode),
            each.stat().st_uid,
            sorted(p.name for p in each.iterdir()),
        ]
        for each in export.iterdir()
    ]
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(main)
