"""Watch seats boot, by the events that their server has of them."""

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from netboot.boot.events import BootEvent
from netboot.errors import OperatorError
from netboot.serve.http.status import fetch_history, fetch_status

FAILED = "failed:"
POLL_SECONDS = 0.5
NEVER_SEEN = "no request from it"


@dataclass(slots=True)
class Watched:
    """One seat and its ``events`` so far. It is ``done``, has a ``failure``, or neither."""

    mac: str
    hostname: str = ""
    events: list[BootEvent] = field(default_factory=list)
    done: bool = False
    failure: str = ""
    newest: dict[str, Any] = field(default_factory=dict)  # by the server, also before ``since``

    def as_json(self) -> dict[str, Any]:
        """Return the seat as JSON-ready values."""
        return {
            "mac": self.mac,
            "hostname": self.hostname,
            "ok": self.done,
            "failure": self.failure,
            "events": [event.as_json() for event in self.events],
        }

    def last(self) -> str:
        """Return the last event in words."""
        if not self.events:
            return NEVER_SEEN
        return f"{self.events[-1].stage}: {self.events[-1].message}"

    def take(self, events: list[BootEvent], stages: Collection[str]) -> list[BootEvent]:
        """Replace the history by ``events``; return the new ones.

        The seat is done if it has reported all ``stages`` since its last failure.
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
        return sorted(new, key=lambda event: event.when)  # reports of a PC arrive a moment late


def _events(
    server: str, seat: Watched, row: dict[str, Any], since: float, secret: bytes
) -> list[BootEvent]:
    """Return a seat's events after ``since``.

    The server is asked if the last event, which its ``row`` of the status has, is new.
    """
    if seat.newest == row["events"][-1]:
        return seat.events
    with contextlib.suppress(OperatorError):  # else it is asked again in a moment
        row = fetch_history(server, seat.mac, secret) or row
        seat.newest = row["events"][-1]
        return [BootEvent(**event) for event in row["events"] if event["when"] > since]
    return seat.events


def watch(
    server: str,
    macs: Collection[str],
    stages: Collection[str],
    *,
    since: float = 0.0,
    secret: bytes = b"",
    seconds: float,
    tell: Callable[[Watched, BootEvent], None],
) -> list[Watched]:
    """Wait until each seat of ``macs`` has reported all ``stages``, or a failure.

    A ``server`` on another machine asks for its ``secret``. Only events at
    ``server`` (HOST:PORT) later than ``since``, by its clock, count. After
    ``seconds`` all seats that are not done have failed. ``tell`` gets each event once; it gets none
    of a seat that is done at the start. Raises OperatorError if the server does not answer at the
    start; later it may be away.
    """
    seats = {mac: Watched(mac) for mac in macs}
    deadline = time.monotonic() + seconds
    report = fetch_status(server, secret)
    at_first = True
    while True:
        for row in report["seats"]:
            if row["mac"] in seats:
                seat = seats[row["mac"]]
                seat.hostname = row["hostname"]
                new = seat.take(_events(server, seat, row, since, secret), stages)
                if at_first and seat.done:  # done before: its events are old
                    continue
                for event in new:
                    tell(seat, event)
        at_first = False
        waiting = [seat for seat in seats.values() if not seat.done and not seat.failure]
        if waiting and time.monotonic() > deadline:
            for seat in waiting:
                seat.failure = f"not done after {seconds:g} s; last: {seat.last()}"
            waiting = []
        if not waiting:
            return list(seats.values())
        time.sleep(POLL_SECONDS)
        with contextlib.suppress(OperatorError):
            report = fetch_status(server, secret)
