"""Complaints: warnings about packets of others, limited so that nobody can fill the log."""

import logging

from netboot.host import complaints

FINDINGS = 10  # different ones, each a line


class Complaints(complaints.Complaints):
    """One warning for each sender and minute, and each finding about the LAN once."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__(log)
        self._said: set[str] = set()

    def warn_once(self, text: str) -> None:
        """Log a warning the first time only; at most ``FINDINGS`` different ones."""
        if text not in self._said and len(self._said) < FINDINGS:
            self._said.add(text)
            self._log.warning("%s", text)
