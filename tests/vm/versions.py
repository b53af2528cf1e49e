"""A root image that is updated and rolled back while a PC runs it: ``versions IMAGES FOLDER ROOTS NAME``.

PC 1 runs the first version all the time, and reads it from the server over and over. PC 2 is switched on
after the update, and again after the return to the first version. In between all of the server is killed.
The report is JSON: what each PC told, and the versions that they ran by the server's record.
"""

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from netboot.boot import cpio
from netboot.boot.events import BootEvent
from netboot.images import initramfs
from netboot.lab import network
from netboot.lab.rig import STATE_FOLDER, Classroom, Lesson, SeatReport
from netboot.roots.build import add_image
from netboot.roots.library import Library, Version
from netboot.roots.uses import read_uses
from tests import ROOT
from tests.images.test_cache import Steps

GUEST = Path(__file__).parent / "userland/version"
WANTED = "userland/etc/systemd/system/multi-user.target.wants"
UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/run/netboot/busybox sh /usr/local/bin/version
"""
BOOTED, READ = "version:booted", "version:read"
SECONDS = 900
MEMORY = 160


def guest() -> bytes:
    """Return the initrd with the files that are added to the PCs' root."""
    records = (
        cpio.file("userland/usr/local/bin/version", GUEST.read_bytes(), executable=True),
        cpio.file("userland/etc/systemd/system/version.service", UNIT.encode()),
        cpio.symlink(f"{WANTED}/version.service", "../version.service"),
    )
    return initramfs.compressed(cpio.archive(records))


def update(library: Library, name: str) -> Version:
    """Add a newer version of an image: one more block, which no file has."""
    was = library.find(name)
    image, tree = library.folder / "image", library.folder / "tree"
    shutil.copyfile(was.image, image)
    with image.open("ab") as file:
        file.write(bytes(4096))
    made = replace(was.manifest, created=was.manifest.created + 60, key="")
    return add_image(image, tree, made, library, Steps())


class Evening:
    """The classroom, and what is waited for in it."""

    def __init__(self, room: Classroom) -> None:
        self.room = room
        self.seats = list(room.seats.values())

    async def told(self, number: int, stage: str, more: int = 1) -> None:
        """Wait until a PC has told a stage ``more`` times than before. Raises AssertionError."""
        seat = self.seats[number - 1]
        before = self._count(seat, stage)
        while self._count(seat, stage) < before + more:
            assert not seat.failure, seat.failure
            assert not self.room.server_failure, self.room.server_failure
            await asyncio.sleep(0.2)

    async def goes_on(self) -> None:
        """Wait until PC 1 has read all files again: one reading may have begun earlier."""
        await self.told(1, READ, more=2)

    def _count(self, seat: SeatReport, stage: str) -> int:
        return sum(event.stage == stage for event in seat.events)

    async def switch_off(self, number: int) -> None:
        """Cut the power of a PC."""
        power = self.seats[number - 1].power
        assert power is not None
        power.process.kill()
        await power.process.wait()


async def lesson(here: Evening, library: Library, name: str) -> dict[str, Any]:
    """Return the versions, and what the server's record said after the update and at the end."""
    room, first = here.room, library.find(name)
    found: dict[str, Any] = {"first": _as_json(first)}
    async with room.open(), asyncio.timeout(SECONDS):
        await room.power_on(1)
        await here.told(1, BOOTED)
        await here.told(1, READ)
        found["second"] = _as_json(update(library, name))
        await room.power_on(2)
        await here.told(2, BOOTED)
        await here.goes_on()
        found["updated"] = read_uses(STATE_FOLDER)
        room.kill_server()
        await room.start_server()
        await here.goes_on()
        words = [sys.executable, "-m", "netboot", "image", "use", f"{name}@{first.manifest.digest}"]
        words += ["--roots", str(library.folder)]
        await asyncio.to_thread(subprocess.run, words, check=True, cwd=ROOT, stdout=sys.stderr)
        await here.switch_off(2)
        here.seats[1].power = await here.seats[1].machine.power_on()
        await here.told(2, BOOTED)
        await here.goes_on()
        found["returned"] = read_uses(STATE_FOLDER)
    return found


def _as_json(version: Version) -> dict[str, Any]:
    return {"short": version.manifest.short, "blocks": version.manifest.blocks}


def body() -> int:
    images, folder, roots = map(Path, sys.argv[1:4])
    name = sys.argv[4]
    extra, profile = folder / "version.img", folder / "room.yaml"
    extra.write_bytes(guest())
    profile.write_text(f"root: {{kind: image, image: {name}}}\nswap: {{size: 0}}\n")

    def tell(seat: SeatReport, event: BootEvent) -> None:
        where = f"{seat.seconds(event):7.2f} {seat.machine.number}"
        sys.stderr.write(f"{where} {event.stage} {event.message}\n")

    wanted = Lesson(
        profile,
        images,
        folder,
        clients=2,
        memory=MEMORY,
        until=BOOTED,
        initrds=(extra,),
        roots=roots,
    )
    here = Evening(Classroom(wanted, tell))
    report: dict[str, Any] = {"failure": ""}
    try:
        report |= asyncio.run(lesson(here, Library(roots), name))
    except (AssertionError, TimeoutError) as error:
        report["failure"] = f"{type(error).__name__} {error}".strip()
    report["events"] = [
        [[event.stage, event.message, event.data] for event in seat.events] for seat in here.seats
    ]
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if report["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(body)
