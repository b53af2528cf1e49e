"""Use a PC with a desktop: ``python -m tests.vm.login IMAGES FOLDER ROOTS IMAGE LOGIN``.

LOGIN `local`: a wrong password, the right one, logout, a second login, the desktop's menu switches the PC
off. LOGIN `guest`: a desktop, logout, the desktop again, the power button. Pictures go to FOLDER; the
result is JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from netboot.boot import cpio
from netboot.errors import AnswerError
from netboot.images import initramfs
from netboot.lab import network
from netboot.lab.pictures import SHOWN
from netboot.lab.rig import Classroom, Lesson, SeatReport
from netboot.lab.screen import Screen
from tests.support.picture import sentence_on, share_of_colour
from tests.vm.guest import WANTED, tell, until_off

USERS = Path(__file__).parent / "userland/users"
UNIT = """[Service]
ExecStart=/run/netboot/busybox sh /usr/local/bin/users
"""
# "Zyklop-ä", typed on a German keyboard; the keys have other characters on the US one.
HASH = (
    "$6$kB7nGqLw"
    "$IOczSLw3kVvkw9jeWAP.FI7TGaDxOjhMmD9eQcOHUxrz.xAnMaeqEfcL6v6HLoJLhGl./rTpSY3DjpXpw1Trv1"
)
TYPED = "Yzklop/'"
WINDOW, WRONG, LEAVING = "Anmelden", "nicht korrekt", "Beim Abmelden werden"
# The ground of a desktop, and its taskbar, which is black; the strip covers an eighth of the screen.
GROUND, GROUND_SHARE, BAR_SHARE = "2e4a62", 0.94, 0.01
BOOT_SECONDS, STEP_SECONDS = 480.0, 150.0


class Failed(Exception):
    """A step of a lesson whose result was not seen."""


def is_desktop(picture: Path) -> bool:
    """Return whether a picture shows an empty desktop. OCR does not read its labels."""
    ground, black = (share_of_colour(picture, colour) for colour in (GROUND, "000000"))
    return ground > GROUND_SHARE and black > BAR_SHARE


async def shows(screen: Screen, picture: Path, wanted: str | Callable[[Path], bool]) -> None:
    """Take pictures until one has the sentence, or is as wanted. Raises Failed."""
    end = time.monotonic() + STEP_SECONDS
    while True:
        await screen.picture(picture)
        if isinstance(wanted, str):
            seen = await asyncio.to_thread(sentence_on, picture, wanted)
        else:
            seen = wanted(picture)
        if seen:
            return
        if time.monotonic() > end:
            raise Failed(f"{picture.name} does not show what it should")
        await asyncio.sleep(2)


async def told(report: SeatReport, stage: str, count: int = 1) -> None:
    """Wait until the PC has told ``stage`` so many times. Raises Failed."""
    end = time.monotonic() + STEP_SECONDS
    while sum(event.stage == stage for event in report.events) < count:
        if time.monotonic() > end:
            raise Failed(f"{stage} did not come {count} times")
        await asyncio.sleep(0.5)


async def log_in(report: SeatReport, folder: Path) -> None:
    """Type a wrong password, then the right one; look at the desktop, and log out."""
    assert report.power is not None
    screen = report.power.screen
    await shows(screen, folder / "window.png", WINDOW)
    await screen.keys("anna\n")
    await asyncio.sleep(5)  # the greeter asks PAM before it takes the password
    await screen.keys("wrong\n")
    await shows(screen, folder / "wrong.png", WRONG)
    await screen.keys(f"{TYPED}\n")
    await told(report, "users:desktop")
    await shows(screen, folder / "desktop.png", is_desktop)
    await log_out(screen, folder)
    await told(report, "users:left")
    await shows(screen, folder / "again.png", WINDOW)
    await screen.keys("anna\n")
    await asyncio.sleep(5)
    await screen.keys(f"{TYPED}\n")
    await told(report, "users:desktop", 2)
    await shows(screen, folder / "second.png", is_desktop)
    await choose(screen, "h")  # Herunterfahren (shut down)
    await asyncio.sleep(3)
    await screen.press("o")


async def be_a_guest(report: SeatReport, folder: Path) -> None:
    """Let the guest save a file (userland/users), log out, and look at the next guest's desktop."""
    assert report.power is not None
    screen = report.power.screen
    await told(report, "users:desktop")
    await shows(screen, folder / "before.png", is_desktop)
    await screen.still_picture(folder / "before.png")
    await log_out(screen, folder)
    await told(report, "users:desktop", 2)
    await shows(screen, folder / "after.png", is_desktop)
    await screen.still_picture(folder / "after.png")
    await screen.power_button()


async def log_out(screen: Screen, folder: Path) -> None:
    """Choose Abmelden (log out), and OK in the dialog that follows. Raises Failed."""
    await choose(screen, "a")
    await shows(screen, folder / "leaving.png", LEAVING)
    await screen.press("o")


async def choose(screen: Screen, key: str) -> None:
    """Open IceWM's dialog of the session, and press the key of one of its buttons."""
    await screen.press("ctrl", "alt", "delete")
    await asyncio.sleep(5)
    await screen.press(key)


async def lesson(room: Classroom, act: Callable[[SeatReport, Path], Awaitable[None]]) -> Any:
    (report,) = room.seats.values()
    result: dict[str, Any] = {"off_seconds": None}
    async with room.open():
        await room.power_on()
        await room.wait()
        if report.power is not None and room.ok:
            try:
                await act(report, room.lesson.folder)
                result["off_seconds"] = await until_off(report)
            except (AnswerError, Failed) as error:
                report.failure = str(error)
                await report.power.screen.picture(room.lesson.folder / "failed.png")
    result["failure"] = room.server_failure or report.failure
    result["stages"] = [[event.stage, event.message, event.data] for event in report.events]
    return result


def body() -> int:
    images, folder, roots, image, login = sys.argv[1:]
    profile, users = Path(folder, "room.yaml"), Path(folder, "users.img")
    profile.write_text(
        f"root: {{kind: image, image: {image}}}\n"
        f"seat: {{keyboard: de, locale: de_DE.UTF-8, login: {login}, accounts: {{anna: {HASH}}}}}\n"
    )
    records = (
        cpio.file("userland/usr/local/bin/users", USERS.read_bytes(), executable=True),
        cpio.file("userland/etc/systemd/system/users.service", UNIT.encode()),
        cpio.symlink(f"{WANTED}/users.service", "../users.service"),
    )
    users.write_bytes(initramfs.compressed(cpio.archive(records)))
    wanted = Lesson(
        profile,
        Path(images),
        Path(folder),
        until=SHOWN,
        screen=True,
        timeout=BOOT_SECONDS,
        initrds=(users,),
        roots=Path(roots),
    )

    act = log_in if login == "local" else be_a_guest
    result = asyncio.run(lesson(Classroom(wanted, tell), act))
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(body)
