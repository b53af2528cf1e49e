"""Output by lines that never blocks: a pipe without a reader must not stop a server.

If systemd has connected our output with its journal, lines are entries there, with a priority and fields.
"""

import errno
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from netboot.host.journald import Journald, Priority, entry, is_journal

IDENTIFIER = {"SYSLOG_IDENTIFIER": "netboot"}
KEPT = 10_000  # lines, some 2 MB; a room of 60 boots with 2,000
# The thread gathers lines for this time. If each line woke it, the thread and the writer would take
# Python's lock from each other at every system call: half of the CPU of a DHCP server at full load.
GATHER_SECONDS = 0.01
RETRY_SECONDS = 1.0  # on a full disk
GONE = (errno.EPIPE, errno.EBADF)  # the reader will not come back


@dataclass(frozen=True, slots=True)
class Line:
    """One line. ``message`` and ``fields`` are for the journal; without ``message`` it gets ``text``."""

    text: str
    priority: Priority = Priority.INFO
    message: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def as_entry(self) -> bytes:
        """Return the line for the journal."""
        return entry(self.message or self.text, self.priority, {**IDENTIFIER, **self.fields})


class Lines:
    """Lines that a thread writes to a file descriptor, in order.

    While ``KEPT`` lines wait, further lines are dropped. ``lost`` turns their number into a line
    that takes their place. Lines for a full disk are lost too, until it has room again. Once the
    reader is gone, all lines are dropped. With a ``journal`` they go there, and to the descriptor
    while it is away.
    """

    def __init__(
        self, descriptor: int, lost: Callable[[int], str], journal: Journald | None = None
    ) -> None:
        self._descriptor = descriptor
        self._journal = journal
        self._lost_line = lost
        self._lost = 0
        self._waiting: list[Line] = []
        self._writing = 0
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="lines", daemon=True).start()

    def write(self, line: str | Line) -> None:
        """Queue ``line`` and return at once."""
        line = Line(line) if isinstance(line, str) else line
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
            if self._journal is not None:
                taken = self._journal.send(line.as_entry() for line in lines)
                lines = lines[taken:]
                if not lines:
                    continue
            data = torn + ("\n".join(line.text for line in lines) + "\n").encode("utf-8", "replace")
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

    def _gather(self) -> tuple[list[Line], int]:
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
                lines = [Line(self._lost_line(lost), Priority.WARNING)]
            self._writing = len(lines)
            return lines, lost


def lines_to(descriptor: int, lost: Callable[[int], str], *, plain: bool = False) -> Lines:
    """Return the lines of a descriptor: entries of the journal if that is what it leads to.

    ``plain`` lines are for a program, and never such entries.
    """
    journal = Journald() if is_journal(descriptor) and not plain else None
    return Lines(descriptor, lost, journal)


class LinesHandler(logging.Handler):
    """A logging handler that writes to ``lines``, with ``prefix`` before each message."""

    def __init__(self, lines: Lines, prefix: str = "") -> None:
        super().__init__()
        self._lines = lines
        self._prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record."""
        message = self.format(record)
        fields = {"LOGGER": record.name}
        self._lines.write(Line(f"{self._prefix}{message}", priority_of(record), message, fields))


def priority_of(record: logging.LogRecord) -> Priority:
    """Return the priority of a record."""
    if record.levelno >= logging.ERROR:
        return Priority.ERROR
    if record.levelno >= logging.WARNING:
        return Priority.WARNING
    return Priority.INFO if record.levelno >= logging.INFO else Priority.DEBUG
