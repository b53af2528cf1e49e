"""Complaints: log lines that a stranger can cause, limited so that nobody can fill the log."""

import logging
import time
from collections.abc import Callable

LINES = 60  # of all senders together in each period
PERIOD_SECONDS = 60.0
LASTING_LINES, DAY_SECONDS = 10, 86_400.0


class Complaints:
    """Log at most one line for each sender in a period, and ``LINES`` for all of them together.

    Further lines are counted, and the next period begins with their number. Memory is bounded: only
    senders that got a line are remembered.
    """

    def __init__(self, log: logging.Logger, *, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._begin = float("-inf")
        self._told: set[str] = set()
        self._suppressed = 0

    def warn(
        self, sender: str, message: str, *arguments: object, level: int = logging.WARNING
    ) -> bool:
        """Log a line about ``sender`` (an address), or only count it. Return True if logged."""
        now = self._now()
        if now - self._begin >= PERIOD_SECONDS:
            if self._suppressed:
                self._log.warning("%d more warnings suppressed", self._suppressed)
            self._begin, self._suppressed = now, 0
            self._told.clear()
        if sender in self._told or len(self._told) >= LINES:
            self._suppressed += 1
            return False
        self._told.add(sender)
        self._log.log(level, message, *arguments)
        return True


class Lasting:
    """Log lines about faults that stay until an operator mends them.

    Each text comes once a day, and ``LASTING_LINES`` different ones at most. Memory is bounded.
    """

    def __init__(self, log: logging.Logger, *, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._begin = float("-inf")
        self._told: set[str] = set()

    def warn(self, text: str) -> None:
        """Log ``text``, if it is its turn."""
        now = self._now()
        if now - self._begin >= DAY_SECONDS:
            self._begin = now
            self._told.clear()
        if text not in self._told and len(self._told) < LASTING_LINES:
            self._told.add(text)
            self._log.warning("%s", text)
