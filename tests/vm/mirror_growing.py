"""A PC whose swap is a mirror over two servers, and grows. The report is JSON.

Once the load is in both areas, one server is killed. When it is back, both areas are copied to it. Then the
other one is killed, so that pages are read from the copies. After the load the PC is watched until it has
given back the further area.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from netboot.boot.events import BootEvent
from netboot.images import build as images
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests import ROOT
from tests.vm.growing import TIMEOUT, stored_bytes

AREA_BYTES = 72 << 20
LOAD = 1.0  # times the RAM: fills the first area and half of the second one
SETTINGS = (
    *(f"swap.size={AREA_BYTES}", "swap.grow=1", "swap.capacity=144MiB"),
    *(network.servers_setting(2), "swap.layout=mirror"),
)
AWAY_SECONDS = 10.0


async def lesson(folder: Path, image_folder: Path) -> dict[str, Any]:
    news = asyncio.Event()

    def listen(_: SeatReport, event: BootEvent) -> None:
        if event.stage.startswith(("agent:", "load:", "lease", "swap", "failed:")):
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {event.stage} {event.message}\n")
        news.set()

    classroom = Classroom(
        Lesson(
            ROOT / "profiles/lab.yaml",
            image_folder,
            folder,
            memory=128,
            arguments=f"netboot.load={LOAD}",  # does not switch the PC off
            settings=SETTINGS,
            initrds=(images.build_load_image(images.default_cache()),),
            servers=2,
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
        classroom.kill_server(2)
        await until("agent:degraded", areas)
        await classroom.start_server(2)
        await until("agent:resynced", areas)
        classroom.kill_server(1)  # which takes the PC's words
        await asyncio.sleep(AWAY_SECONDS)
        await classroom.start_server(1)
        await until("load:verified")
        await until("agent:returned", areas - 1)
        for _ in range(600):  # both leases end a moment later
            stored["empty"] = stored_bytes()
            if stored["empty"] < AREA_BYTES:
                break
            await asyncio.sleep(0.1)
    events = [
        {"stage": each.stage, "message": each.message, "data": each.data} for each in report.events
    ]
    return {
        "failure": report.failure or classroom.server_failure,
        "areas": areas,
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
