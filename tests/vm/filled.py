"""A PC whose root image is an EROFS fills the space for its changes to the last byte, and goes on.

The report is JSON: the events, each with stage, message and data.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.boot.events import BootEvent
from netboot.images import initramfs
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport

GUEST = Path(__file__).parent / "userland/fill"
WANTED = "userland/etc/systemd/system/multi-user.target.wants"
UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/run/netboot/busybox sh /usr/local/bin/fill
"""
STARTED = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
SECONDS = 380
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
    (seat,) = room.seats.values()
    async with room.open(), asyncio.timeout(SECONDS):
        await room.power_on()
        while not {"load:ended", LAST} <= {event.stage for event in seat.events}:
            assert not seat.failure, seat.failure
            assert not room.server_failure, room.server_failure
            await asyncio.sleep(0.2)


def body() -> int:
    image, folder, built = map(Path, sys.argv[1:4])
    load, profile = folder / "fill.img", folder / "room.yaml"
    load.write_bytes(initramfs.compressed(cpio.archive(guest_records())))
    root = as_erofs(image, folder)
    profile.write_text(f"root: {{kind: nbd, image: {root}}}\nswap: {{size: 1x}}\n")

    def tell(seat: SeatReport, event: BootEvent) -> None:
        sys.stderr.write(f"{seat.seconds(event):7.2f} {event.stage} {event.message}\n")

    evening = Lesson(
        profile, built, folder, memory=192, initrds=(load,), settings=tuple(sys.argv[4:])
    )
    classroom = Classroom(evening, tell)
    failure = ""
    try:
        asyncio.run(lesson(classroom))
    except (AssertionError, TimeoutError) as error:
        failure = f"{type(error).__name__} {error}".strip()
    (report,) = classroom.seats.values()
    events = [[event.stage, event.message, event.data] for event in report.events]
    sys.stdout.write(json.dumps({"failure": failure, "events": events}) + "\n")
    return 1 if failure else 0


if __name__ == "__main__":
    network.run_isolated(body)
