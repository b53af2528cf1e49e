"""The first of two boot servers dies: ``two_boot_servers ROOT FOLDER IMAGES``.

PC 1 runs, and reads its root image over and over. PC 2 fetches its kernel at that moment. The report
is JSON: the events of both PCs, each with its seconds since that moment, its stage and its message.
"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from netboot.lab import network
from netboot.lab.network import BRIDGE, SERVER, server_address, servers_setting
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests.vm.guest import tell
from tests.vm.versions import READ, guest

BOTH = f"{SERVER.ip},{server_address(2).ip}"
SECONDS = 900
READS_AFTERWARDS = 3
KERNEL = "vmlinuz"
# PC 2 then needs a second or two for the initramfs, which an idle machine sends in 0.1 s. Nothing is dropped.
WIRE = "root tbf rate 50mbit burst 32kbit latency 400ms"


class Failure(Exception):
    """Raised if a PC or the server that is left fails."""


async def until(room: Classroom, done: Any) -> None:
    while not done():
        for seat in room.seats.values():
            if seat.failure:
                raise Failure(f"pc{seat.machine.number}: {seat.failure}")
        if room.server_failure:
            raise Failure(room.server_failure)
        await asyncio.sleep(0.1)


def count(seat: SeatReport, stage: str, after: float = 0.0) -> int:
    return sum(each.stage == stage and each.when > after for each in seat.events)


def slow_down(seat: SeatReport) -> None:
    subprocess.run(["tc", "qdisc", "add", "dev", seat.machine.tap, *WIRE.split()], check=True)


async def lesson(room: Classroom) -> float:
    """Return the time at which the first server died."""
    one, two = room.seats.values()
    async with room.open(), asyncio.timeout(SECONDS):
        await room.power_on(1)
        await until(room, lambda: count(one, READ) >= 1)
        await room.power_on(2)
        slow_down(two)
        # Before iPXE has all of the initramfs.
        await until(room, lambda: any(KERNEL in str(each.data) for each in two.events))
        room.kill_server()
        # The whole machine, not the program alone: nothing refuses a connection.
        network.ip("address", "del", str(SERVER), "dev", BRIDGE)
        died = time.time()
        await until(room, lambda: count(two, "userland", died) >= 1)
        await until(room, lambda: count(one, READ, died) >= READS_AFTERWARDS)
    return died


def body() -> int:
    image, folder, built = map(Path, sys.argv[1:4])
    load, profile = folder / "guest.img", folder / "room.yaml"
    load.write_bytes(guest())
    profile.write_text(
        f"boot: {{servers: [{BOTH}]}}\nroot: {{kind: nbd, image: {image}}}\n"
        "swap: {size: 1x, layout: mirror, servers: ["
        f"{servers_setting(2).partition('=')[2]}]}}\n"
    )
    room = Classroom(
        Lesson(
            profile,
            built,
            folder,
            clients=2,
            memory=192,
            dhcp="proxy",
            servers=2,
            boots=2,
            initrds=(load,),
        ),
        tell,
    )
    failure, died = "", 0.0
    try:
        died = asyncio.run(lesson(room))
    except (Failure, TimeoutError) as error:
        failure = f"{type(error).__name__} {error}".strip()
    seats = [
        [[each.when - died, each.stage, each.message] for each in seat.events]
        for seat in room.seats.values()
    ]
    sys.stdout.write(json.dumps({"failure": failure, "seats": seats}) + "\n")
    return 1 if failure else 0


if __name__ == "__main__":
    network.run_isolated(body)
