"""Output by lines that never blocks: a pipe without a reader must not stop a server."""

import errno
import logging
import os
import select
import threading
import time
from collections.abc import Callable

KEPT = 10_000  # lines, some 2 MB; a room of 60 boots with 2,000
# The thread gathers lines for this time. If each line woke it, the thread and the writer would take
# Python's lock from each other at every system call: half of the CPU of a DHCP server at full load.
GATHER_SECONDS = 0.01
RETRY_SECONDS = 1.0  # on a full disk
GONE = (errno.EPIPE, errno.EBADF)  # the reader will not come back


class Lines:
    """Lines that a thread writes to a file descriptor, in order.

    While ``KEPT`` lines wait, further lines are dropped. ``lost`` turns their number into a line
    that takes their place. Lines for a full disk are lost too, until it has room again. Once the
    reader is gone, all lines are dropped.
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
        """Queue ``line`` and return at once."""
        with self._changed:
            if self._closed:
                return
            if self._lost or len(self._waiting) + self._writing >= KEPT:
                self._lost += 1  # until the waiting lines and the number are written
            else:
                self._waiting.append(line)
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Wait until all lines are written, for at most ``seconds``."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not (self._waiting or self._writing or self._lost),
                seconds,
            )

    def _run(self) -> None:
        torn = b""  # the end of a line that the disk took in part
        while True:
            lines, lost = self._gather()
            data = torn + ("\n".join(lines) + "\n").encode("utf-8", "replace")
            left, error = self._put(data)
            if error in GONE:
                with self._changed:
                    self._closed = True
                    self._changed.notify_all()
                return
            if written := data[: len(data) - len(left)]:
                torn = b"" if written.endswith(b"\n") else b"\n"
            if left:
                with self._changed:
                    self._lost += lost or left.count(b"\n")
                    self._lost += len(self._waiting)
                    self._waiting.clear()
                time.sleep(RETRY_SECONDS)

    def _put(self, data: bytes) -> tuple[bytes, int]:
        """Write ``data``; return the rest that the descriptor did not take, and the error's number."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another program made this pipe or terminal non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                return data, error.errno or errno.EIO
        return data, 0

    def _gather(self) -> tuple[list[str], int]:
        """Wait for lines; return them, and the number of lost ones if they tell it."""
        with self._changed:
            self._writing = 0
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._lost)
        time.sleep(GATHER_SECONDS)
        with self._changed:
            if self._waiting:
                lines, self._waiting, lost = self._waiting, [], 0
            else:
                lost, self._lost = self._lost, 0
                lines = [self._lost_line(lost)]
            self._writing = len(lines)
            return lines, lost


class LinesHandler(logging.Handler):
    """A logging handler that writes to ``lines``."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record."""
        self._lines.write(self.format(record))
