"""Maintenance of the database, every ten minutes: hourly samples, age, number of rows, size."""

import logging
from collections.abc import Callable
from functools import partial

from netboot.host.complaints import Lasting
from netboot.panel.history import pruning
from netboot.panel.history.database import Database
from netboot.panel.history.pruning import DAY, HOUR, Limits

MEGABYTE = 1_000_000
MOST_STEPS = 12  # each removes a quarter of the time, so that 3 % are left after the last

log = logging.getLogger(__name__)


class Upkeep:
    """Keeps a database within its limits. ``clock`` returns seconds since the epoch."""

    def __init__(self, database: Database, limits: Limits, clock: Callable[[], float]) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._told = Lasting(log)

    def run(self) -> None:
        """Maintain the database once, in several transactions. Raises SQLAlchemyError and OSError."""
        now, database = self._clock(), self._database
        database.write(lambda connection: pruning.roll(connection, self._limits, now))
        first = int(now // 60 - self._limits.days * DAY)
        database.write(lambda connection: pruning.prune_by_age(connection, first))
        database.write(pruning.prune_by_number)
        if self._is_too_large():
            self._make_smaller(int(now // 60))
        database.write(database.shrink)

    def _is_too_large(self) -> bool:
        return self._database.write(self._database.size) > self._limits.megabytes * MEGABYTE

    def _make_smaller(self, now: int) -> None:
        """Remove the oldest quarter of the time until the rest is small enough; keep an hour."""
        for _ in range(MOST_STEPS):
            oldest = self._database.write(pruning.oldest)
            if oldest is None or oldest >= now - HOUR:
                break
            first = min(now - HOUR, oldest + max(1, (now - oldest) // 4))
            self._database.write(partial(pruning.prune_by_age, first=first))
            if not self._is_too_large():
                self._told.warn(
                    f"history: {(now - first) / DAY:.1f} days fill {self._limits.megabytes:g} MB, "
                    f"expected {self._limits.days:g} days: more seats or events than reckoned with; "
                    "older days are removed"
                )
                return
        self._told.warn(
            f"history: more than {self._limits.megabytes:g} MB, of which nothing is older than an hour; "
            "report it"
        )
