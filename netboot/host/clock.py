"""Clock: seconds since the epoch by a clock that nobody sets, also over a restart of the server.

The wall clock of a machine without a battery jumps by years when NTP comes. A lease, and
all else that ages, would then end at once or never.
"""

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netboot.host.boot import boot_id
from netboot.host.files import PRIVATE, replace_file

log = logging.getLogger(__name__)

VERSION = 1


def since_boot() -> float:
    """Return the seconds since this machine's kernel started, those asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Clock:
    """The time: ``offset`` seconds more than ``ticks`` counts."""

    offset: float
    ticks: Callable[[], float] = since_boot

    def now(self) -> float:
        """Return the seconds since the epoch as the wall clock said when this clock began."""
        return self.offset + self.ticks()


def load(
    path: Path,
    wall: Callable[[], float] = time.time,
    ticks: Callable[[], float] = since_boot,
    boot: Callable[[], str] = boot_id,
) -> Clock:
    """Return the clock of an earlier server with this file, or begin one.

    In the same boot of the machine it goes on exactly. After another boot it goes on by the wall
    clock, and never before the time at which the last server started.
    """
    now, offset = wall(), wall() - ticks()
    with contextlib.suppress(FileNotFoundError):
        try:
            saved = json.loads(path.read_bytes())
            before, at = float(saved["offset"]), float(saved["at"])
            if not (math.isfinite(before) and math.isfinite(at)):
                raise ValueError("no time")
            offset = before if saved["boot"] == boot() else max(now, at) - ticks()
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s: not a clock: %r; it begins again, by the wall clock", path, error)
    clock = Clock(offset, ticks)
    row = {"version": VERSION, "boot": boot(), "offset": offset, "at": clock.now()}
    try:
        replace_file(path, json.dumps(row) + "\n", mode=PRIVATE)
    except OSError as error:  # a full disk: the next server begins by the wall clock
        log.warning("%s: cannot keep the clock: %s", path, error.strerror)
    return clock
