"""A PC whose root image is an EROFS fills the space for its changes to the last byte, and goes on.

The report is JSON: the events, each with stage, message and data.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.lab import network
from netboot.lab.rig import Classroom
from tests.vm.guest import WANTED, run, until

GUEST = Path(__file__).parent / "userland/fill"
UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/run/netboot/busybox sh /usr/local/bin/fill
"""
STARTED = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
SECONDS = 900
LAST = "overlay:free"


def guest_records() -> Iterator[Record]:
    """Return the files that are added to the PC's root, which has nothing of this test."""
    yield cpio.file("userland/usr/local/bin/fill", GUEST.read_bytes(), executable=True)
    yield cpio.file("userland/etc/systemd/system/fill.service", UNIT.encode())
    yield cpio.file("userland/etc/systemd/system/started.service", STARTED.encode())
    yield cpio.symlink(f"{WANTED}/fill.service", "../fill.service")


def as_erofs(squashfs: Path, folder: Path) -> Path:
    """Return the same files as an EROFS, packed as netboot packs root images but for speed."""
    tree, image = folder / "tree", folder / "root.erofs"
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tree, squashfs], check=True, stdout=sys.stderr)
    command: list[str | Path] = ["mkfs.erofs", "-zlz4", "-C32768", "-x-1", image, tree]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return image


async def lesson(room: Classroom) -> None:
    async with room.open(), asyncio.timeout(SECONDS):
        await room.power_on()
        await until(room, lambda seat: {"load:ended", LAST} <= {each.stage for each in seat.events})


def body() -> int:
    image, folder, built = map(Path, sys.argv[1:4])
    root = f"{{kind: nbd, image: {as_erofs(image, folder)}}}"
    return run(lesson, guest_records(), root, folder, built, settings=tuple(sys.argv[4:]))


if __name__ == "__main__":
    network.run_isolated(body)
