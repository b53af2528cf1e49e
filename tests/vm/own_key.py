"""PCs with Secure Boot beside another DHCP server: ``own_key IMAGES FOLDER SECONDS HARM PC...``.

A PC is HOW-WAY. HOW: its firmware knows the room's key by shim's list (``mok``) or its own (``db``), or
does not know it (``none``). WAY: ``tftp`` or ``http``. Other kinds of the lab's PCs may be among them.
HARM is one of HARMS, done before they are switched on, or ``no``. The report is JSON, with the end of
each console. A PC that does not boot is done when its console says why.
"""

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from netboot.lab import machine, network
from netboot.lab.machine import Flash, console_tail
from netboot.lab.rig import STATE_FOLDER, Classroom, Lesson, SeatReport
from netboot.profile.file import parse
from netboot.serve import own_keys
from netboot.serve.boot_files import BootFiles
from netboot.serve.own_boot import OwnImages
from netboot.serve.own_keys import OwnKeys

SECURE = machine.KINDS["uefi-secure"]
OWNER = "5a2fd5e0-3ff2-4a3b-9a4b-0a3a52d8f0b1"  # of entries in the firmware's lists; any UUID
ENROLLED = {"mok": "--add-mok", "db": "--add-db"}
REFUSED = ("Security Violation", "Shim UEFI key management", "Access Denied", "FAILED")
MIDDLE = (
    b"\x28\xb5\x2f\xfd"  # zstd's magic number: the initramfs begins so, the kernel is before it
)
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
    if pc in machine.KINDS:
        return pc
    how, _, way = pc.partition("-")
    assert SECURE.flash is not None
    flash = Flash(SECURE.flash.code, str(variables(folder, how)))
    board = (*SECURE.board, *ONLY_HTTP) if way == "http" else SECURE.board
    machine.KINDS[pc] = replace(SECURE, flash=flash, board=board)
    return pc


def is_over(report: SeatReport) -> bool:
    told = "\n".join(console_tail(report.machine.console, 60))
    return report.done or any(words in told for words in REFUSED)


def change(image: Path) -> None:
    """Change a bit of the initramfs."""
    content = bytearray(image.read_bytes())
    content[content.rindex(MIDDLE) + 1000] ^= 1
    image.write_bytes(content)


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


HARMS = {
    "no": lambda image: None,
    "changed": change,
    "older": make_older,
    "words": sign_by_another_key,
}


async def lesson(classroom: Classroom, seconds: float, harm: str) -> None:
    async with classroom.open():
        (image,) = STATE_FOLDER.glob("own-*.efi")
        HARMS[harm](image)
        await classroom.power_on()
        try:
            async with asyncio.timeout(seconds):
                while not all(map(is_over, classroom.seats.values())):
                    assert not classroom.server_failure, classroom.server_failure
                    await asyncio.sleep(0.5)
        except TimeoutError:
            pass  # the report tells who is not done


def body() -> int:
    images, folder = map(Path, sys.argv[1:3])
    seconds, harm, pcs = float(sys.argv[3]), sys.argv[4], sys.argv[5:]
    profile = folder / "room.yaml"
    profile.write_text("boot: {loader: own}\n")
    own_keys.make(STATE_FOLDER)
    kinds = tuple(kind_of(folder, pc) for pc in pcs)
    room = Classroom(
        Lesson(profile, images, folder, len(pcs), memory=MEMORY, firmware=kinds, dhcp="proxy")
    )
    asyncio.run(lesson(room, seconds, harm))
    report = room.as_json()
    for seat, row in zip(room.seats.values(), report["seats"], strict=True):
        row["told"] = console_tail(seat.machine.console, 30)
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    network.run_isolated(body)
