"""Complaints: warnings about what others send, few enough that nobody can fill the log."""

import logging
import time

log = logging.getLogger(__name__)

COMPLAINTS = 10  # lines of log in each
COMPLAINT_PERIOD = 10.0  # seconds


class Complaints:
    """So many warnings in each period, since anyone on the LAN can cause them."""

    def __init__(self) -> None:
        self._period_began = float("-inf")
        self._count = 0
        self._said: set[str] = set()

    def warn(self, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Logs a warning, or counts it if there were many."""
        now = time.monotonic()
        if now - self._period_began > COMPLAINT_PERIOD:
            if self._count > COMPLAINTS:
                log.warning("%d more warnings were left out", self._count - COMPLAINTS)
            self._period_began, self._count = now, 0
        self._count += 1
        if self._count <= COMPLAINTS:
            log.warning(message, *arguments, exc_info=exc_info)

    def warn_once(self, text: str) -> None:
        """Logs a warning that is news only once."""
        if text not in self._said and len(self._said) < COMPLAINTS:
            self._said.add(text)
            log.warning("%s", text)
