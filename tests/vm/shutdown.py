"""Two PCs with a systemd userland whose root and swap are on the network, ended with swap in use.

Both lose their server once before. One reboots, the other is switched off. The report gives the
seconds from the order to QEMU's end.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.boot.events import BootEvent
from netboot.images import build as images
from netboot.images import compiler, initramfs
from netboot.images.cache import Cache
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests.images.test_cache import Steps

GUEST = Path(__file__).parent / "userland"
WANTED = "userland/etc/systemd/system/multi-user.target.wants"
LOAD_UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/run/netboot/busybox sh /usr/local/bin/load
"""
# It would ask for an address, and remove the port's own for that, and again at the end.
NETWORKD_CONFIG = "[Match]\nName=*\n[Network]\nDHCP=yes\n"
BOOT_SECONDS, LOAD_SECONDS, END_SECONDS = 600, 600, 100


def guest_records(cache: Path) -> Iterator[Record]:
    """Return the files that are added to the PCs' root, which has nothing of this test."""
    files = [initramfs.sources() / "lab/memload.c"]
    store = Cache(cache)
    with store.alone(Steps()):
        memload = initramfs.compiled("memload", files, compiler.native(), store)
    yield cpio.file("userland/usr/local/bin/memload", memload, executable=True)
    yield cpio.file("userland/usr/local/bin/load", (GUEST / "load").read_bytes(), executable=True)
    yield cpio.file("userland/etc/systemd/system/load.service", LOAD_UNIT.encode())
    yield cpio.symlink(f"{WANTED}/load.service", "../load.service")
    yield cpio.file("userland/etc/systemd/network/50-all.network", NETWORKD_CONFIG.encode())
    yield cpio.symlink(
        f"{WANTED}/systemd-networkd.service", "/lib/systemd/system/systemd-networkd.service"
    )


async def lesson(room: Classroom) -> dict[str, Any]:
    """Boot, kill the server and restart it, and wait for the end of all PCs."""
    seats = list(room.seats.values())

    async def until(stage: str, count: int, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while any(_count(seat, stage) < count for seat in seats):
                assert not room.server_failure, room.server_failure
                await asyncio.sleep(0.2)

    failure, ends = "", [0.0] * len(seats)
    async with room.open():
        await room.power_on()
        try:
            await until("userland", 1, BOOT_SECONDS)
            await until("load:written", 1, LOAD_SECONDS)
            room.kill_server()
            await room.start_server()
            await until("agent:reattached", 2, LOAD_SECONDS)  # root and swap
            await until("load:ended", 1, LOAD_SECONDS)
            async with asyncio.timeout(END_SECONDS):
                ends = await asyncio.gather(*map(_end, seats))
        except (AssertionError, TimeoutError) as error:
            failure = f"{type(error).__name__} {error}".strip()
    return {
        "failure": failure,
        "seats": [
            {
                "stages": [[seat.seconds(e), e.stage, e.message, e.data] for e in seat.events],
                "order": next((e.message for e in seat.events if e.stage == "load:ended"), ""),
                "seconds": round(
                    end
                    - max((e.when for e in seat.events if e.stage == "load:ended"), default=end),
                    2,
                ),
            }
            for seat, end in zip(seats, ends, strict=True)
        ],
    }


def _count(seat: SeatReport, stage: str) -> int:
    return sum(event.stage == stage for event in seat.events)


async def _end(seat: SeatReport) -> float:
    assert seat.power is not None, "not switched on"
    await seat.power.process.wait()
    return time.time()


def body() -> int:
    image, folder, built = map(Path, sys.argv[1:4])
    load = folder / "load.img"
    records = guest_records(images.default_cache())
    load.write_bytes(initramfs.compressed(cpio.archive(records)))
    profile = folder / "room.yaml"
    # Without zswap, which would keep pages of zeros.
    profile.write_text(
        f"root: {{kind: nbd, image: {image}}}\nswap: {{size: 3x, zswap: {{enabled: no}}}}\n"
        "dhcp: {lease_time: 1m}\n"
    )

    def tell(seat: SeatReport, event: BootEvent) -> None:
        sys.stderr.write(
            f"{seat.seconds(event):7.2f} {seat.machine.number} {event.stage} {event.message}\n"
        )

    memory = int(sys.argv[4])
    evening = Lesson(profile, built, folder, clients=2, memory=memory, initrds=(load,))
    report = asyncio.run(lesson(Classroom(evening, tell)))
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if report["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(body)
