"""Entries for systemd's journal in its own protocol: a message with a priority and fields.

A line on standard error has neither. See systemd.journal-fields(7) and
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: one datagram is one entry.
"""

import os
import socket
import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum

SOCKET = "/run/systemd/journal/socket"
# Of an entry. Linux takes datagrams of 208 KiB (net.core.wmem_default); above that an entry would have
# to go into a file of its own (memfd_create(2)), which no line of ours needs.
MOST_BYTES = 32 << 10


class Priority(IntEnum):
    """How grave an entry is, as in syslog(3)."""

    ERROR = 3
    WARNING = 4
    INFO = 6
    DEBUG = 7


def is_journal(descriptor: int) -> bool:
    """Return True if systemd has connected a descriptor of this process with the journal.

    Programs that we start, and shells of a service, have the same environment (sd-journal,
    JOURNAL_STREAM in systemd.exec(5)). So the file itself counts.
    """
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


def entry(message: str, priority: Priority, fields: Mapping[str, str]) -> bytes:
    """Return the datagram of an entry. A long message is cut.

    The names of fields are ours: capital letters and underscores. Their values may be anything.
    """
    texts = {"MESSAGE": message, "PRIORITY": str(int(priority)), **fields}
    return b"".join(_field(name, text) for name, text in texts.items())


def _field(name: str, text: str) -> bytes:
    value = text.encode("utf-8", "replace")[:MOST_BYTES]
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    # Text of a PC must not begin a field of its own: this form tells its length.
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


class Journald:
    """The journal of this machine, at ``SOCKET``."""

    def __init__(self) -> None:
        self._path = SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        """Send no more."""
        self._socket.close()

    def send(self, entries: Iterable[bytes]) -> int:
        """Send entries in order. Return how many the journal took: fewer if it is away.

        Waits for a journal that is slow.
        """
        taken = 0
        for each in entries:
            try:
                self._socket.sendto(each, self._path)
            except OSError:
                break
            taken += 1
        return taken
