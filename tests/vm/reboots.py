"""A PC that ends without a goodbye, in each of the ways it can, and gets its swap again.

It is reset, loses its power, and has its cable pulled before it is reset: its connections live on
at the server each time. Then another PC with its MAC address is switched on beside it. The report
is JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netboot.boot.events import BootEvent
from netboot.lab import network
from netboot.lab.machine import Machine, Power
from netboot.lab.rig import Classroom, Lesson, SeatReport
from tests import ROOT

BOOT_SECONDS = 600.0
UNPLUGGED_SECONDS = 4.0
RESETS = ("-action", "reboot=reset")  # not the end of QEMU, which the lab wants
# Equal in both byte orders.
UUIDS = ("aaaaaaaa-0000-4040-8000-000000000001", "bbbbbbbb-0000-4040-8000-000000000002")


class Twin(Machine):
    """A second PC that has the MAC address of the first."""

    @property
    def mac(self) -> str:
        """Return the first PC's."""
        return "52:54:00:77:00:01"


@dataclass(slots=True)
class Watch:
    """The events of the seat, with the times at which they came."""

    heard: list[tuple[float, BootEvent]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, _: SeatReport, event: BootEvent) -> None:
        """Note an event."""
        self.heard.append((time.monotonic(), event))
        self.news.set()
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {event.stage} {event.message}\n")

    def since(self, begin: float, stage: str) -> list[tuple[float, BootEvent]]:
        """Return the events of a stage since ``begin``."""
        return [each for each in self.heard if each[0] >= begin and each[1].stage == stage]

    async def until(self, begin: float, *stages: str) -> float:
        """Return when the first event of one of ``stages`` since ``begin`` came."""
        async with asyncio.timeout(BOOT_SECONDS):
            while True:
                self.news.clear()
                for stage in stages:
                    for when, _ in self.since(begin, stage):
                        return when
                await self.news.wait()


class Evening:
    """The classroom, its PC and what befalls it."""

    def __init__(self, room: Classroom, watch: Watch) -> None:
        self.room, self.watch = room, watch
        (self.seat,) = room.seats.values()

    @property
    def power(self) -> Power:
        """The PC, which is switched on."""
        assert self.seat.power is not None
        return self.seat.power

    async def reset(self) -> None:
        """Reset the PC: no program of it says goodbye."""
        self.power.tell("system_reset")

    async def cut(self) -> None:
        """Cut the power, and switch it on again."""
        self.power.process.kill()
        await self.power.process.wait()
        self.seat.power = await self.seat.machine.power_on()

    async def unplug(self) -> None:
        """Pull the cable, reset the PC, and put the cable in again."""
        self.power.tell("set_link n0 off")
        await asyncio.sleep(UNPLUGGED_SECONDS)
        self.power.tell("system_reset")
        self.power.tell("set_link n0 on")

    async def boot_after(self, fault: Callable[[], Awaitable[None]]) -> dict[str, float]:
        """Return the seconds from the fault until the PC asks, and from there to its swap."""
        begin = time.monotonic()
        await fault()
        asked = await self.watch.until(begin, "lease")
        swap = await self.watch.until(asked, "swap")
        refused = len(self.watch.since(begin, "pages:in-use"))
        await self.watch.until(swap, "userland")
        return {"boot": round(asked - begin, 1), "swap": round(swap - asked, 1), "refused": refused}

    def _messages(self, begin: float, stage: str) -> list[tuple[str, dict[str, Any]]]:
        return [(event.message, event.data) for _, event in self.watch.since(begin, stage)]

    async def twin(self) -> dict[str, Any]:
        """Switch on another PC with the same MAC address while this one runs."""
        begin = time.monotonic()
        lesson = self.room.lesson
        devices = (*RESETS, "-uuid", UUIDS[1])
        kind = lesson.firmware[0]
        machine = Twin(2, kind, lesson.memory, lesson.folder, devices=devices)
        network.add_tap(machine.tap)
        power = await machine.power_on()
        try:
            asked = await self.watch.until(begin, "lease")
            told = await self.watch.until(asked, "pages:in-use", "swap")
            await asyncio.sleep(5)
        finally:
            power.process.kill()
            await power.process.wait()
        return {
            "seconds": round(told - asked, 1),
            "warnings": self._messages(begin, "pages:in-use"),
            "told": self._messages(begin, "twin"),
            "lost": [event.message for _, event in self.watch.since(begin, "agent:refused")],
            "swaps": len(self.watch.since(begin, "swap")),
            "console": machine.console.read_text(errors="replace"),
        }


async def evening(lesson: Lesson) -> dict[str, Any]:
    """Return what befell the PC."""
    watch = Watch()
    room = Classroom(lesson, watch.take)
    report: dict[str, Any] = {}
    async with room.open():
        here = Evening(room, watch)
        await here.boot_after(room.power_on)
        report["twin"] = await here.twin()
        for fault in (here.reset, here.cut, here.unplug):
            report[fault.__name__] = await here.boot_after(fault)
    return report


def main() -> None:
    """Print the report."""
    images, folder = map(Path, sys.argv[1:3])
    lesson = Lesson(
        ROOT / "profiles/lab.yaml",
        images,
        folder,
        memory=160,
        firmware=("bios",),
        devices=(*RESETS, "-uuid", UUIDS[0]),
    )

    def body() -> int:
        sys.stdout.write(json.dumps(asyncio.run(evening(lesson))) + "\n")
        return 0

    network.run_isolated(body)


if __name__ == "__main__":
    main()
