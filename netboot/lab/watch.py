"""Waits until seats have come as far as they should, by what their server knows of them."""

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from netboot.boot.events import BootEvent
from netboot.errors import OperatorError
from netboot.serve.http.status import fetch_status

FAILED = "failed:"
POLL_SECONDS = 0.5
NEVER_SEEN = "it has not asked for anything"


@dataclass(slots=True)
class Watched:
    """One seat and its ``events`` so far. It is ``done``, or there is a ``failure``, or neither."""

    mac: str
    hostname: str = ""
    events: list[BootEvent] = field(default_factory=list)
    done: bool = False
    failure: str = ""

    def as_json(self) -> dict[str, Any]:
        """The seat as JSON-ready values."""
        return {
            "mac": self.mac,
            "hostname": self.hostname,
            "ok": self.done,
            "failure": self.failure,
            "events": [event.as_json() for event in self.events],
        }

    def last(self) -> str:
        """The last thing heard of it, for a person."""
        if not self.events:
            return NEVER_SEEN
        return f"{self.events[-1].stage}: {self.events[-1].message}"

    def take(self, events: list[BootEvent], stages: Collection[str]) -> list[BootEvent]:
        """Has ``events`` for its history and says which are new. It is done when it has reported
        all ``stages``, in this boot if there was a failed one before.
        """
        new = [event for event in events if event not in self.events]
        self.events = events
        left = set(stages)
        for event in events:
            left.discard(event.stage)
            if event.stage.startswith(FAILED):
                self.failure = f"{event.stage.removeprefix(FAILED)}: {event.message}"
                left = set(stages)
            elif not left:
                self.failure = ""
        self.done = not left
        return sorted(new, key=lambda event: event.when)  # a PC's reports take a moment to come


def watch(
    server: str,
    macs: Collection[str],
    stages: Collection[str],
    *,
    since: float = 0.0,
    seconds: float,
    tell: Callable[[Watched, BootEvent], None],
) -> list[Watched]:
    """Returns when each seat of ``macs`` has reported all ``stages`` to ``server`` (HOST:PORT)
    later than ``since`` (by the server's clock), or a failure, or ``seconds`` are over, which is the
    failure of the others. ``tell`` hears of each event once, of none if all had happened before.
    Raises OperatorError if the server does not answer at the beginning; later it may be away.
    """
    seats = {mac: Watched(mac) for mac in macs}
    deadline = time.monotonic() + seconds
    report = fetch_status(server)
    at_first = True
    while True:
        for status in report["seats"]:
            if status["mac"] in seats:
                seat = seats[status["mac"]]
                seat.hostname = status["hostname"]
                events = [BootEvent(**e) for e in status["events"] if e["when"] > since]
                new = seat.take(events, stages)
                if at_first and seat.done:  # long since: nobody waits to hear how
                    continue
                for event in new:
                    tell(seat, event)
        at_first = False
        waiting = [seat for seat in seats.values() if not seat.done and not seat.failure]
        if waiting and time.monotonic() > deadline:
            for seat in waiting:
                seat.failure = f"not there after {seconds:g} s; last: {seat.last()}"
            waiting = []
        if not waiting:
            return list(seats.values())
        time.sleep(POLL_SECONDS)
        with contextlib.suppress(OperatorError):
            report = fetch_status(server)
