"""A desktop with a sound card, a printer and a USB stick: ``peripherals IMAGES FOLDER ROOTS IMAGE [INITRD...]``.

Its user plays a tone, prints a page, and writes to a stick that is plugged in and pulled out without a word.
Pictures go to FOLDER, and so does the tone; the report is JSON.
"""

import array
import asyncio
import contextlib
import io
import json
import math
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

from netboot.boot import cpio
from netboot.boot.cpio import Record
from netboot.errors import AnswerError
from netboot.images import initramfs
from netboot.lab import network
from netboot.lab.pictures import SHOWN
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests import ROOT
from tests.support.picture import sentence_on
from tests.support.printing import jobs, print_server
from tests.vm.guest import WANTED, tell, until

MEMORY = 256
SECONDS = 900
LABEL = "PUPILSTICK"
GUEST = Path(__file__).parent / "userland/peripherals"
UNIT = """[Unit]
After=netboot-screen.service
[Service]
ExecStart=/bin/sh /usr/local/bin/peripherals
"""
RATE, TONE_HERTZ = 44100, 440


def guest_records() -> Iterator[Record]:
    yield cpio.file("userland/usr/local/bin/peripherals", GUEST.read_bytes(), executable=True)
    yield cpio.file("userland/etc/systemd/system/peripherals.service", UNIT.encode())
    yield cpio.symlink(f"{WANTED}/peripherals.service", "../peripherals.service")
    yield cpio.file("userland/usr/local/share/tone.wav", tone())


def tone() -> bytes:
    """Return a WAV file of one second."""
    samples = (int(20000 * math.sin(2 * math.pi * TONE_HERTZ * at / RATE)) for at in range(RATE))
    with io.BytesIO() as file:
        with wave.open(file, "wb") as sound:
            sound.setparams((1, 2, RATE, 0, "NONE", ""))
            sound.writeframes(array.array("h", samples).tobytes())
        return file.getvalue()


def loudest(path: Path) -> int:
    """Return the largest sample of a WAV file. QEMU may not have written its length yet."""
    content = path.read_bytes()[44:]
    samples = array.array("h", content[: len(content) // 2 * 2])
    return max(map(abs, samples), default=0)


def make_stick(path: Path) -> None:
    """Make a USB stick with one file."""
    path.write_bytes(bytes(8 << 20))
    (hello := path.with_name("hello.txt")).write_text("Hello from a stick.\n")
    subprocess.run(
        ["mformat", "-i", path, "-v", LABEL, "-t", "16", "-h", "16", "-n", "63", "::"], check=True
    )
    subprocess.run(["mcopy", "-i", path, hello, "::HELLO.TXT"], check=True)


def has(stage: str) -> Callable[[SeatReport], bool]:
    return lambda seat: seat.first(stage) is not None


async def lesson(room: Classroom, stick: Path, server: Path) -> bool:
    """Return whether the stick was seen on the screen."""
    (report,) = room.seats.values()
    folder = room.lesson.folder
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(room.open())
        stack.enter_context(print_server(server, str(network.SERVER.ip)))
        await stack.enter_async_context(asyncio.timeout(SECONDS))
        await room.power_on()
        await until(room, has("peripheral:printed"))
        assert report.power is not None
        await report.power.screen.press("volumedown")
        await report.power.screen.still_picture(folder / "desktop.png")
        report.power.tell(f"drive_add 0 if=none,id=stick,format=raw,file={stick}")
        report.power.tell("device_add usb-storage,id=plug,drive=stick,bus=hands.0")
        await until(room, has("peripheral:stick"))
        await report.power.screen.still_picture(folder / "stick.png")
        seen = sentence_on(folder / "stick.png", LABEL)
        report.power.tell("device_del plug")
        await until(room, has("peripheral:unplugged"))
        await report.power.screen.still_picture(folder / "unplugged.png")
    return seen


def main() -> int:
    images, folder, roots = map(Path, sys.argv[1:4])
    load, stick, server = folder / "guest.img", folder / "stick.img", folder / "cups"
    sound = folder / "sound.wav"
    load.write_bytes(initramfs.compressed(cpio.archive(guest_records())))
    make_stick(stick)

    wanted = Lesson(
        ROOT / "profiles/lab.yaml",
        images,
        folder,
        memory=MEMORY,
        until=SHOWN,
        screen=True,
        devices=(
            *("-audiodev", f"wav,id=ears,path={sound}"),
            *("-device", "intel-hda", "-device", "hda-output,audiodev=ears"),
        ),
        settings=(
            *("root.kind=image", f"root.image={sys.argv[4]}"),
            f"seat.printers={network.SERVER.ip}",
        ),
        initrds=(load, *map(Path, sys.argv[5:])),
        roots=roots,
    )
    room, seen, failure = Classroom(wanted, tell), False, ""
    (report,) = room.seats.values()
    try:
        seen = asyncio.run(lesson(room, stick, server))
    except (AssertionError, AnswerError, TimeoutError) as error:
        failure = f"{type(error).__name__} {error}".strip()
    written = subprocess.run(
        ["mtype", "-i", stick, "::WRITTEN.TXT"], capture_output=True, text=True, check=False
    )
    result = {
        "failure": failure,
        "events": [[event.stage, event.message, event.data] for event in report.events],
        "jobs": [job.decode() for job in jobs(server)],
        "loudest": loudest(sound),
        "seen": seen,
        "written": written.stdout,
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if failure else 0


if __name__ == "__main__":
    network.run_isolated(main)
