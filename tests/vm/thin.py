"""A thin client and its server: ``python -m tests.vm.thin IMAGES FOLDER ROOTS IMAGE URL [INITRD...]``.

The server is away at the PC's start, comes, dies, comes back, and is silent for a while. At the
end it asks for a password. With RDP its certificate is first another one. Pictures go to FOLDER; the report is JSON, with the seconds of each step.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from netboot.errors import AnswerError
from netboot.lab import network
from netboot.lab.pictures import SHOWN
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests import ROOT
from tests.support.picture import sentence_on, share_of_colour
from tests.support.sessions import PASSWORD, SENTENCE, USER, Computer
from tests.vm.guest import tell

MEMORY = 192
BOOT_SECONDS, SEEN_SECONDS = 300.0, 120.0
STRIP, STRIP_SHARE = "fff3c4", 0.05
AWAY = "antwortet nicht. Dieser"  # the mouse is over the next word
LOGIN, VNC_LOGIN = "Anmeldung an", "Passw"
UNTRUSTED = "Dem Zertifikat von"


class Watcher:
    """One PC that is looked at. ``seconds`` has what was seen, and after how long."""

    def __init__(self, room: Classroom, report: SeatReport) -> None:
        self.room, self.report = room, report
        self.seconds: dict[str, float] = {}

    async def sees(self, name: str, text: str, *, strip: bool, within: float) -> None:
        """Take pictures until ``text`` is on one, with the strip or without. Raises AssertionError."""
        assert self.report.power is not None
        path, began = self.room.lesson.folder / f"{name}.png", time.monotonic()
        while time.monotonic() - began < within:
            assert not self.report.failure, self.report.failure
            assert not self.room.server_failure, self.room.server_failure
            if await self._rests(path, strip=strip) and sentence_on(path, text):
                self.seconds[name] = round(time.monotonic() - began, 1)
                return
        raise AssertionError(f"{name}.png: no '{text}' within {within:g} s")

    async def _rests(self, path: Path, *, strip: bool) -> bool:
        """Take pictures; return whether the strip is there, or absent for three seconds.

        A new window covers the strip for a moment.
        """
        assert self.report.power is not None
        for _ in range(1 if strip else 3):
            await asyncio.sleep(1)
            await self.report.power.screen.picture(path)
            if (share_of_colour(path, STRIP) > STRIP_SHARE) != strip:
                return False
        return True

    async def keys(self, text: str) -> None:
        """Type at the PC."""
        assert self.report.power is not None
        await self.report.power.screen.keys(text)

    async def click(self) -> None:
        """Press a mouse button, so that the PC has something to send."""
        assert self.report.power is not None
        await self.report.power.screen.click(900, 700, (1024, 768))


async def lesson(watcher: Watcher, computer: Computer, certificate: str) -> None:
    async with watcher.room.open():
        await watcher.room.power_on()
        await watcher.sees("absent", AWAY, strip=True, within=BOOT_SECONDS)
        if certificate:
            await computer.start("other")
            await watcher.sees("untrusted", UNTRUSTED, strip=True, within=SEEN_SECONDS)
            computer.kill()
        await computer.start(certificate)
        await watcher.sees("session", SENTENCE, strip=False, within=SEEN_SECONDS)
        computer.kill()
        await watcher.sees("killed", AWAY, strip=True, within=SEEN_SECONDS)
        await computer.start(certificate)
        await watcher.sees("back", SENTENCE, strip=False, within=SEEN_SECONDS)
        computer.silence(on=True)
        await watcher.click()
        await watcher.sees("silent", AWAY, strip=True, within=SEEN_SECONDS)
        computer.silence(on=False)
        await watcher.sees("again", SENTENCE, strip=False, within=SEEN_SECONDS)
        computer.kill()
        await computer.start(certificate, asks=True)
        await watcher.sees(
            "asked", LOGIN if certificate else VNC_LOGIN, strip=False, within=SEEN_SECONDS
        )
        await watcher.keys(f"{USER}\n{PASSWORD}\n" if certificate else f"{PASSWORD}\n")
        await watcher.sees("admitted", SENTENCE, strip=False, within=SEEN_SECONDS)
    computer.kill()


def main() -> int:
    images, folder, roots = map(Path, sys.argv[1:4])
    image, url = sys.argv[4:6]
    computer = Computer(folder / "server", str(network.SERVER.ip))
    computer.folder.mkdir(parents=True)
    settings = ["root.kind=image", f"root.image={image}", f"seat.url={url}"]
    certificate, wrong = "", ""
    if url.startswith("rdp"):
        certificate, wrong = "room", computer.certificate("other")
        settings.append(f"seat.fingerprint={computer.certificate(certificate)}")

    wanted = Lesson(
        ROOT / "profiles/lab.yaml",
        images,
        folder,
        memory=MEMORY,
        until=SHOWN,
        screen=True,
        settings=(*settings, "seat.locale=de_DE.UTF-8"),
        initrds=tuple(map(Path, sys.argv[6:])),
        roots=roots,
    )
    room = Classroom(wanted, tell)
    (report,) = room.seats.values()
    watcher, failure = Watcher(room, report), ""
    try:
        asyncio.run(lesson(watcher, computer, certificate))
    except (AssertionError, AnswerError, TimeoutError) as error:
        failure = f"{type(error).__name__} {error}".strip()
    stages = [[event.stage, event.message] for event in report.events]
    result = {"failure": failure, "seconds": watcher.seconds, "wrong": wrong, "stages": stages}
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if failure else 0


if __name__ == "__main__":
    network.run_isolated(main)
