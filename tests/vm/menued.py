"""A person at the boot menu of a PC: ``python -m tests.vm.menued PROFILE IMAGES FOLDER KIND [ENTRY]``.

The key opens the menu. With an ENTRY, its number from 0, the person chooses it; without one the menu
ends by its time. The result is JSON.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from netboot.boot.events import BootEvent
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport

SECONDS = 240.0  # for what takes 20 on an idle machine
REPEAT_SECONDS = 0.05  # of a key that is held down
INVITED = "press m for the boot menu"  # before that, a flood of keys could keep the BIOS from finding its keyboard
SHOWN = "Boot as usual"  # in the menu, as the firmware's console shows it


class Person:
    """Somebody who sits before the PC of a classroom."""

    def __init__(self, lesson: Lesson) -> None:
        self.stages: list[str] = []
        self.told: list[str] = []
        self._news = asyncio.Event()
        self.room = Classroom(lesson, self._take)
        (self.seat,) = self.room.seats.values()

    def _take(self, _: SeatReport, event: BootEvent) -> None:
        self.stages.append(event.stage)
        if event.stage == "menu":
            self.told.append(event.message)
        self._news.set()

    def press(self, key: str) -> None:
        """Press a key for a moment."""
        assert self.seat.power is not None
        self.seat.power.tell(f"sendkey {key}")

    async def hold(self, key: str, stage: str) -> None:
        """Hold a key down until the server tells of a stage."""
        while stage not in self.stages:
            self.press(key)
            await asyncio.sleep(REPEAT_SECONDS)

    async def until(self, stage: str) -> None:
        """Wait until the server tells of a stage."""
        while stage not in self.stages:
            self._news.clear()
            await self._news.wait()

    async def see(self, text: str) -> None:
        """Wait until the PC shows a text."""
        console = self.seat.machine.console
        while not console.exists() or text not in console.read_text(errors="replace"):
            await asyncio.sleep(REPEAT_SECONDS)


async def lesson(plan: Lesson, entry: int | None) -> dict[str, Any]:
    """Return the stages of the PC, and what the server told of its menu."""
    person = Person(plan)
    failure = ""
    async with person.room.open():
        await person.room.power_on()
        try:
            async with asyncio.timeout(SECONDS):
                await person.see(INVITED)
                await person.hold("m", "menu")
                await person.see(SHOWN)
                if entry is None:
                    await person.until("userland")
                else:
                    for _ in range(entry):
                        person.press("down")
                    person.press("ret")
                    await person.until("init:rescue")
                    await person.see("rescue shell: 'exit' goes on with the boot")
        except TimeoutError:
            failure = "timed out"
    return {"failure": failure, "stages": person.stages, "told": person.told}


def main() -> int:
    """Print the result."""
    profile, images, folder = map(Path, sys.argv[1:4])
    kind, *entry = sys.argv[4:]
    plan = Lesson(profile, images, folder, firmware=(kind,))
    result = asyncio.run(lesson(plan, int(entry[0]) if entry else None))
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(main)
