"""Noticing: PCs that do not go on are told, in the log and in their history."""

import asyncio
import logging
import time

from netboot.boot import flapping
from netboot.boot.waits import Step
from netboot.host.complaints import Complaints
from netboot.serve.room import Room

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class Noticing:
    """Looks for silent PCs of ``room`` (netboot.boot.silence).

    Anybody can make up PCs that fall silent. So those that never booted here have lines of their own.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._known, self._strangers = Complaints(log), Complaints(log)

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    def look(self, now: float) -> None:
        """Tell of each PC that has become silent, and of swap that comes and goes."""
        self._room.seats.flapping.summaries(now, self._flaps)
        for silent in self._room.silence.overdue(now):
            seats, wait = self._room.seats, silent.wait
            if wait.begin is Step.AWAY and self._room.profile.swap.layout == "any":
                continue  # another server of the pool has it, as far as this one knows
            waited = round(silent.seconds)
            self._room.record(silent.mac, wait.stage, silent.message, seconds=waited)
            lines = self._known if seats.is_known(silent.mac) else self._strangers
            level = logging.WARNING if wait.alarm else logging.INFO
            self._warn(lines, silent.mac, silent.message, level)

    def _flaps(self, mac: str, message: str, goes_on: bool) -> None:
        self._room.record(mac, flapping.STAGE, message, goes_on=goes_on)
        self._warn(self._known, mac, message, logging.WARNING if goes_on else logging.INFO)

    def _warn(self, lines: Complaints, mac: str, message: str, level: int) -> None:
        hostname = self._room.seats.of(mac).settings.hostname
        lines.warn(mac, "%s (%s) %s", hostname, mac, message, level=level)
