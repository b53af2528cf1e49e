"""A PC whose swap is too small for its load, and grows. The report is JSON.

Once the load has filled further areas, the server is killed and restarted, and each area must
reconnect. After the load the PC is watched until it has given back all further areas.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from netboot.boot.events import BootEvent
from netboot.images import build as images
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests import ROOT

AREA_BYTES = 72 << 20
SETTINGS = (f"swap.size={AREA_BYTES}", "swap.grow=2", "swap.encrypt=yes", "swap.capacity=216MiB")
AWAY_SECONDS = 2.0
TIMEOUT = 900.0


def stored_bytes() -> int:
    """Return the bytes of the page server's files, with deleted files that are still mapped."""
    found = os.statvfs(network.PRIVATE_TMPFS)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


async def lesson(folder: Path, image_folder: Path) -> dict[str, Any]:
    news = asyncio.Event()

    def listen(_: SeatReport, event: BootEvent) -> None:
        if event.stage.startswith(("agent:", "load:", "lease", "swap", "failed:")):
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {event.stage} {event.message}\n")
        news.set()

    load = images.build_load_image(images.default_cache())
    classroom = Classroom(
        Lesson(
            ROOT / "profiles/lab.yaml",
            image_folder,
            folder,
            memory=128,
            arguments="netboot.load=1.5",  # not as a lesson's load, which switches the PC off
            settings=SETTINGS,
            initrds=(load,),
        ),
        listen,
    )
    (report,) = classroom.seats.values()

    def count(stage: str) -> int:
        return sum(event.stage == stage for event in report.events)

    async def until(stage: str, times: int = 1) -> None:
        while count(stage) < times and not report.failure and not classroom.server_failure:
            news.clear()
            await news.wait()

    stored = {}
    async with classroom.open(), asyncio.timeout(TIMEOUT):
        await classroom.power_on()
        await until("load:written")
        stored["full"] = stored_bytes()
        areas = 1 + count("agent:grown")
        classroom.kill_server()
        await asyncio.sleep(AWAY_SECONDS)
        await classroom.start_server()
        await until("agent:reattached", areas)
        await until("load:verified")
        await until("agent:returned", areas - 1)
        given_back = areas - 1
        while not report.failure and given_back > sum(
            "given back" in event.message for event in report.events
        ):
            news.clear()
            await news.wait()
        stored["empty"] = stored_bytes()
        for _ in range(600):  # workers get the message a moment later
            if stored["empty"] < AREA_BYTES:
                break
            await asyncio.sleep(0.1)
            stored["empty"] = stored_bytes()
    events = [
        {"stage": each.stage, "message": each.message, "data": each.data} for each in report.events
    ]
    return {
        "failure": report.failure or classroom.server_failure,
        "stored": stored,
        "events": events,
    }


def body() -> int:
    folder, image_folder = (Path(word).resolve() for word in sys.argv[1:3])
    report = asyncio.run(lesson(folder, image_folder))
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if report["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(body)
