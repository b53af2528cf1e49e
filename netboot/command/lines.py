"""Lines of output that hold nobody up: a pipe that nobody reads must not stop a server."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable

KEPT = 10_000  # lines, some 2 MB; a room of 60 boots with 2,000


class Lines:
    """Writes lines to a file descriptor, in order, by a thread of its own.

    While ``KEPT`` lines wait to be read, further ones are left out; ``lost`` makes a line of how
    many. When there is no reader any more, all are.
    """

    def __init__(self, descriptor: int, lost: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._lost_line = lost
        self._lost = 0
        self._waiting: deque[str] = deque()
        self._idle = True
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="lines", daemon=True).start()

    def write(self, line: str) -> None:
        """Has ``line`` written; returns at once."""
        with self._changed:
            if self._closed:
                return
            if self._lost or len(self._waiting) >= KEPT:
                self._lost += 1  # until all that waits and the number itself are written
            else:
                self._waiting.append(line)
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Returns when all lines are written, or after ``seconds``."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._idle and not self._waiting and not self._lost),
                seconds,
            )

    def _run(self) -> None:
        while True:
            data = (self._next() + "\n").encode("utf-8", "replace")
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:  # the reader has gone
                with self._changed:
                    self._closed = True
                    self._changed.notify_all()
                return

    def _next(self) -> str:
        with self._changed:
            self._idle = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._lost)
            self._idle = False
            if self._waiting:
                return self._waiting.popleft()
            lost, self._lost = self._lost, 0
            return self._lost_line(lost)


class LinesHandler(logging.Handler):
    """Writes what is logged to ``lines``."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Has one record written."""
        self._lines.write(self.format(record))
