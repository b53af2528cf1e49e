"""The page server's control plane: listens, does the NBD handshakes, hands clients to workers."""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from netboot.errors import OperatorError
from netboot.nbd.export import Export, Refused
from netboot.nbd.handshake import Handshake, Ready
from netboot.pages import control
from netboot.pages.exchange import Counters
from netboot.pages.exports import Attachment, Exports, StaticExports
from netboot.pages.process import WorkerProcess
from netboot.pages.store import make_store, parse_store

log = logging.getLogger(__name__)

Address = tuple[str, int]

HANDSHAKE_SECONDS = 10.0  # as qemu-nbd, after CVE-2024-7409
# A handshake is some hundred bytes; what a hasty client sends behind it goes to the worker.
RECEIVE_BYTES = 4096
MAX_CONNECTIONS = 480  # with as many page files they fit into 1024 descriptors of one process
MAX_CONNECTIONS_OF_ADDRESS = 64
MAX_WORKERS = 8
# A PC that was switched off says no goodbye: its connections are gone after a minute.
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


@dataclass(frozen=True, slots=True)
class PageEvent:
    """Something noteworthy. ``seat`` is a MAC address, or empty if unknown or not a room's;
    ``message`` is for a person; ``data`` are JSON values, among them ``address`` (the client's)
    and ``connections`` (of the lease, after the event).
    """

    kind: Literal["attach", "detach", "refused", "first-write", "worker-died"]
    seat: str
    lease: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Client:
    address: str
    attachment: Attachment
    worker: WorkerProcess


@dataclass(slots=True)
class _Seat:
    """What is known of a lease that was attached: outlives its connections."""

    seat: str
    worker: WorkerProcess
    counters: Counters = field(default_factory=Counters)
    written: bool = False


class PageServer:
    """Serves ``exports`` on the addresses ``listen`` with ``workers`` processes."""

    def __init__(
        self,
        exports: Exports,
        *,
        listen: Sequence[Address],
        workers: int | None = None,
        on_event: Callable[[PageEvent], None] | None = None,
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._exports = exports
        self._listen = listen
        self._on_event = on_event
        self._handshake_seconds = handshake_seconds
        count = workers or min(os.cpu_count() or 1, MAX_WORKERS)
        self._workers = [self._make_worker() for _ in range(count)]
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self._handshaking: Counter[str] = Counter()
        self._clients: dict[int, _Client] = {}
        self._leases: dict[str, _Seat] = {}

    async def start(self) -> None:
        """Starts workers and listens. Raises OperatorError if an address cannot be had."""
        for host, port in self._listen:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                listener = socket.create_server((host, port), family=family)
            except OSError as error:
                await self.stop()
                raise OperatorError(
                    f"cannot serve pages on {host} port {port}: {error.strerror}",
                    hint="is another NBD server running?",
                ) from error
            listener.setblocking(False)
            self._listeners.append(listener)
        for worker in self._workers:
            worker.start()
        for listener in self._listeners:
            self._spawn(self._accept(listener))

    async def stop(self) -> None:
        """Closes every connection and ends the workers, within a second."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, with the ports the system chose if 0 was asked for."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def counters(self) -> dict[str, dict[str, int]]:
        """By lease: reads, writes, trims, bytes_read, bytes_written (at most a second old) and
        connections.
        """
        return {
            lease: {**asdict(seat.counters), "connections": self._connections(lease)}
            for lease, seat in self._leases.items()
        }

    # Clients arrive.

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError as error:  # too many open files, or the client is gone already
                log.warning("pages: cannot accept: %s", error.strerror)
                await asyncio.sleep(0.1)
                continue
            reason = self._too_many(peer[0])
            if reason is not None:
                sock.close()
                self._tell("refused", "", "", f"{peer[0]}: {reason}", address=peer[0])
                continue
            self._handshaking[peer[0]] += 1
            self._spawn(self._welcome(sock, peer[0]))

    def _too_many(self, address: str) -> str | None:
        if len(self._clients) + self._handshaking.total() >= MAX_CONNECTIONS:
            return f"{MAX_CONNECTIONS} connections already"
        of_address = sum(client.address == address for client in self._clients.values())
        if of_address + self._handshaking[address] >= MAX_CONNECTIONS_OF_ADDRESS:
            return f"{MAX_CONNECTIONS_OF_ADDRESS} connections from this address already"
        return None

    async def _welcome(self, sock: socket.socket, address: str) -> None:
        with sock:  # a worker that took it over has a descriptor of its own
            try:
                async with asyncio.timeout(self._handshake_seconds):
                    await self._serve_handshake(sock, address)
            except TimeoutError:
                log.info("pages: %s: no handshake in %g s", address, self._handshake_seconds)
            except OSError as error:
                log.info("pages: %s: %s", address, error.strerror)
            except Exception:
                log.exception("pages: a handshake with %s failed", address)
            finally:
                self._handshaking[address] -= 1
                self._handshaking += Counter()  # forgets addresses at 0

    async def _serve_handshake(self, sock: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        handshake = Handshake(lambda name: self._find(name, address), self._exports.names)
        while handshake.outcome is None:
            await loop.sock_sendall(sock, handshake.data_to_send())
            data = await loop.sock_recv(sock, RECEIVE_BYTES)
            if not data:
                return
            handshake.receive_data(data)
        outcome = handshake.outcome
        if isinstance(outcome, Ready):
            await self._hand_over(sock, address, outcome, handshake.data_to_send())
        else:
            await loop.sock_sendall(sock, handshake.data_to_send())
            log.info("pages: %s: %s", address, outcome.reason)

    def _find(self, name: str, address: str) -> Export | Refused:
        found = self._exports.find(name)
        if isinstance(found, Refused):
            # Without what is behind the @: a mistyped token is still half a secret.
            export = name.partition("@")[0]
            message = f"{address}: {found.reason}"
            self._tell("refused", "", "", message, address=address, export=export)
        return found

    async def _hand_over(
        self, sock: socket.socket, address: str, ready: Ready, reply: bytes
    ) -> None:
        attachment = self._exports.attach(ready.asked)
        assert isinstance(attachment, Attachment), "found a moment ago, in the same step"
        # Copies: while we wait below the lease may end, and its descriptors become another's.
        pages = [os.dup(descriptor) for descriptor in attachment.pages.descriptors()]
        try:
            await self._connect(sock, address, ready, reply, attachment, pages)
        finally:
            for descriptor in pages:
                os.close(descriptor)

    async def _connect(
        self,
        sock: socket.socket,
        address: str,
        ready: Ready,
        reply: bytes,
        attachment: Attachment,
        pages: Sequence[int],
    ) -> None:
        for lease in attachment.ended:
            if lease in self._leases:
                await self._leases.pop(lease).worker.send({"do": "drop", "lease": lease})
        seat = self._seat(attachment)
        number = next(self._numbers)
        message = {
            "do": "connect",
            "id": number,
            "lease": attachment.lease,
            "export": attachment.export.name,
            "store": attachment.store,
            "size_bytes": attachment.export.size_bytes,
            "read_only": attachment.export.read_only,
        }
        await asyncio.get_running_loop().sock_sendall(sock, reply)
        await seat.worker.send(message, [sock.fileno(), *pages], ready.leftover)
        self._clients[number] = _Client(address, attachment, seat.worker)
        connections = self._connections(attachment.lease)
        self._tell(
            "attach",
            attachment.seat,
            attachment.lease,
            f"{attachment.export.name} attached by {address}, connection {connections}",
            address=address,
            connections=connections,
            export=attachment.export.name,
        )

    def _seat(self, attachment: Attachment) -> _Seat:
        """All connections of a lease go to one worker: fairness and fencing are local there."""
        seat = self._leases.get(attachment.lease)
        if seat is None:
            load_of = Counter(id(client.worker) for client in self._clients.values())
            worker = min(self._workers, key=lambda each: load_of[id(each)])
            seat = self._leases[attachment.lease] = _Seat(attachment.seat, worker)
        return seat

    def _connections(self, lease: str) -> int:
        return sum(client.attachment.lease == lease for client in self._clients.values())

    # Workers report.

    def _make_worker(self) -> WorkerProcess:
        worker = WorkerProcess(self._reported, lambda: self._died(worker))
        return worker

    def _reported(self, message: control.Message) -> None:
        if message["event"] == "closed":
            self._closed(message["id"], message["reason"])
            return
        seat = self._leases.get(message["lease"])
        if seat is None:
            return  # the last words of a lease that has ended
        if message["event"] == "counters":
            for name, done in message["done"].items():
                setattr(seat.counters, name, getattr(seat.counters, name) + done)
        elif not seat.written:
            seat.written = True
            self._tell("first-write", seat.seat, message["lease"], "first page written")

    def _closed(self, number: int, reason: str) -> None:
        client = self._clients.pop(number, None)
        if client is None:
            return
        attachment = client.attachment
        self._tell(
            "detach",
            attachment.seat,
            attachment.lease,
            f"{attachment.export.name}: {reason}",
            address=client.address,
            connections=self._connections(attachment.lease),
        )

    def _died(self, worker: WorkerProcess) -> None:
        self._tell("worker-died", "", "", f"page worker {worker.pid} died; starting another")
        lost = [number for number, client in self._clients.items() if client.worker is worker]
        for number in lost:
            self._closed(number, "its worker died")

    def _tell(
        self,
        kind: Literal["attach", "detach", "refused", "first-write", "worker-died"],
        seat: str,
        lease: str,
        message: str,
        **data: Any,
    ) -> None:
        log.info("pages: %s: %s", kind, message)
        if self._on_event is not None:
            self._on_event(PageEvent(kind, seat, lease, message, data))


async def serve_static(
    listen: Address, exports: Mapping[str, int], store_text: str, ready: Callable[[str], None]
) -> None:
    """``netboot pages``: serves ``exports`` (name: size in bytes) out of a store until cancelled.

    Calls ``ready`` with one line, ``listening on HOST:PORT``, when clients can come. Raises
    OperatorError if the address or the store cannot be had.
    """
    store = make_store(parse_store(store_text))
    with contextlib.closing(store):
        server = PageServer(StaticExports(store, exports), listen=[listen])
        await server.start()
        try:
            host, port = server.addresses[0]
            ready(f"listening on {f'[{host}]' if ':' in host else host}:{port}")
            await asyncio.Event().wait()
        finally:
            await server.stop()
