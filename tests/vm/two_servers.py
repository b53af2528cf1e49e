"""The first of two boot servers is killed while one PC boots and two others swap."""

import asyncio
import json
import sys
from pathlib import Path

from netboot.boot.events import BootEvent
from netboot.images import build as images
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests import ROOT

RUNNING, BOOTING, USUAL = (1, 2), 3, 4
LOAD = 0.6  # of the RAM, as in room.py
BOOT_SECONDS, LOAD_SECONDS = 240.0, 140.0
SERVERS = f"boot.servers={network.server_address(1).ip},{network.server_address(2).ip}"
MIRROR = (network.servers_setting(2), "swap.layout=mirror", "swap.size=1x")


async def hold(lesson: Lesson) -> Classroom:
    """Boot a PC as usual, then another one whose first server is killed after its script."""
    news = asyncio.Event()

    def heard(_seat: SeatReport, _event: BootEvent) -> None:
        news.set()

    room = Classroom(lesson, heard)

    async def until(stage: str, *numbers: int) -> None:
        seats = [each for each in room.seats.values() if each.machine.number in numbers]
        while not all(each.first(stage) or each.failure for each in seats):
            assert not room.server_failure, room.server_failure
            news.clear()
            await news.wait()

    async with room.open():
        async with asyncio.timeout(BOOT_SECONDS):
            await room.power_on(*RUNNING)
            await until("load:start", *RUNNING)
            await room.power_on(USUAL)
            await until("userland", USUAL)
            await room.power_on(BOOTING)
            await until("http", BOOTING)
            room.kill_server()
            await until("userland", BOOTING)
        await room.wait()
    return room


def body() -> int:
    built, folder = map(Path, sys.argv[1:3])
    lesson = Lesson(
        ROOT / "profiles/lab.yaml",
        built,
        folder,
        clients=4,
        memory=128,
        load=LOAD,
        timeout=LOAD_SECONDS,
        settings=(SERVERS, *MIRROR),
        initrds=(images.build_load_image(images.default_cache()),),
        servers=2,
        boots=2,
    )
    room = asyncio.run(hold(lesson))
    found = []
    for report in room.seats.values():
        stages = {event.stage: event for event in report.events}
        userland, verified = stages.get("userland"), stages.get("load:verified")
        found.append(
            {
                "number": report.machine.number,
                "failure": report.failure,
                "userland": userland and report.seconds(userland),
                "wrong": verified and verified.data["wrong"],
                "addresses": sorted(
                    {
                        e.data["address"]
                        for e in report.events
                        if e.stage == "dhcp" and "address" in e.data
                    }
                ),
            }
        )
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if room.ok else 1


if __name__ == "__main__":
    network.run_isolated(body)
