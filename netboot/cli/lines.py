"""Lines of output that hold nobody up: a pipe that nobody reads must not stop a server."""

import logging
import os
import threading
import time
from collections.abc import Callable

KEPT = 10_000  # lines, some 2 MB; a room of 60 boots with 2,000
# So long lines are gathered. If each of them woke the thread, it and whoever writes would take Python's
# lock from each other at every system call: half of the CPU of a DHCP server that is asked all it can.
GATHER_SECONDS = 0.01


class Lines:
    """Writes lines to a file descriptor, in order, by a thread of its own.

    While ``KEPT`` lines wait to be read, further ones are left out; ``lost`` makes a line of how
    many. When there is no reader any more, all are.
    """

    def __init__(self, descriptor: int, lost: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._lost_line = lost
        self._lost = 0
        self._waiting: list[str] = []
        self._writing = 0
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="lines", daemon=True).start()

    def write(self, line: str) -> None:
        """Has ``line`` written; returns at once."""
        with self._changed:
            if self._closed:
                return
            if self._lost or len(self._waiting) + self._writing >= KEPT:
                self._lost += 1  # until all that waits and the number itself are written
            else:
                self._waiting.append(line)
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Returns when all lines are written, or after ``seconds``."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not (self._waiting or self._writing or self._lost),
                seconds,
            )

    def _run(self) -> None:
        while True:
            data = ("\n".join(self._gather()) + "\n").encode("utf-8", "replace")
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:  # the reader has gone
                with self._changed:
                    self._closed = True
                    self._changed.notify_all()
                return

    def _gather(self) -> list[str]:
        """All lines that wait, once there are some."""
        with self._changed:
            self._writing = 0
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._lost)
        time.sleep(GATHER_SECONDS)
        with self._changed:
            if self._waiting:
                lines, self._waiting = self._waiting, []
            else:
                lines, self._lost = [self._lost_line(self._lost)], 0
            self._writing = len(lines)
            return lines


class LinesHandler(logging.Handler):
    """Writes what is logged to ``lines``."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Has one record written."""
        self._lines.write(self.format(record))
