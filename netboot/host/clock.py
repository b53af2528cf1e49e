"""Clock: seconds since the epoch by a clock that nobody sets, also over a restart of the server.

The wall clock of a machine without a battery jumps by years when NTP comes. A lease, and
all else that ages, would then end at once or never.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netboot.host.boot import boot_id
from netboot.host.files import PRIVATE
from netboot.host.state import StateFile, seal, unseal

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
    file = StateFile(path, mode=PRIVATE)
    found = file.read(_parse)
    if found is not None:
        (before, at, booted), _ = found
        offset = before if booted == boot().strip() else max(now, at) - ticks()
    clock = Clock(offset, ticks)
    row = {"version": VERSION, "boot": boot().strip(), "offset": offset, "at": clock.now()}
    try:
        file.write(seal(row))
    except OSError as error:  # a full disk: the next server begins by the wall clock
        log.warning("%s: cannot keep the clock: %s", path, error.strerror)
    finally:
        file.close()
    return clock


def _parse(data: bytes) -> tuple[float, float, str]:
    """Return the offset, the time of the save and the boot. Raises ValueError."""
    saved = unseal(data, VERSION)
    try:
        offset, at, boot = float(saved["offset"]), float(saved["at"]), str(saved["boot"])
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"damaged: {error!r}") from None
    if not (math.isfinite(offset) and math.isfinite(at)):
        raise ValueError("damaged: no time")
    return offset, at, boot.strip()
