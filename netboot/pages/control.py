"""Messages between the control plane and its page workers, over a SOCK_SEQPACKET socket pair.

One packet is one line of JSON, then (only with ``connect``) bytes the client sent after its
handshake. To a worker, with file descriptors:

- ``connect``: take over a client; descriptors: its socket, then those of the page file
- ``drop``: a lease has ended; close its connections

From a worker: ``closed`` (a connection's end), ``counters`` (what was done since the last report),
``first-write`` (of a lease, since this worker has it).
"""

import json
import socket
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

MAX_PACKET_BYTES = 64 << 10
MAX_DESCRIPTORS = 8


def send(
    control: socket.socket, message: Message, descriptors: Sequence[int] = (), tail: bytes = b""
) -> None:
    """Sends one message. Raises BlockingIOError when the queue is full, OSError at its end."""
    packet = json.dumps(message).encode() + b"\n" + tail
    socket.send_fds(control, [packet], list(descriptors))


def receive(control: socket.socket) -> tuple[Message, list[int], bytes] | None:
    """The next message, its descriptors and its tail; None at the end of the other side."""
    packet, descriptors, _, _ = socket.recv_fds(control, MAX_PACKET_BYTES, MAX_DESCRIPTORS)
    if not packet:
        return None
    line, _, tail = packet.partition(b"\n")
    return json.loads(line), descriptors, tail
