"""Messages between the TFTP server and its workers, over SOCK_SEQPACKET sockets.

To a worker: a transfer to make, with two descriptors. The first is a socket for this transfer,
bound to the address that the client asked and connected to the client. The second is the file.
Or the number of a transfer to end, because places are short. From a worker: the number of a
transfer that was acknowledged for the first time, that of a transfer whose first packet does not
seem to arrive, or the end of a transfer.
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
    """A transfer to make.

    ``number`` is the server's name for it, ``mtu`` is in bytes. ``asked`` is the number of bytes of
    the request. ``end`` replaces the last characters of the file.
    """

    number: int
    filename: str
    options: Mapping[str, str]
    mtu: int
    asked: int
    end: str = ""


@dataclass(frozen=True, slots=True)
class Stuck:
    """The first packet of a transfer was repeated, and does not seem to arrive."""

    number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a transfer. ``sent`` counts the bytes of the file that the client acknowledged."""

    number: int
    outcome: Outcome
    sent: int
    reason: str


def send_job(worker: socket.socket, job: Job, transfer: socket.socket, file: int) -> None:
    """Send a transfer to a worker.

    Raises BlockingIOError if the worker's queue is full, OSError if the worker is gone.
    """
    socket.send_fds(worker, [json.dumps(asdict(job)).encode()], [transfer.fileno(), file])


def send_drop(worker: socket.socket, number: int) -> None:
    """Have a worker end transfer ``number`` if it was never acknowledged. Raises OSError."""
    worker.send(json.dumps(number).encode())


def receive_work(control: socket.socket) -> tuple[Job, socket.socket, int] | int | None:
    """Return the next job, its socket and its file; or the number of a transfer to end.

    Return None if the server is gone.
    """
    packet, descriptors, _, _ = socket.recv_fds(control, MAX_PACKET_BYTES, DESCRIPTORS)
    if not packet:
        return None
    work = json.loads(packet)
    if isinstance(work, int):
        return work
    return Job(**work), socket.socket(fileno=descriptors[0]), descriptors[1]


def send_heard(control: socket.socket, number: int) -> None:
    """Report the first acknowledgement of transfer ``number``. Raises OSError."""
    control.send(json.dumps(number).encode())


def send_stuck(control: socket.socket, number: int) -> None:
    """Report that the first packet of transfer ``number`` does not seem to arrive. Raises OSError."""
    control.send(json.dumps([number]).encode())


def send_ended(control: socket.socket, ended: Ended) -> None:
    """Report the end of a transfer. Raises OSError if the server is gone."""
    control.send(json.dumps(asdict(ended)).encode())


def receive_report(worker: socket.socket) -> Ended | Stuck | int | None:
    """Return the end of a transfer, one that is stuck, or the number of one that was acknowledged.

    Return None if the worker is gone.
    """
    packet = worker.recv(MAX_PACKET_BYTES)
    if not packet:
        return None
    fields = json.loads(packet)
    if isinstance(fields, int):
        return fields
    if isinstance(fields, list):
        return Stuck(fields[0])
    return Ended(**{**fields, "outcome": Outcome(fields["outcome"])})
