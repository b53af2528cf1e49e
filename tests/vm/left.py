"""An agent is killed and leaves its connections to the kernel; another one starts with its token.

So it is if an agent ends between the handshake and swapon. The report is JSON.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from netboot.boot import cpio
from netboot.boot.events import BootEvent
from netboot.images import initramfs
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests import ROOT

HOOK = Path(__file__).parent / "userland/left"
TIMEOUT = 900.0


async def lesson(folder: Path, image_folder: Path) -> dict[str, Any]:
    news = asyncio.Event()

    def listen(_: SeatReport, event: BootEvent) -> None:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {event.stage} {event.message}\n")
        news.set()

    hook = cpio.file("userland/etc/netboot.d/45-left", HOOK.read_bytes(), executable=True)
    (extra := folder / "left.img").write_bytes(initramfs.compressed(cpio.archive([hook])))
    classroom = Classroom(
        Lesson(ROOT / "profiles/lab.yaml", image_folder, folder, memory=128, initrds=(extra,)),
        listen,
    )
    (report,) = classroom.seats.values()
    async with classroom.open(), asyncio.timeout(TIMEOUT):
        await classroom.power_on()
        while not report.failure and not any(e.stage == "left:attached" for e in report.events):
            news.clear()
            await news.wait()
    events = [
        {"stage": each.stage, "message": each.message, "data": each.data} for each in report.events
    ]
    return {"failure": report.failure or classroom.server_failure, "events": events}


def body() -> int:
    folder, image_folder = (Path(word).resolve() for word in sys.argv[1:3])
    report = asyncio.run(lesson(folder, image_folder))
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if report["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(body)
