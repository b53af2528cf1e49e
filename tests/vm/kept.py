"""A PC writes a file to /persist, reboots while its server restarts, and finds the file again.

The report is JSON: the events, each with stage, message and data.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.boot.events import BootEvent
from netboot.images import initramfs
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport

GUEST = Path(__file__).parent / "userland/keep"
WANTED = "userland/etc/systemd/system/multi-user.target.wants"
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
SECONDS = 380


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


async def lesson(room: Classroom) -> None:
    (seat,) = room.seats.values()

    async def until(count: int) -> None:
        while sum(event.stage == "load:written" for event in seat.events) < count:
            assert not seat.failure, seat.failure
            assert not room.server_failure, room.server_failure
            await asyncio.sleep(0.2)

    async with room.open(), asyncio.timeout(SECONDS):
        await room.power_on()
        await until(1)
        room.kill_server()
        await room.start_server()
        await until(2)


def body() -> int:
    image, folder, built = map(Path, sys.argv[1:4])
    load, profile = folder / "keep.img", folder / "room.yaml"
    load.write_bytes(initramfs.compressed(cpio.archive(guest_records())))
    profile.write_text(f"root: {{kind: nbd, image: {image}, persist: 64MiB}}\nswap: {{size: 1x}}\n")

    def tell(seat: SeatReport, event: BootEvent) -> None:
        sys.stderr.write(f"{seat.seconds(event):7.2f} {event.stage} {event.message}\n")

    evening = Lesson(
        profile,
        built,
        folder,
        memory=192,
        initrds=(load,),
        devices=RESETS,
        settings=tuple(sys.argv[4:]),
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
