"""Messages between the TFTP server and its workers, over SOCK_SEQPACKET sockets.

To a worker: a transfer to make, with two descriptors: a socket of its own, bound to the address that
was asked and connected to the client, and the file. From a worker: how a transfer ended.
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from netboot.serve.tftp.transfer import Outcome

MAX_PACKET_BYTES = 70 << 10  # a request that fills a datagram
DESCRIPTORS = 2


@dataclass(frozen=True, slots=True)
class Job:
    """A transfer to make. ``number`` is the server's name for it, ``mtu`` in bytes. The file's last
    characters are ``end`` instead.
    """

    number: int
    filename: str
    options: Mapping[str, str]
    mtu: int
    end: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a transfer ended; ``sent``: bytes of the file that the client acknowledged."""

    number: int
    outcome: Outcome
    sent: int
    reason: str


def send_job(worker: socket.socket, job: Job, transfer: socket.socket, file: int) -> None:
    """Raises BlockingIOError when the worker does not keep up, OSError when it is gone."""
    socket.send_fds(worker, [json.dumps(asdict(job)).encode()], [transfer.fileno(), file])


def receive_job(control: socket.socket) -> tuple[Job, socket.socket, int] | None:
    """The next job, its socket and its file; None when the server is gone."""
    packet, descriptors, _, _ = socket.recv_fds(control, MAX_PACKET_BYTES, DESCRIPTORS)
    if not packet:
        return None
    return Job(**json.loads(packet)), socket.socket(fileno=descriptors[0]), descriptors[1]


def send_ended(control: socket.socket, ended: Ended) -> None:
    """Raises OSError when the server is gone."""
    control.send(json.dumps(asdict(ended)).encode())


def receive_ended(worker: socket.socket) -> Ended | None:
    """How a transfer ended; None when the worker is gone."""
    packet = worker.recv(MAX_PACKET_BYTES)
    if not packet:
        return None
    fields = json.loads(packet)
    return Ended(**{**fields, "outcome": Outcome(fields["outcome"])})
