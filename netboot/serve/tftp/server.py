"""The TFTP server's control plane: read requests, decide, hand each transfer to a worker."""

import asyncio
import contextlib
import logging
import os
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from netboot.errors import DeniedError, Ignored, OperatorError, ProtocolError
from netboot.host.complaints import Complaints
from netboot.host.interfaces import ETHERNET_MTU
from netboot.host.listeners import Address, Listeners
from netboot.host.sockets import let_fragment, path_mtu, widen_receive_buffer
from netboot.serve.tftp import packet
from netboot.serve.tftp.content import NO_SUCH_FILE, Refusal, in_memory, open_file, translated
from netboot.serve.tftp.crew import Worker, number_of_workers
from netboot.serve.tftp.handover import Ended, Job
from netboot.serve.tftp.narrow import Narrow
from netboot.serve.tftp.packet import ErrorCode, Request
from netboot.serve.tftp.places import Peer, Pending, Places
from netboot.serve.tftp.transfer import DEFAULT_BLKSIZE, IP_UDP_TFTP_HEADERS, Outcome

log = logging.getLogger(__name__)

OPEN_TIMEOUT = "PXE-E32: TFTP open timeout (BIOS), PXE-E18 (UEFI)"
NARROW_MTU = DEFAULT_BLKSIZE + IP_UDP_TFTP_HEADERS
REQUEST_QUEUE_BYTES = 2 << 20  # the requests of a whole room at the same instant
REQUESTS_AT_ONCE = 64  # between two visits to the event loop
MAX_REQUEST_BYTES = 65_536

MODES = ("octet", "netascii")


@dataclass(frozen=True, slots=True)
class WithEnd:
    """The file ``path`` with its last characters replaced by the ASCII text ``end``."""

    path: Path
    end: str


Instead = Callable[[str, Mapping[str, str]], str]
Read = Callable[[str, IPv4Address, IPv4Address], bytes | Path | WithEnd | Ignored | None]


def as_asked(filename: str, options: Mapping[str, str]) -> str:
    """Return ``filename``: what is asked for is sent."""
    return filename


@dataclass(frozen=True, slots=True)
class Transfer:
    """One finished read request. ``sent`` and ``size`` are bytes; ``size`` is None if refused."""

    client: str
    filename: str
    size: int | None
    sent: int
    seconds: float
    outcome: Outcome
    reason: str = ""


class _NoAnswer(Exception):
    """The request gets no answer: the client sends it again."""


class TftpServer:
    """Read-only TFTP server for names that ``read`` knows.

    ``read(filename, server, client)`` returns the content, the path of a file or None; ``server``
    is the address that ``client`` asked. It returns Ignored if the client has to ask again, and
    raises DeniedError if the file is another client's. ``report(transfer)`` is called for each
    finished transfer. Both are called in the event loop. Only clients in ``networks`` are answered.
    ``holder`` returns the machine that an address counts for. ``instead(filename, options)`` returns
    the name of the file that is sent for such a request. ``mtu`` is the most bytes of a packet.
    """

    def __init__(
        self,
        read: Read,
        report: Callable[[Transfer], None],
        *,
        networks: Sequence[IPv4Network],
        port: int = 69,
        holder: Callable[[str], str] = str,
        instead: Instead = as_asked,
        mtu: int = ETHERNET_MTU,
    ) -> None:
        self._holder = holder
        self._mtu = mtu
        self._instead = instead
        self._read = read
        self._networks = tuple(networks)
        self._report = report
        self._port = port
        self._listeners = Listeners(_listen, begin=self._begin, end=_end, failure=_failure)
        self._workers: list[Worker] = []
        self._places = Places()
        self._narrow = Narrow(time.monotonic)
        self._last_number = 0
        self.ended: Counter[str] = (
            Counter()
        )  # transfers by their outcome, refused requests included
        self._complaints = Complaints(log)

    async def start(self, addresses: Sequence[IPv4Address]) -> None:
        """Listen on ``addresses``. Raises OperatorError if one of them is not available."""
        try:
            self.follow(addresses, self._networks)
        except OperatorError:
            await self.stop()
            raise
        self._workers = [
            Worker(self._places.heard, self._stuck, self._ended, self._died)
            for _ in range(number_of_workers())
        ]

    def follow(self, addresses: Sequence[IPv4Address], networks: Sequence[IPv4Network]) -> None:
        """Listen on ``addresses`` and on no other one, and answer clients in ``networks``.

        Transfers that there are go on. Raises OperatorError for the first address that is not
        available, after the others.
        """
        self._networks = tuple(networks)
        self._listeners.follow([(str(address), self._port) for address in addresses])

    def _begin(self, address: Address, listener: socket.socket) -> None:
        own = IPv4Address(address[0])
        asyncio.get_running_loop().add_reader(listener, self._readable, listener, own)

    @property
    def port(self) -> int:
        """The port in use (a free one if 0 was asked for)."""
        in_use = self._listeners.in_use
        return in_use[0][1] if in_use else self._port

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def transfers(self) -> dict[str, int]:
        """Return how many transfers there are: unanswered yet by the client, or sending."""
        return self._places.states()

    async def stop(self) -> None:
        """Stop listening, and drop all transfers."""
        self._listeners.close()
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def _readable(self, listener: socket.socket, address: IPv4Address) -> None:
        for _ in range(REQUESTS_AT_ONCE):
            try:
                datagram, peer = listener.recvfrom(MAX_REQUEST_BYTES)
            except OSError:  # the queue is empty, or an ICMP message about an earlier answer
                return
            try:
                self._request(packet.parse(datagram), len(datagram), address, peer)
            except ProtocolError as error:
                self._refuse(peer, "dropped a packet", str(error))
            except OSError as error:  # no route to the client's address, or a firewall
                self._refuse(peer, "no answer is sent", f"{error.strerror}")
            except Exception:  # noqa: BLE001 - a bug of ours must cost one request and not the room
                self._fault(peer[0])

    def _refuse(self, peer: Peer, event: str, reason: str) -> None:
        """Name a client that gets no answer."""
        text = "TFTP: %s, port %d: %s: %s; a PC shows: %s"
        who = self._named(peer[0])
        self._complaints.warn(
            self._holder(peer[0]), text, who, peer[1], event, reason, OPEN_TIMEOUT
        )

    def _named(self, address: str) -> str:
        """Return the machine at an address, as far as it is known, and the address."""
        machine = self._holder(address)
        return address if machine == address else f"{machine} at {address}"

    def _request(
        self,
        message: Request | packet.Ack | packet.Error,
        asked: int,
        address: IPv4Address,
        peer: Peer,
    ) -> None:
        if not isinstance(message, Request):
            return  # of a transfer that has ended; an answer could start an endless exchange
        if peer[1] == 0 or not self._is_near(peer):
            return
        holder = self._holder(peer[0])
        if not self._has_room(holder):
            return
        message = replace(message, filename=self._instead(message.filename, message.options))
        # An answer comes from the transfer's own port, its TID (RFC 1350, section 4).
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))
            sock.connect(peer)
            let_fragment(sock)
            try:
                with self._open(message, address, IPv4Address(peer[0])) as (file, end):
                    self._hand_over(message, asked, address, peer, holder, sock, file, end)
            except _NoAnswer:
                return
            except Refusal as refusal:
                sock.send(packet.error(refusal.code, str(refusal)))
                name = packet.printable(message.filename)
                self._tell(Transfer(peer[0], name, None, 0, 0, Outcome.REFUSED, str(refusal)))

    @contextlib.contextmanager
    def _open(
        self, request: Request, address: IPv4Address, client: IPv4Address
    ) -> Iterator[tuple[int, str]]:
        """Yield a descriptor of the requested file, and the text that replaces its end.

        Close the descriptor afterwards. Raises Refusal if the request gets an ERROR.
        """
        if request.upload:
            raise Refusal(ErrorCode.ACCESS_VIOLATION, "this server is read-only")
        if request.mode not in MODES:
            raise Refusal(ErrorCode.ILLEGAL_OPERATION, "mode: expected octet or netascii")
        # Old boot ROMs write paths with backslashes, or with a slash in front.
        try:
            content = self._read(request.filename.replace("\\", "/").lstrip("/"), address, client)
        except DeniedError as denied:
            raise Refusal(ErrorCode.ACCESS_VIOLATION, str(denied)) from None
        if isinstance(content, Ignored):
            raise _NoAnswer
        if content is None:
            raise Refusal(ErrorCode.FILE_NOT_FOUND, NO_SUCH_FILE)
        end = content.end if isinstance(content, WithEnd) else ""
        content = content.path if isinstance(content, WithEnd) else content
        file = open_file(content) if isinstance(content, Path) else in_memory(content)
        if request.mode == "netascii":
            file = translated(file)
        try:
            yield file, end
        finally:
            os.close(file)

    def _hand_over(
        self,
        request: Request,
        asked: int,
        address: IPv4Address,
        peer: Peer,
        holder: str,
        sock: socket.socket,
        file: int,
        end: str,
    ) -> None:
        key = (address, peer)
        # The worker with a transfer of this client knows if the client only repeats its request.
        known = self._places.workers_of(key)
        self._last_number += 1
        most = NARROW_MTU if peer[0] in self._narrow else self._mtu
        mtu = min(most, path_mtu(sock))
        job = Job(self._last_number, request.filename, request.options, mtu, asked, end)
        for worker in known or sorted(self._workers, key=lambda each: len(each.transfers)):
            if worker.give(job, sock, file):
                size, began = os.fstat(file).st_size, time.monotonic()
                pending = Pending(key, holder, worker, request.filename, size, began)
                self._places.take(job.number, pending)
                return
        self._refuse(peer, "no answer is sent", "no worker of the server can take a transfer")

    def _is_near(self, peer: Peer) -> bool:
        """Return True if a client is in a network that we serve: its address is not far away."""
        if any(IPv4Address(peer[0]) in network for network in self._networks):
            return True
        reason = "it is in no network of this server; if PCs boot there, add its network to "
        self._refuse(peer, "no answer is sent", reason + "dhcp.networks")
        return False

    def _has_room(self, holder: str) -> bool:
        """Return True if one more transfer of ``holder`` fits.

        Without an answer the client asks again, and is served when other transfers have ended.
        """
        if self._places.has_room(holder):
            return True
        total, own = self._places.count(holder)
        if own:
            message = "TFTP: %d transfers, %d of them to %s: its new requests have to wait"
            self._complaints.warn(holder, message, total, own, holder)
        else:  # one line for all: a room that is too large has a thousand senders
            message = "TFTP: %d transfers, all places are taken: new requests have to wait"
            self._complaints.warn("all", message, total)
        return False

    def _stuck(self, number: int) -> None:
        """Have the client's next request answered with small blocks."""
        pending = self._places.transfers.get(number)
        if pending is not None and self._narrow.add(pending.client):
            self._complaints.warn(
                pending.client,
                "TFTP: %s does not acknowledge the first packet of %s: its next requests get blocks "
                "of 512 bytes; is the MTU smaller on the way, or are fragments dropped?",
                self._named(pending.client),
                packet.printable(pending.filename),
            )

    def _ended(self, ended: Ended) -> None:
        pending = self._places.free(ended.number)
        seconds = time.monotonic() - pending.began
        self._tell(
            Transfer(
                pending.client,
                pending.filename,
                pending.size,
                ended.sent,
                seconds,
                ended.outcome,
                ended.reason,
            )
        )

    def _tell(self, transfer: Transfer) -> None:
        """Count and report a transfer. A fault there must not keep the places of others."""
        self.ended[transfer.outcome.value] += 1
        try:
            self._report(transfer)
        except Exception:  # noqa: BLE001
            self._fault(transfer.client)

    def _fault(self, client: str) -> None:
        trace = traceback.format_exc()
        message = "TFTP: a request of %s failed\n%s"
        self._complaints.warn(client, message, client, trace, level=logging.ERROR)

    def _died(self, worker: Worker) -> None:
        for number in worker.transfers:
            self._ended(Ended(number, Outcome.BROKEN, 0, "the server's worker died"))
        worker.transfers.clear()


def _listen(address: Address) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listener.setblocking(False)
        widen_receive_buffer(listener, REQUEST_QUEUE_BYTES)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _end(_: Address, listener: socket.socket) -> None:
    asyncio.get_running_loop().remove_reader(listener)
    listener.close()


def _failure(address: Address, error: OSError) -> OperatorError:
    host, port = address
    return OperatorError(
        f"cannot serve TFTP on {host} port {port}: {error.strerror}",
        hint="is another TFTP server running (tftpd-hpa, atftpd, dnsmasq)? "
        "ports below 1024 need root",
    )
