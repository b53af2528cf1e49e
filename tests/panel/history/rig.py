"""What the tests of the history share: a clock, rows of seats, and a wait."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from netboot.feed.records import Hardware, Pages, Pressure, Report, SeatRow, Trouble
from netboot.panel.history import History
from netboot.panel.records import Boot, Step

NOW = 1_800_000_000.0  # the begin of an hour
MAC = "52:54:00:00:00:01"
MIB = 2**20
WAIT_SECONDS = 60.0

T = TypeVar("T")


class Clock:
    """Seconds since the epoch that pass when the test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def mac_of(index: int) -> str:
    return f"52:54:00:00:{index >> 8:02x}:{index & 255:02x}"


def row(
    when: float, mac: str = MAC, *, some: float = 0.0, trouble: Trouble | None = None, **values: Any
) -> SeatRow:
    """A seat that runs, with a report of that time."""
    report = Report(
        when,
        memory=512 * MIB,
        available=100 * MIB,
        areas=((64 * MIB, 512 * MIB),),
        pressure=Pressure(some, some / 2, 3.5, 1.25),
        load=0.75,
    )
    pages = Pages(connections=1, read_rate=40960.0, write_rate=20480.0)
    given = {"name": f"pc{mac[-2:]}", "named": True, "state": "running", "seen": when, "uuid": "u"}
    hardware = Hardware(memory=512 * MIB, card="8086:100e", arch="x86_64")
    given |= {"hardware": hardware, "report": report, "pages": pages, "trouble": trouble}
    return SeatRow(mac, **{**given, **values})


def boot(began: float, seconds: float | None = 30.0, outcome: Any = "running") -> Boot:
    """A boot whose userland came last."""
    ended = None if seconds is None else began + seconds
    steps = (Step("dhcp", 0.0, "m"), Step("swap", 4.0, "m"), Step("userland", seconds or 9.0, "m"))
    return Boot(began, ended, outcome, seconds, steps, "kiosk")


def run(question: Coroutine[Any, Any, T]) -> T:
    """Return the answer of an async method."""
    return asyncio.run(question)


def written(history: History) -> None:
    """Wait until all that was given is in the database."""
    eventually(lambda: history.waiting == 0)


def eventually(is_so: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < until, "not within the time"
        time.sleep(0.01)
