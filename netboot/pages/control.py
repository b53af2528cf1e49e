"""Messages between the control plane and its page workers, over SOCK_SEQPACKET sockets.

One packet is one line of JSON, with file descriptors. Messages to a worker:

- ``connect``: take over a client. Descriptors: the client's socket, its pending bytes in both
  directions (``carry``), then those of the page file
- ``fence``: close the connections of a lease whose set is lower than ``set``
- ``drop``: close the connections of a lease that has ended
- ``probe``: probe the clients of a lease with the times of ``keepalive`` (liveness.py), and report
  ``heard`` for each
- ``leave``: give all clients back, then exit. The clients of a lease go together, when all its
  connections are between two requests
- ``ping``: report ``pong``
- ``stop``: close everything and exit

Messages from a worker:

- ``ready``: the worker runs; always the first message. It understands ``ping`` if that is true:
  the program on disk, of which a worker is started, may be of an earlier release
- ``pong``: the answer to ``ping``
- ``closed``: a connection has ended
- ``counters``: the work done since the last report
- ``heard``: the kernel of a client was last heard ``at`` this time of the monotonic clock
- ``first-write``: the first page of a lease was written
- ``delayed``: the writes of a lease wait for room in the store
- ``timed``: how many turns of connections took how long since the last report
- ``waited``: for how many ``seconds`` seats waited since the last report, by reason (worker/delays.py)
- ``damaged``: a lease has to end, because its page file is not as it was made, for this ``reason``
- ``moved``: a client is given back. Descriptors: the client's socket, its pending bytes in both
  directions, and those of the page file if that is an image

A worker that loses its control plane continues to serve its clients. It listens on a socket of its
own in the server's folder (``listen``) for the next control plane, which sends it ``leave``.
"""

import json
import os
import secrets
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

Message = dict[str, Any]

MAX_PACKET_BYTES = 64 << 10
MAX_DESCRIPTORS = 16
MEETING_PREFIX = "state-worker-"  # of the sockets' names, in a store's directory
BACKLOG = 8
WORKER = "netboot.pages.worker"  # the module that a worker's command line names
_CREDENTIALS = struct.Struct("=iII")  # struct ucred of unix(7): process, user, group


def send(control: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send a message. Raises BlockingIOError if the queue is full, OSError if the peer is gone."""
    socket.send_fds(control, [json.dumps(message).encode()], list(descriptors))


def receive(control: socket.socket) -> tuple[Message, list[int]] | None:
    """Return the next message and its descriptors; None if the peer has closed its end.

    A message of which some descriptors do not fit into this process comes without any.
    """
    packet, descriptors, flags, _ = socket.recv_fds(control, MAX_PACKET_BYTES, MAX_DESCRIPTORS)
    if flags & socket.MSG_CTRUNC:
        while descriptors:
            os.close(descriptors.pop())
    return (json.loads(packet), descriptors) if packet else None


def carry(unsent: bytes, unparsed: bytes) -> int:
    """Return a descriptor of a memfd that holds two byte strings of any length.

    ``unsent`` are bytes for the client; ``unparsed`` are bytes that the client has sent.
    """
    descriptor = os.memfd_create("netboot-carried")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(len(unsent).to_bytes(8, "big") + unsent + unparsed)
    return descriptor


def carried(descriptor: int) -> tuple[bytes, bytes]:
    """Return ``unsent`` and ``unparsed`` as given to ``carry``. Closes the descriptor."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        data = file.read()
    end = 8 + int.from_bytes(data[:8], "big")
    return data[8:end], data[end:]


def listen(folder: Path) -> tuple[socket.socket, str]:
    """Return a listening socket for the next control plane, and the socket's name in ``folder``.

    Raises OSError.
    """
    name = f"{MEETING_PREFIX}{secrets.token_hex(8)}"
    with _short_path(folder) as path, ExitStack() as undo:
        listener = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(f"{path}/{name}")
        listener.listen(BACKLOG)
        undo.pop_all()
    return listener, name


def meetings(folder: Path) -> list[str]:
    """Return the names in ``folder`` at which workers listen."""
    return [path.name for path in folder.glob(f"{MEETING_PREFIX}*")]


def meet(folder: Path, name: str) -> socket.socket | None:
    """Connect to a worker that an earlier control plane left; None if the worker is dead."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short_path(folder) as path:
            sock.connect(f"{path}/{name}")
    except ConnectionRefusedError:
        sock.close()
        return None
    return sock


def make_known(listener: socket.socket) -> None:
    """Let ``process_of`` find this process, a worker with the ``listener`` of its parent.

    The kernel notes the process that listened last (SO_PEERCRED, unix(7)).
    """
    listener.listen(BACKLOG)


def process_of(worker: socket.socket) -> int | None:
    """Return a descriptor (pidfd_open(2)) of the worker that ``meet`` has connected to.

    None if the worker is dead, or of a release whose workers did not make themselves known.
    """
    size = _CREDENTIALS.size
    credentials = worker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, _, _ = _CREDENTIALS.unpack(credentials)
    try:
        process = os.pidfd_open(pid)
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if WORKER.encode() in words:
        return process
    os.close(process)
    return None


@contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    # The path of a Unix socket has at most 107 bytes (unix(7)); a folder's path may be longer.
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
