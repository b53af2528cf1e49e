"""PCs with Secure Boot beside another DHCP server: ``own_key IMAGES PROFILE SECONDS PC...``.

A PC is HOW-WAY or HOW-WAY-HARM. HOW: its firmware knows the room's key by shim's list (``mok``) or its
own (``db``), or does not know it (``none``). WAY: ``tftp`` or ``http``. HARM is one of HARMS, done before
this PC is switched on and when the PCs before it have what they need; PCs with a harm come last, in the
order of HARMS. Logs are in the folder of PROFILE, with a root image if there is ROOT. The report is JSON,
with the end of each console. A PC that does not boot is done when its console says why.
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from netboot.boot.arch import OWN_IMAGE
from netboot.boot.unified import SECTION_HEADER
from netboot.lab import machine, network
from netboot.lab.machine import Flash, console_tail
from netboot.lab.rig import STATE_FOLDER, Classroom, Lesson, SeatReport
from netboot.profile.file import parse
from netboot.serve import own_keys
from netboot.serve.boot_files import BootFiles
from netboot.serve.own_boot import OwnImages
from netboot.serve.own_keys import OwnKeys
from tests.vm.changed_image import BEHIND_THE_SUPERBLOCK, change

SECURE = machine.KINDS["uefi-secure"]
OWNER = "5a2fd5e0-3ff2-4a3b-9a4b-0a3a52d8f0b1"  # of entries in the firmware's lists; any UUID
ENROLLED = {"mok": "--add-mok", "db": "--add-db"}
REFUSED = ("Security Violation", "Shim UEFI key management", "Access Denied", "words FAILED")
ROOT = "root.squashfs"
ONLY_HTTP = machine.KINDS["uefi-http"].board[-4:]
MEMORY = 256


def variables(folder: Path, how: str) -> Path:
    """Return a file of firmware variables with Microsoft's keys and, if it knows it, the room's."""
    path = folder / f"{how}.fd"
    assert SECURE.flash is not None
    words = [Path(sys.executable).with_name("virt-fw-vars"), "--output", path]
    words += ["--input", machine.OVMF / SECURE.flash.variables]
    if how in ENROLLED:
        words += [ENROLLED[how], OWNER, STATE_FOLDER / own_keys.IMAGE_PEM]
    subprocess.run(list(map(str, words)), check=True, stdout=subprocess.DEVNULL)
    return path


def kind_of(folder: Path, pc: str) -> str:
    """Add the kind of a PC to those of the lab, and return its name."""
    how, way, *_ = pc.split("-")
    assert SECURE.flash is not None
    flash = Flash(SECURE.flash.code, str(variables(folder, how)))
    board = (*SECURE.board, *ONLY_HTTP) if way == "http" else SECURE.board
    machine.KINDS[pc] = replace(SECURE, flash=flash, board=board)
    return pc


def is_over(report: SeatReport) -> bool:
    """Return True if the PC has booted, or has told why it does not: its server, if it trusts that one."""
    told = "\n".join(console_tail(report.machine.console, 60))
    return report.done or bool(report.failure) or any(words in told for words in REFUSED)


def has_image(report: SeatReport) -> bool:
    """Return True if the PC has downloaded its signed image, which it does once by HTTP."""
    loaded = (e for e in report.events if e.stage == "http" and e.message.startswith(OWN_IMAGE))
    return is_over(report) or any(loaded)


def change_section(name: bytes) -> Callable[[Path], None]:
    """Return what changes a bit in the middle of a section of an image."""

    def harm(image: Path) -> None:
        content = image.read_bytes()
        header = content.index(name.ljust(8, b"\0"))  # the first time is in the table of sections
        _, length, _, _, place, *_ = SECTION_HEADER.unpack_from(content, header)
        change(image, place + length // 2)

    return harm


def change_root(image: Path) -> None:
    change(Path(sys.argv[2]).with_name(ROOT), BEHIND_THE_SUPERBLOCK)


def make_older(image: Path) -> None:
    """Put an image there that has our signature, and is not the one of this server."""
    (folder := image.parent / "older").mkdir()
    for name in own_keys.FILES:
        shutil.copy(STATE_FOLDER / name, folder)
    profile = parse("boot: {arguments: console=ttyS0}", "older")
    files = BootFiles(Path(sys.argv[1]), profile)
    OwnImages(files, OwnKeys(folder)).make([network.SERVER.ip])
    shutil.copy(files.own[network.SERVER.ip], image)


def sign_by_another_key(image: Path) -> None:
    """Have the server sign words by a key that the image does not know."""
    other = own_keys.make(image.parent / "other")
    shutil.copy(other.state / own_keys.WORDS_KEY, STATE_FOLDER)


# Each gets the signed image, which is as it was before.
HARMS: dict[str, Callable[[Path], None]] = {
    "seat": lambda image: None,  # its file is another one each time that the server reads it
    "root": change_root,
    "initramfs": change_section(b".initrd"),
    "kernel": change_section(b".linux"),
    "line": change_section(b".cmdline"),
    "older": make_older,
    "words": sign_by_another_key,
}
NEEDS_ALL = "words"  # a harm to what PCs get after their image


async def until(
    room: Classroom, which: list[SeatReport], state: Callable[[SeatReport], bool]
) -> None:
    """Wait for a state of these PCs, and switch off those that are over: shim's red box needs a CPU."""
    while not all(map(state, which)):
        assert not room.server_failure, room.server_failure
        await asyncio.sleep(0.5)
        for report in filter(is_over, which):
            if report.power is not None and report.power.process.returncode is None:
                report.power.process.terminate()


async def lesson(room: Classroom, harms: list[str]) -> None:
    """Switch the PCs on, and return when each has booted or has said why it does not."""
    seats = list(room.seats.values())
    async with room.open():
        (image,) = STATE_FOLDER.glob("own-*.efi")
        original = image.read_bytes()
        for number, harm in enumerate(harms):
            if harm:
                earlier = seats[:number]
                await until(room, earlier, is_over if harm == NEEDS_ALL else has_image)
                image.write_bytes(original)
                HARMS[harm](image)
            await room.power_on(number + 1)
        await until(room, seats, is_over)


async def bounded(room: Classroom, seconds: float, harms: list[str]) -> None:
    with contextlib.suppress(TimeoutError):  # the report tells who is not done
        await asyncio.wait_for(lesson(room, harms), seconds)


def body() -> int:
    images, profile = map(Path, sys.argv[1:3])
    seconds, pcs = float(sys.argv[3]), sys.argv[4:]
    own_keys.make(STATE_FOLDER)
    kinds = tuple(kind_of(profile.parent, pc) for pc in pcs)
    room = Classroom(
        Lesson(
            profile,
            images,
            profile.parent,
            len(pcs),
            memory=MEMORY,
            firmware=kinds,
            dhcp="proxy",
        )
    )
    asyncio.run(bounded(room, seconds, ["".join(pc.split("-")[2:]) for pc in pcs]))
    report = room.as_json()
    for seat, row in zip(room.seats.values(), report["seats"], strict=True):
        row["told"] = console_tail(seat.machine.console, 30)
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    network.run_isolated(body)
