"""The workers of a page server, and the assignment of clients to workers."""

import asyncio
import itertools
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from netboot.pages import control
from netboot.pages.exports import Attachment, Exports
from netboot.pages.nbd.handshake import Ready
from netboot.pages.process import WorkerProcess, collect
from netboot.pages.worker.exchange import Counters

log = logging.getLogger(__name__)

Kind = Literal["attach", "detach", "refused", "first-write", "worker-died", "delayed"]

# The most connections in one set of a seat's area: as many as a profile can ask for
# (swap.connections). They bound the server's memory for an area, which is so many times that for
# one connection (docs/explanation/page-server.md).
MAX_CONNECTIONS_OF_AREA = 16
# Time limit of an upgrade for a request in progress; after it, the client has to attach again.
TAKE_OVER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PageEvent:
    """An event for the operator.

    ``seat`` is a MAC address; it is empty if the seat is unknown or the export is not a room's.
    ``message`` is for a person. ``data`` are JSON values, among them ``address`` (the client's) and
    ``connections`` (how many the lease has after the event).
    """

    kind: Kind
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
    """State of an attached lease. It outlives the connections."""

    seat: str
    worker: WorkerProcess
    counters: Counters = field(default_factory=Counters)
    written: bool = False


class Crew:
    """``count`` workers that serve the pages of ``exports``. ``tell`` is called with each event."""

    def __init__(
        self, exports: Exports, count: int, tell: Callable[[PageEvent], None] | None
    ) -> None:
        self._exports = exports
        self._on_event = tell
        self._workers = [self._make_worker() for _ in range(count)]
        self._numbers = itertools.count()
        self._clients: dict[int, _Client] = {}
        self._leases: dict[str, _Seat] = {}
        self._orders: set[asyncio.Task[None]] = set()
        exports.on_ended = self._drop

    def start(self) -> list[str]:
        """Start the workers; return the names at which workers of an earlier server listen."""
        folder = self._exports.directory
        left = [] if folder is None else control.meetings(folder)
        for worker in self._workers:
            worker.start()
        return left

    async def stop(self) -> None:
        """Stop the workers and close all connections."""
        for order in self._orders:
            order.cancel()
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def addresses(self) -> Iterable[str]:
        """Return the client's address of each connection."""
        return (client.address for client in self._clients.values())

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the counters by lease, as ``PageServer.counters`` does."""
        return {
            lease: {**asdict(seat.counters), "connections": self._connections(lease)}
            for lease, seat in self._leases.items()
        }

    async def connect(self, sock: socket.socket, address: str, ready: Ready, reply: bytes) -> None:
        """Hand a client over to a worker, which also sends ``reply``, the end of the handshake.

        So the worker has closed the connections that this one fences before the client can know
        that it is attached.
        """
        attachment = self._exports.attach(ready.asked)
        if not isinstance(attachment, Attachment):
            return  # a newer connection of this seat was faster; the handshake can refuse no more
        number = attachment.set_number
        if attachment.seat and self._in_set(attachment) >= MAX_CONNECTIONS_OF_AREA:
            limit = f"has {MAX_CONNECTIONS_OF_AREA} connections, the most for one area"
            reason = f"{attachment.export.name} {limit}"
            self.tell("refused", attachment.seat, "", f"{address}: {reason}", address=address)
            return
        seat = self._seat(attachment)
        if attachment.fences:
            await seat.worker.send({"do": "fence", "lease": attachment.lease, "set": number})
        carried = control.carry(reply, ready.leftover)
        message = {
            "set": number,
            "written": seat.written,
            "headers": ready.dialect.headers,
            "allocation": ready.dialect.allocation,
        }
        try:
            await self._give(attachment, address, message, [sock.fileno(), carried])
        finally:
            os.close(carried)
        text = f"attached by {address}, connection {self._connections(attachment.lease)}"
        self._tell_attached(attachment, address, text)

    async def take_over(self, names: Iterable[str]) -> None:
        """Move the clients of an earlier server's workers, which listen at ``names``, to ours."""
        folder = self._exports.directory
        assert folder is not None, "the names are in it"
        # Until our workers are ready, the old ones serve the clients without a pause.
        await asyncio.gather(*(worker.ready.wait() for worker in self._workers))
        await asyncio.gather(*(self._take_over(folder, name) for name in names))

    async def _take_over(self, folder: Path, name: str) -> None:
        worker = control.meet(folder, name)
        if worker is not None:
            with worker:
                try:
                    async with asyncio.timeout(TAKE_OVER_SECONDS):
                        await collect(worker, self._resume)
                except TimeoutError:
                    log.warning("pages: an older worker does not finish its requests; stopping it")
                    control.send(worker, {"do": "stop"})
        (folder / name).unlink(missing_ok=True)

    async def _resume(self, message: control.Message, descriptors: Sequence[int]) -> None:
        (client, carried, *pages), address = descriptors, message["address"]
        attachment = self._exports.resume(message["lease"], pages)
        if attachment is None:
            log.info("pages: %s: connection dropped: its lease has ended", address)
            return
        self._seat(attachment).written = message["written"]
        attachment = replace(attachment, set_number=message["set"])
        await self._give(attachment, address, message, [client, carried])
        self._tell_attached(attachment, address, f"still attached by {address}, to a new process")

    async def _give(
        self,
        attachment: Attachment,
        address: str,
        message: control.Message,
        descriptors: Sequence[int],
    ) -> None:
        number, export = next(self._numbers), attachment.export
        worker = self._least_loaded() if attachment.spread else self._seat(attachment).worker
        message = {
            **message,
            "do": "connect",
            "id": number,
            "lease": attachment.lease,
            "seat": attachment.seat or attachment.lease,
            "address": address,
            "export": export.name,
            "store": attachment.store,
            "size_bytes": export.size_bytes,
            "read_only": export.read_only,
            "ceiling": attachment.ceiling,
        }
        # Copies: the lease may end during the await below, and its descriptors be reused.
        pages = [os.dup(descriptor) for descriptor in attachment.pages.descriptors()]
        self._clients[number] = _Client(address, attachment, worker)
        try:
            await worker.send(message, [*descriptors, *pages])
        except BaseException:
            self._clients.pop(number, None)
            raise
        finally:
            for descriptor in pages:
                os.close(descriptor)

    def _seat(self, attachment: Attachment) -> _Seat:
        """Return the state of a lease, made if new.

        All connections of a seat go to one worker, so that fairness and fencing need no other.
        """
        seat = self._leases.get(attachment.lease)
        if seat is None:
            mates = (each for each in self._leases.values() if each.seat == attachment.seat != "")
            mate = next(mates, None)
            worker = self._least_loaded() if mate is None else mate.worker
            seat = self._leases[attachment.lease] = _Seat(attachment.seat, worker)
        return seat

    def _drop(self, lease: str) -> None:
        ended = self._leases.pop(lease, None)
        if ended is not None:
            order = ended.worker.send({"do": "drop", "lease": lease})
            task = asyncio.get_running_loop().create_task(order)
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)

    def _least_loaded(self) -> WorkerProcess:
        load_of = Counter(id(client.worker) for client in self._clients.values())
        return min(self._workers, key=lambda each: load_of[id(each)])

    def _connections(self, lease: str) -> int:
        return sum(client.attachment.lease == lease for client in self._clients.values())

    def _in_set(self, attachment: Attachment) -> int:
        """Return how many connections of its lease ``attachment`` does not fence."""
        return sum(
            client.attachment.lease == attachment.lease
            and client.attachment.set_number >= attachment.set_number
            for client in self._clients.values()
        )

    # Reports of workers.

    def _make_worker(self) -> WorkerProcess:
        worker = WorkerProcess(self._exports.directory, self._reported, lambda: self._died(worker))
        return worker

    def _reported(self, message: control.Message) -> None:
        if message["event"] == "closed":
            self._closed(message["id"], message["reason"])
            return
        lease = message["lease"]
        seat = self._leases.get(lease)
        if seat is None:
            return  # the lease ended while the report was under way
        match message["event"]:
            case "counters":
                for name, done in message["done"].items():
                    setattr(seat.counters, name, getattr(seat.counters, name) + done)
            case "delayed":
                waited = f"requests have waited for {message['seconds']:.0f} s"
                text = f"page store is full: {waited}; make room on the server"
                self.tell("delayed", seat.seat, lease, text, seconds=message["seconds"])
            case "first-write" if not seat.written:
                seat.written = True
                self.tell("first-write", seat.seat, lease, "first page written")

    def _closed(self, number: int, reason: str) -> None:
        client = self._clients.pop(number, None)
        if client is None:
            return
        attachment = client.attachment
        connections = self._connections(attachment.lease)
        if not connections:
            self._exports.let_go(attachment.lease)
        self.tell(
            "detach",
            attachment.seat,
            attachment.lease,
            f"{attachment.export.name}: {reason}",
            address=client.address,
            connections=connections,
        )

    def _died(self, worker: WorkerProcess) -> None:
        self.tell("worker-died", "", "", f"page worker {worker.pid} died; starting another")
        lost = [number for number, client in self._clients.items() if client.worker is worker]
        for number in lost:
            self._closed(number, "its page worker died")

    def _tell_attached(self, attachment: Attachment, address: str, text: str) -> None:
        self.tell(
            "attach",
            attachment.seat,
            attachment.lease,
            f"{attachment.export.name} {text}",
            address=address,
            connections=self._connections(attachment.lease),
            export=attachment.export.name,
        )

    def tell(self, kind: Kind, seat: str, lease: str, message: str, **data: Any) -> None:
        """Log an event and pass it to the callback, if there is one."""
        level = logging.WARNING if kind == "delayed" else logging.INFO
        log.log(level, "pages: %s: %s", kind, message)
        if self._on_event is not None:
            self._on_event(PageEvent(kind, seat, lease, message, data))
