"""Complaints: warnings about packets of others, limited so that nobody can fill the log."""

import logging
import time

log = logging.getLogger(__name__)

COMPLAINTS = 10  # lines of log in each period
COMPLAINT_PERIOD = 10.0  # seconds


class Complaints:
    """At most ``COMPLAINTS`` warnings in a period, since anyone on the LAN can cause them."""

    def __init__(self) -> None:
        self._period_began = float("-inf")
        self._count = 0
        self._said: set[str] = set()

    def warn(self, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Log a warning, or only count it if this period had its share."""
        now = time.monotonic()
        if now - self._period_began > COMPLAINT_PERIOD:
            if self._count > COMPLAINTS:
                log.warning("%d more warnings suppressed", self._count - COMPLAINTS)
            self._period_began, self._count = now, 0
        self._count += 1
        if self._count <= COMPLAINTS:
            log.warning(message, *arguments, exc_info=exc_info)

    def warn_once(self, text: str) -> None:
        """Log a warning the first time only; at most ``COMPLAINTS`` different ones."""
        if text not in self._said and len(self._said) < COMPLAINTS:
            self._said.add(text)
            log.warning("%s", text)
