"""A classroom with one PC for a script that waits for its events, and reports them as JSON."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from netboot.boot.events import BootEvent
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport

TIMEOUT = 900.0  # seconds, of a whole script
SHOWN = ("agent:", "left:", "load:", "lease", "swap", "failed:")  # on standard error, as they come


class Watched:
    """A classroom whose only PC is watched. Its ``report`` has the events so far."""

    def __init__(self, lesson: Lesson) -> None:
        self._news = asyncio.Event()
        self.classroom = Classroom(lesson, self._listen)
        (self.report,) = self.classroom.seats.values()

    def _listen(self, _: SeatReport, event: BootEvent) -> None:
        if event.stage.startswith(SHOWN):
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {event.stage} {event.message}\n")
        self._news.set()

    @property
    def failure(self) -> str:
        """The reason why PC or server failed; empty if neither did."""
        return self.report.failure or self.classroom.server_failure

    def count(self, stage: str) -> int:
        """Return how many events of a stage there were."""
        return sum(event.stage == stage for event in self.report.events)

    async def until(self, stage: str, times: int = 1) -> None:
        """Wait for so many events of a stage, or a failure."""
        await self.until_true(lambda: self.count(stage) >= times)

    async def until_true(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds after an event, or for a failure."""
        while not condition() and not self.failure:
            self._news.clear()
            await self._news.wait()

    def told(self, **more: Any) -> dict[str, Any]:
        """Return the report of the script."""
        events = [
            {"stage": each.stage, "message": each.message, "data": each.data}
            for each in self.report.events
        ]
        return {"failure": self.failure, "events": events, **more}


def run(script: Callable[[Path, Path], Awaitable[dict[str, Any]]]) -> None:
    """Run ``script(folder, images)``, both from the command line, in namespaces of its own."""

    def body() -> int:
        folder, images = (Path(word).resolve() for word in sys.argv[1:3])
        report = asyncio.run(_awaited(script, folder, images))
        sys.stdout.write(json.dumps(report) + "\n")
        return 1 if report["failure"] else 0

    network.run_isolated(body)


async def _awaited(
    script: Callable[[Path, Path], Awaitable[dict[str, Any]]], folder: Path, images: Path
) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT):
        return await script(folder, images)
