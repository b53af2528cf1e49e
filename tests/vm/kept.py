"""A PC writes files to /persist and to a home, reboots while its server restarts, and finds them again.

The report is JSON: the events, each with stage, message and data.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.lab import network
from netboot.lab.rig import Classroom, SeatReport
from tests.vm.guest import WANTED, run, until

GUEST = Path(__file__).parent / "userland/keep"
UNIT = """[Unit]
After=multi-user.target netboot-userland.service
[Service]
ExecStart=/run/netboot/busybox sh /usr/local/bin/keep
"""
# Of e2fsprogs, which the tests' root image has not.
PROGRAMS = ("/sbin/mke2fs", "/sbin/e2fsck")
LIBRARIES = ("libext2fs.so.2", "libcom_err.so.2", "libe2p.so.2")
LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu"
RESETS = ("-action", "reboot=reset")  # not the end of QEMU
SECONDS = 900
HASH = "$6$vwemE1GhKa.cyT8A$xAzWahK08BakUtal4Rg3p8nEv31ChtRhgKmqVRsCXDP0hsrZK5LXcgY9XWQzJhsmLfIQq4"
HOMES = ("seat.home=seat", f"seat.accounts.anna={HASH}")


def guest_records() -> Iterator[Record]:
    """Return the files that are added to the PC's root, which has nothing of this test."""
    yield cpio.file("userland/usr/local/bin/keep", GUEST.read_bytes(), executable=True)
    yield cpio.file("userland/etc/systemd/system/keep.service", UNIT.encode())
    yield cpio.symlink(f"{WANTED}/keep.service", "../keep.service")
    yield cpio.file("userland/etc/mke2fs.conf", Path("/etc/mke2fs.conf").read_bytes())
    for path in PROGRAMS:
        yield cpio.file(f"userland/usr{path}", Path(path).read_bytes(), executable=True)
    for name in LIBRARIES:
        content = Path("/", LIBRARY_FOLDER, name).read_bytes()
        yield cpio.file(f"userland/{LIBRARY_FOLDER}/{name}", content, executable=True)


def has_written(count: int) -> Callable[[SeatReport], bool]:
    return lambda seat: sum(each.stage == "load:written" for each in seat.events) >= count


async def lesson(room: Classroom) -> None:
    async with room.open(), asyncio.timeout(SECONDS):
        await room.power_on()
        await until(room, has_written(1))
        room.kill_server()
        await room.start_server()
        await until(room, has_written(2))


def body() -> int:
    image, folder, built = map(Path, sys.argv[1:4])
    root = f"{{kind: nbd, image: {image}, persist: 64MiB}}"
    more = {"devices": RESETS, "settings": (*HOMES, *sys.argv[4:])}
    return run(lesson, guest_records(), root, folder, built, **more)


if __name__ == "__main__":
    network.run_isolated(body)
