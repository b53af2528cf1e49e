"""Orders at a time of the day, such as all PCs off at 17:00 and on at 7:30.

Times are those of the wall clock of the panel's machine. An order in the hour that the change to summer time
leaves out is given an hour later by that clock. An order in the hour that comes twice is given the first
time. Each order is given once: the time up to which all orders are given is saved before it is given. A panel
that was off at that time gives orders that are at most five minutes late. ``due`` and ``next_due`` are pure.
"""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

from netboot.errors import NetbootError
from netboot.host.files import replace_file
from netboot.host.state import read_regular
from netboot.panel.records import Order, RoomSeat, Schedule

VERSION = 1  # of the file
LATE_SECONDS = 300.0  # an order that is later is not given
# If the clock is set back, no order is given twice. But a clock of a wrong year must not end all orders.
BACK_SECONDS = 86400.0
SETTLE_SECONDS = 5.0  # in which the servers tell of their seats
EMPTY_SECONDS = 2.0  # between two looks at a room without a seat
LOOK_SECONDS = 15.0  # between two looks at the schedules, which a person may change at any time
KEEP_SECONDS = 60.0  # between two writes without an order
GROUP = "group:"
BY = "schedule"  # the account in the audit is ``schedule ID``
_TIME = re.compile("([01][0-9]|2[0-3]):([0-5][0-9])")

log = logging.getLogger(__name__)


def due(
    schedules: Iterable[Schedule], done: float, now: float, zone: tzinfo
) -> list[tuple[float, Schedule]]:
    """Return the schedules whose time is after ``done`` and not after ``now``, the earliest first.

    A time of more than five minutes ago is left out. All times are seconds since the epoch.
    """
    begin = max(done, now - LATE_SECONDS)
    found = [
        (when, schedule)
        for schedule in schedules
        for when in _times(schedule, begin, zone, days=2)
        if begin < when <= now
    ]
    return sorted(found, key=lambda each: (each[0], each[1].id))


def next_due(schedules: Iterable[Schedule], now: float, zone: tzinfo) -> float | None:
    """Return when the next order is due; None if there is none."""
    times = [_first(_times(each, now, zone, days=9), now) for each in schedules]
    return min((when for when in times if when is not None), default=None)


def _first(times: Iterator[float], now: float) -> float | None:
    return next((when for when in times if when > now), None)


def _times(schedule: Schedule, begin: float, zone: tzinfo, days: int) -> Iterator[float]:
    """Yield the times of a schedule on so many days, from the one before that of ``begin`` on."""
    found = _TIME.fullmatch(schedule.at)
    if found is None or not schedule.enabled:
        return
    first = datetime.fromtimestamp(begin, zone).date() - timedelta(days=1)
    for number in range(days + 1):
        day = first + timedelta(days=number)
        if day.weekday() in schedule.days:
            # fold=0: the first of two such hours, and the old offset in an hour that is left out.
            wall = datetime(day.year, day.month, day.day, int(found[1]), int(found[2]), tzinfo=zone)
            yield wall.timestamp()


def targets(schedule: Schedule, seats: Sequence[RoomSeat]) -> tuple[str, ...]:
    """Return the MAC addresses of the seats of a schedule, in the order of the room.

    A schedule without seats is for all that a profile names, and never for a stranger's PC.
    """
    named = set(schedule.seats)
    if not named:
        return tuple(seat.mac for seat in seats if seat.named)
    groups = {each.removeprefix(GROUP) for each in named if each.startswith(GROUP)}
    return tuple(seat.mac for seat in seats if seat.mac in named or groups & set(seat.groups))


def order_of(schedule: Schedule, macs: tuple[str, ...]) -> Order:
    """Return the order that a schedule gives."""
    return Order(
        schedule.order,
        macs,
        f"{BY} {schedule.id}",
        text=schedule.text,
        image=schedule.image,
        loader=schedule.loader,
    )


class Scheduler:
    """Gives the orders of schedules when they are due. ``run`` does so for ever."""

    def __init__(
        self,
        schedules: Callable[[], Awaitable[Sequence[Schedule]]],
        seats: Callable[[], Sequence[RoomSeat]],
        give: Callable[[Schedule, Order], object],
        kept: Path,
        *,
        zone: Callable[[], tzinfo],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``schedules`` and ``seats`` return all there are; ``give`` starts to give an order.

        ``kept``: the file with the time up to which all orders are given.
        """
        self._schedules = schedules
        self._seats = seats
        self._give = give
        self._kept = kept
        self._zone = zone
        self._clock = clock
        self._done = min(_read(kept) or clock(), clock())
        self._written = 0.0

    async def run(self) -> None:
        """Give orders for ever."""
        await asyncio.sleep(SETTLE_SECONDS)
        while True:
            wait = LOOK_SECONDS
            try:
                wait = await self.look()
            except NetbootError as error:  # the database is away; it is told elsewhere
                log.debug("no schedules: %s", error)
            await asyncio.sleep(wait)

    async def look(self) -> float:
        """Give the orders that are due. Return how many seconds to wait until the next look.

        As long as no server has told of a seat, orders wait.
        """
        seats = self._seats()
        if not seats:
            return EMPTY_SECONDS
        schedules = await self._schedules()
        now, zone = self._clock(), self._zone()
        if self._done > now + BACK_SECONDS:
            self._done = now
        orders = due(schedules, self._done, now, zone)
        self._done = max(self._done, now)
        if orders or now - self._written >= KEEP_SECONDS:
            self._keep(now)
        for when, schedule in orders:
            macs = targets(schedule, seats)
            log.info(
                "schedule %d: %s for %d seats, %.0f s late",
                *(schedule.id, schedule.order, len(macs), now - when),
            )
            self._give(schedule, order_of(schedule, macs))
        following = next_due(schedules, now, zone)
        return (
            LOOK_SECONDS
            if following is None
            else min(LOOK_SECONDS, max(following - now, 0.0) + 0.01)
        )

    def _keep(self, now: float) -> None:
        self._written = now
        try:
            replace_file(
                self._kept, json.dumps({"version": VERSION, "given_until": self._done}) + "\n"
            )
        except OSError as error:
            log.warning("%s cannot be written: %s", self._kept, error.strerror)


def _read(path: Path) -> float | None:
    """Return the moment that a file keeps; None if there is none, or another release's."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        content = json.loads(read_regular(path))
        when = float(content["given_until"])
        return when if content["version"] == VERSION and 0 <= when < 1e11 else None
    return None


def local_zone() -> tzinfo:
    """Return the time zone of this machine, with its summer times."""
    from zoneinfo import ZoneInfo

    with contextlib.suppress(OSError, ValueError), Path("/etc/localtime").open("rb") as file:
        return ZoneInfo.from_file(file)
    zone = datetime.now().astimezone().tzinfo
    assert zone is not None
    return zone
