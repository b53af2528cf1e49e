"""A worker's reports to the control plane, of its areas and turns, and when they are sent."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict

from netboot.pages.worker.areas import Areas
from netboot.pages.worker.buffers import MOST_POWER
from netboot.pages.worker.connection import Connection
from netboot.pages.worker.delays import Delays
from netboot.pages.worker.exchange import Area, Counters
from netboot.pages.worker.link import Link
from netboot.pages.worker.stalls import Stalls

REPORT_SECONDS = 1.0
# Less than half of the 3 s after which our agent considers a connection dead (swap.timeout).
WARN_SECONDS = 1.0
WARN_AGAIN_SECONDS = 10.0


class Reports:
    """Counts what ``areas`` did, and sends it over ``link``.

    ``is_whole`` is called for an area before its counters are sent; if it returns False, it has
    ended the lease. ``dirty``: something was done since the last report. ``next`` is the time of
    the next one.
    """

    def __init__(self, link: Link, areas: Areas, is_whole: Callable[[Area], bool]) -> None:
        self._link = link
        self._areas = areas
        self._is_whole = is_whole
        self.dirty = False
        self.next = 0.0
        self.delays = Delays()
        self._timed = [0] * (MOST_POWER + 1)  # turns by the power of two of their microseconds
        self._warned: dict[str, float] = {}  # times, by lease
        self._stalls = Stalls()

    def note(self, area: Area) -> None:
        """Note that something was done for an area, and tell its first write."""
        if not self.dirty:
            self.dirty = True
            self.next = max(self.next, time.monotonic())
        if area.counters.writes and not area.written:
            area.written = True
            self._link.report({"event": "first-write", "lease": area.lease})

    def timed(self, seconds: float) -> None:
        """Count a turn that took so long."""
        power = int(seconds * 1e6).bit_length()
        self._timed[min(power, MOST_POWER)] += 1

    def late(self, waiting: Iterable[Connection], now: float) -> None:
        """Tell of requests that have waited for room for long."""
        for connection in waiting:
            lease, since = connection.area.lease, connection.waits_since
            seconds = now - (since if since is not None else now)
            if (
                seconds >= WARN_SECONDS
                and now - self._warned.get(lease, -WARN_AGAIN_SECONDS) >= WARN_AGAIN_SECONDS
            ):
                self._warned[lease] = now
                self._link.report({"event": "delayed", "lease": lease, "seconds": seconds})

    def stalls(self) -> None:
        """Tell of the page files that do not answer. Call it about once a second."""
        oldest = {
            lease: area.tasks.oldest
            for lease, area in self._areas.items()
            if area.tasks is not None
        }
        for stall in self._stalls.look(oldest, time.monotonic()):
            event = "answers" if stall.over else "stalled"
            self._link.report({"event": event, "lease": stall.lease, "seconds": stall.seconds})

    def send(self) -> None:
        """Send all that was counted."""
        self.dirty = False
        self.next = time.monotonic() + REPORT_SECONDS
        # A control plane of an earlier release passes over a lease without a name.
        if any(self._timed):
            self._link.report({"event": "timed", "lease": "", "turns": self._timed})
            self._timed = [0] * len(self._timed)
        if waited := self.delays.take(time.monotonic()):
            self._link.report({"event": "waited", "lease": "", "seconds": waited})
        for area in list(self._areas.values()):
            if area.counters != Counters() and self._is_whole(area):
                counters = asdict(area.counters)
                self._link.report({"event": "counters", "lease": area.lease, "done": counters})
                area.counters = Counters()

    def forget(self, lease: str) -> None:
        """Drop what is known of a lease that has ended."""
        self._warned.pop(lease, None)
