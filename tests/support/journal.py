"""A journal that is played: it takes entries at a socket, as systemd-journald does."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 60.0
Entry = dict[str, str]


class Journal:
    """The entries that came. ``stream`` is what JOURNAL_STREAM says of a descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(SECONDS)

    def take(self) -> Entry:
        """Return the next entry."""
        return parsed(self._socket.recv(1 << 20))

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)


@contextmanager
def journal_at(path: Path) -> Iterator[Journal]:
    """Play a journal at the socket ``path``."""
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


def stream(descriptor: int) -> str:
    """Return what systemd puts into JOURNAL_STREAM for a descriptor."""
    found = os.fstat(descriptor)
    return f"{found.st_dev}:{found.st_ino}"


def parsed(data: bytes) -> Entry:
    """Return the fields of an entry; each of them once."""
    fields: Entry = {}
    while data:
        head, _, rest = data.partition(b"\n")
        name, is_text, value = head.partition(b"=")
        if not is_text:
            (size,) = struct.unpack_from("<Q", rest)
            value, end, rest = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
        assert name.decode() not in fields
        fields[name.decode()], data = value.decode(), rest
    return fields
