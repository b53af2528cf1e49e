"""Messages between the control plane and its page workers, over SOCK_SEQPACKET sockets.

One packet is one line of JSON, with file descriptors. To a worker:

- ``connect``: take over a client; descriptors: its socket, what it is owed and has sent
  (``carry``), then those of the page file
- ``fence``: close the connections of a lease whose set is lower than ``set``
- ``drop``: a lease has ended; close its connections
- ``leave``: give all clients back, each lease when all its connections are between two requests,
  and then end
- ``stop``: close everything and end

From a worker: ``ready`` (its first word), ``closed`` (a connection's end), ``counters`` (what was
done since the last report), ``first-write`` (of a lease), ``delayed`` (a lease's writes wait for
room), ``moved`` (a client given back; descriptors: its socket, what it is owed and has sent, and
those of the page file if that is an image).

A worker whose control plane is gone goes on serving its clients, and listens on a socket of its
own in the server's folder (``listen``) for the next control plane, which tells it to ``leave``.
"""

import json
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Message = dict[str, Any]

MAX_PACKET_BYTES = 64 << 10
MAX_DESCRIPTORS = 16
MEETING_PREFIX = "state-worker-"  # of sockets, in a store's directory


def send(control: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Sends one message. Raises BlockingIOError when the queue is full, OSError at its end."""
    socket.send_fds(control, [json.dumps(message).encode()], list(descriptors))


def receive(control: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors; None at the end of the other side."""
    packet, descriptors, _, _ = socket.recv_fds(control, MAX_PACKET_BYTES, MAX_DESCRIPTORS)
    return (json.loads(packet), descriptors) if packet else None


def carry(unsent: bytes, unparsed: bytes) -> int:
    """A descriptor that holds what a client is owed and what it has sent, of any length."""
    descriptor = os.memfd_create("netboot-carried")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(len(unsent).to_bytes(8, "big") + unsent + unparsed)
    return descriptor


def carried(descriptor: int) -> tuple[bytes, bytes]:
    """What ``carry`` was given. Closes the descriptor."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        data = file.read()
    end = 8 + int.from_bytes(data[:8], "big")
    return data[8:end], data[end:]


def listen(folder: Path) -> tuple[socket.socket, str]:
    """A socket for the next control plane to meet a worker at, and its name in ``folder``."""
    name = f"{MEETING_PREFIX}{secrets.token_hex(8)}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _short(folder) as path:
        listener.bind(f"{path}/{name}")
    listener.listen(8)
    return listener, name


def meetings(folder: Path) -> list[str]:
    """Names in ``folder`` where workers can be met."""
    return [path.name for path in folder.glob(f"{MEETING_PREFIX}*")]


def meet(folder: Path, name: str) -> socket.socket | None:
    """Connects to a worker that an earlier control plane left; None if it is dead."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short(folder) as path:
            sock.connect(f"{path}/{name}")
    except ConnectionRefusedError:
        sock.close()
        return None
    return sock


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    # A socket's path has 107 bytes at most; a folder's name may be longer than that.
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
