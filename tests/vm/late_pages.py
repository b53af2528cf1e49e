"""A classroom whose page server is unreachable until its PC has tried to connect."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from netboot.boot.events import BootEvent
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport

PAGES_PORT = 10809


def nft(command: str) -> None:
    subprocess.run(["nft", command], check=True)


async def lesson(profile: Path, images: Path, folder: Path) -> Classroom:
    waiting = asyncio.Event()

    def listen(_: SeatReport, event: BootEvent) -> None:
        if "retry_seconds" in event.data:
            waiting.set()

    classroom = Classroom(Lesson(profile, images, folder, timeout=900), listen)
    async with classroom.open():
        nft("add table inet fault")
        nft("add chain inet fault input { type filter hook input priority 0; }")
        nft(f"add rule inet fault input tcp dport {PAGES_PORT} reject with tcp reset")
        await classroom.power_on()
        async with asyncio.timeout(900):
            await waiting.wait()
        nft("delete table inet fault")
        await classroom.wait()
    return classroom


def body() -> int:
    profile, images, folder = map(Path, sys.argv[1:4])
    classroom = asyncio.run(lesson(profile, images, folder))
    (report,) = classroom.seats.values()
    sys.stdout.write(json.dumps([event.stage for event in report.events]) + "\n")
    return 0 if classroom.ok else 1


if __name__ == "__main__":
    network.run_isolated(body)
