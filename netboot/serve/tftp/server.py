"""The TFTP server's control plane: read requests, decide, hand each transfer to a worker."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from netboot.boot import limits
from netboot.errors import DeniedError, Ignored, OperatorError, ProtocolError
from netboot.host.complaints import Complaints
from netboot.host.sockets import widen_receive_buffer
from netboot.serve.tftp import packet
from netboot.serve.tftp.crew import Worker, number_of_workers
from netboot.serve.tftp.handover import Ended, Job
from netboot.serve.tftp.packet import ErrorCode, Request
from netboot.serve.tftp.transfer import Outcome

log = logging.getLogger(__name__)
INFO = logging.INFO

ETHERNET_MTU = 1500
# Their sockets and files must fit into the descriptors of one worker, 1024 by default.
MAX_TRANSFERS = limits.TFTP_TRANSFERS.in_total or 0
SHARE_OF_ADDRESS = limits.TFTP_TRANSFERS.per_address or 0
# An acknowledgement takes a round trip. A transfer this old would have it.
UNPROVEN_GRACE_SECONDS = 0.2
MAX_NETASCII_BYTES = 1 << 20  # of text, which is translated in memory
REQUEST_QUEUE_BYTES = 2 << 20  # the requests of a whole room at the same instant
REQUESTS_AT_ONCE = 64  # between two visits to the event loop
MAX_REQUEST_BYTES = 65_536

MODES = ("octet", "netascii")
NO_SUCH_FILE = "no such file"
Peer = tuple[str, int]


@dataclass(frozen=True, slots=True)
class WithEnd:
    """The file ``path`` with its last characters replaced by the ASCII text ``end``."""

    path: Path
    end: str


Read = Callable[[str, IPv4Address, IPv4Address], bytes | Path | WithEnd | Ignored | None]


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


@dataclass(slots=True)
class _Pending:
    """A transfer in the hands of a worker. ``began`` is of time.monotonic()."""

    key: tuple[IPv4Address, Peer]
    holder: str  # the machine that it counts for
    worker: Worker
    filename: str
    size: int
    began: float
    counted: bool = True  # False if its worker was told to end it

    @property
    def client(self) -> str:
        """The address of the client."""
        return self.key[1][0]


class _Refusal(Exception):
    """The answer to a request is an ERROR."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class _NoAnswer(Exception):
    """The request gets no answer: the client sends it again."""


class TftpServer:
    """Read-only TFTP server for names that ``read`` knows.

    ``read(filename, server, client)`` returns the content, the path of a file or None; ``server``
    is the address that ``client`` asked. It returns Ignored if the client has to ask again, and
    raises DeniedError if the file is another client's. ``report(transfer)`` is called for each
    finished transfer. Both are called in the event loop. ``mtu`` (bytes) bounds blksize. Only
    clients in ``networks`` are answered. ``holder`` returns the machine that an address counts for.
    """

    def __init__(
        self,
        read: Read,
        report: Callable[[Transfer], None],
        *,
        networks: Sequence[IPv4Network],
        port: int = 69,
        mtu: int = ETHERNET_MTU,
        holder: Callable[[str], str] = str,
    ) -> None:
        self._holder = holder
        self._read = read
        self._networks = tuple(networks)
        self._report = report
        self._port = port
        self._mtu = mtu
        self._listeners: list[socket.socket] = []
        self._workers: list[Worker] = []
        self._pending: dict[int, _Pending] = {}
        self._of_holder: Counter[str] = Counter()
        self._unproven: dict[str, dict[int, _Pending]] = {}  # by holder, the oldest first
        self._last_number = 0
        self._complaints = Complaints(log)

    async def start(self, addresses: Sequence[IPv4Address]) -> None:
        """Listen on ``addresses``. Raises OperatorError if one of them is not available."""
        for address in addresses:
            try:
                listener = _listen(address, self._port)
            except OSError as error:
                await self.stop()
                raise OperatorError(
                    f"cannot serve TFTP on {address} port {self._port}: {error.strerror}",
                    hint="is another TFTP server running (tftpd-hpa, atftpd, dnsmasq)? "
                    "ports below 1024 need root",
                ) from error
            self._listeners.append(listener)
        self._workers = [
            Worker(self._heard, self._ended, self._died) for _ in range(number_of_workers())
        ]
        loop = asyncio.get_running_loop()
        for listener, address in zip(self._listeners, addresses, strict=True):
            loop.add_reader(listener, self._readable, listener, address)

    @property
    def port(self) -> int:
        """The port in use (a free one if 0 was asked for)."""
        return int(self._listeners[0].getsockname()[1]) if self._listeners else self._port

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.pid for worker in self._workers]

    async def stop(self) -> None:
        """Stop listening, and drop all transfers."""
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()
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
                self._complaints.warn(
                    peer[0], "TFTP: dropped a packet from %s: %s", peer[0], error, level=INFO
                )
            except OSError as error:  # no route to the client's address
                self._complaints.warn(
                    peer[0],
                    "TFTP: cannot answer %s port %s: %s",
                    *peer,
                    error.strerror,
                    level=INFO,
                )
            except Exception:  # noqa: BLE001 - a bug of ours must cost one request and not the room
                self._fault(peer[0])

    def _request(
        self,
        message: Request | packet.Ack | packet.Error,
        asked: int,
        address: IPv4Address,
        peer: Peer,
    ) -> None:
        if not isinstance(message, Request):
            return  # of a transfer that has ended; an answer could start an endless exchange
        if peer[1] == 0 or not self._is_near(peer[0]):
            return
        holder = self._holder(peer[0])
        if not self._has_room(holder):
            return
        # An answer comes from the transfer's own port, its TID (RFC 1350, section 4).
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))
            sock.connect(peer)
            try:
                with self._open(message, address, IPv4Address(peer[0])) as (file, end):
                    self._hand_over(message, asked, address, peer, holder, sock, file, end)
            except _NoAnswer:
                return
            except _Refusal as refusal:
                sock.send(packet.error(refusal.code, str(refusal)))
                name = packet.printable(message.filename)
                self._tell(Transfer(peer[0], name, None, 0, 0, Outcome.REFUSED, str(refusal)))

    @contextlib.contextmanager
    def _open(
        self, request: Request, address: IPv4Address, client: IPv4Address
    ) -> Iterator[tuple[int, str]]:
        """Yield a descriptor of the requested file, and the text that replaces its end.

        Close the descriptor afterwards. Raises _Refusal if the request gets an ERROR.
        """
        if request.upload:
            raise _Refusal(ErrorCode.ACCESS_VIOLATION, "this server is read-only")
        if request.mode not in MODES:
            raise _Refusal(ErrorCode.ILLEGAL_OPERATION, "mode: expected octet or netascii")
        # Old boot ROMs write paths with backslashes, or with a slash in front.
        try:
            content = self._read(request.filename.replace("\\", "/").lstrip("/"), address, client)
        except DeniedError as denied:
            raise _Refusal(ErrorCode.ACCESS_VIOLATION, str(denied)) from None
        if isinstance(content, Ignored):
            raise _NoAnswer
        if content is None:
            raise _Refusal(ErrorCode.FILE_NOT_FOUND, NO_SUCH_FILE)
        end = content.end if isinstance(content, WithEnd) else ""
        content = content.path if isinstance(content, WithEnd) else content
        file = _open_file(content) if isinstance(content, Path) else _in_memory(content)
        if request.mode == "netascii":
            file = _translated(file)
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
        known = [pending.worker for pending in self._pending.values() if pending.key == key]
        self._last_number += 1
        job = Job(self._last_number, request.filename, request.options, self._mtu, asked, end)
        for worker in known or sorted(self._workers, key=lambda each: len(each.transfers)):
            if worker.give(job, sock, file):
                size, began = os.fstat(file).st_size, time.monotonic()
                pending = _Pending(key, holder, worker, request.filename, size, began)
                self._pending[job.number] = pending
                self._of_holder[holder] += 1
                self._unproven.setdefault(holder, {})[job.number] = pending
                return

    def _is_near(self, address: str) -> bool:
        """Return True if a client is in a network that we serve: its address is not far away."""
        if any(IPv4Address(address) in network for network in self._networks):
            return True
        self._complaints.warn(
            address,
            "TFTP: %s is in no network of this server; add its network to dhcp.networks if PCs "
            "boot there",
            address,
        )
        return False

    def _has_room(self, holder: str) -> bool:
        """Return True if one more transfer of ``holder`` fits, after ending an unproven one.

        Without an answer the client asks again, and is served when other transfers have ended.
        """
        total, own = self._of_holder.total(), self._of_holder[holder]
        small = own < SHARE_OF_ADDRESS
        if total < (MAX_TRANSFERS if small else MAX_TRANSFERS // 2) or self._end_one(
            None if small else holder
        ):
            return True
        self._complaints.warn(
            holder,
            "TFTP: %d transfers, %d of them to %s: new requests have to wait",
            total,
            own,
            holder,
        )
        return False

    def _end_one(self, holder: str | None) -> bool:
        """End the oldest unproven transfer of ``holder``. Return False if there is none to end.

        For None, take the holder that has most of them. Leave young ones alone, unless another
        holder has more than its share.
        """
        if holder is None and self._unproven:
            most = max(self._unproven, key=lambda each: len(self._unproven[each]))
        else:
            most = holder or ""
        found = self._unproven.get(most)
        if not found:
            return False
        number, oldest = next(iter(found.items()))
        is_greedy = holder is None and len(found) > SHARE_OF_ADDRESS
        is_old = time.monotonic() - oldest.began >= UNPROVEN_GRACE_SECONDS
        if not (is_old or is_greedy) or not oldest.worker.drop(number):
            return False
        self._proven(number)
        oldest.counted = False
        self._count(most, -1)
        return True

    def _count(self, holder: str, change: int) -> None:
        self._of_holder[holder] += change
        if self._of_holder[holder] <= 0:
            del self._of_holder[holder]

    def _proven(self, number: int) -> None:
        """Forget that a transfer is unproven."""
        holder = self._pending[number].holder
        found = self._unproven.get(holder, {})
        found.pop(number, None)
        if not found:
            self._unproven.pop(holder, None)

    def _heard(self, number: int) -> None:
        """Note that a client acknowledged its transfer, which we may have wanted to end."""
        pending = self._pending.get(number)
        if pending is None:
            return
        self._proven(number)
        if not pending.counted:
            pending.counted = True
            self._count(pending.holder, +1)

    def _ended(self, ended: Ended) -> None:
        self._proven(ended.number)
        pending = self._pending.pop(ended.number)
        if pending.counted:
            self._count(pending.holder, -1)
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
        """Report a transfer. A fault there must not keep the places of others."""
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


def _listen(address: IPv4Address, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listener.setblocking(False)
        widen_receive_buffer(listener, REQUEST_QUEUE_BYTES)
        listener.bind((str(address), port))
    except OSError:
        listener.close()
        raise
    return listener


def _open_file(path: Path) -> int:
    """Open a regular file, but not through a symbolic link. Raises _Refusal."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        log.warning("TFTP: %s: %s", path, error.strerror)
        raise _Refusal(ErrorCode.FILE_NOT_FOUND, NO_SUCH_FILE) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        log.warning("TFTP: %s is not a regular file", path)
        raise _Refusal(ErrorCode.FILE_NOT_FOUND, NO_SUCH_FILE)
    return file


def _in_memory(content: bytes) -> int:
    file = os.memfd_create("netboot-tftp")
    with os.fdopen(os.dup(file), "wb") as writer:
        writer.write(content)
    return file


def _translated(file: int) -> int:
    """Return the text of ``file`` in netascii, and close ``file``.

    Raises _Refusal if it has more than ``MAX_NETASCII_BYTES``.
    """
    with os.fdopen(file, "rb") as reader:
        content = os.pread(reader.fileno(), MAX_NETASCII_BYTES + 1, 0)
    if len(content) > MAX_NETASCII_BYTES:
        raise _Refusal(ErrorCode.NOT_DEFINED, "file too long for netascii; use mode octet")
    return _in_memory(packet.to_netascii(content))
