"""The workers of a page server, and the assignment of clients to workers."""

import asyncio
import itertools
import logging
import os
import socket
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from netboot.boot.limits import NBD_CONNECTIONS, NBD_IMAGES, NBD_KEPT
from netboot.host import faults
from netboot.host.complaints import Complaints
from netboot.pages import control, liveness
from netboot.pages.exports import Attachment, Exports
from netboot.pages.lease import Ends
from netboot.pages.nbd.export import Refused
from netboot.pages.nbd.handshake import Ready
from netboot.pages.nbd.name import WireName
from netboot.pages.process import WorkerProcess, collect
from netboot.pages.worker.connection import DISCONNECTED
from netboot.pages.worker.exchange import Counters

log = logging.getLogger(__name__)

Kind = Literal[
    "attach", "detach", "refused", "in-use", "moved", "first-write", "worker-died", "delayed"
]

WARNINGS = ("in-use", "moved", "delayed")
MAX_CONNECTIONS = NBD_CONNECTIONS.in_total or 0
MAX_CONNECTIONS_OF_ADDRESS = NBD_CONNECTIONS.per_address or 0
KEPT_CONNECTIONS = NBD_KEPT.in_total or 0
MAX_IMAGES = NBD_IMAGES.in_total or 0
MAX_IMAGES_OF_SEAT = NBD_IMAGES.per_address or 0
# A connection without an answer for so long is dead. Our agent gives up a silent server after 3 s
# (swap.timeout). The newcomer's agent waits 10 s for an answer (STEP_MS in stream.c).
PROBE_SECONDS = 5.0
PROBE_PAUSE_SECONDS = 0.2
# An agent whose connections ended without a word attaches again at once, in 3 s if its server is busy.
# So long no other boot of its seat replaces its lease: another PC that has its address too resets them.
RETURN_SECONDS = 4.0
MOVED_SECONDS = 60.0
CLOCK_SECONDS = 0.02  # error of the times that the kernel tells, in ticks of up to 10 ms
IN_USE = Refused("another PC with this address is running")
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


@dataclass(slots=True)
class _Client:
    address: str
    attachment: Attachment
    worker: WorkerProcess
    heard: float = 0.0  # when its kernel answered, as far as anybody asked
    ending: bool = False  # its worker was told to close it


@dataclass(slots=True)
class _Seat:
    """State of an attached lease. It outlives the connections."""

    seat: str
    worker: WorkerProcess
    address: str = ""  # of its last connection
    left: float = float("-inf")  # when one last ended without a word, by time.monotonic()
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
        self._orders: set[asyncio.Task[Any]] = set()
        self._probes: dict[frozenset[int], asyncio.Task[set[int]]] = {}
        self._complaints: defaultdict[str, Complaints] = defaultdict(lambda: Complaints(log))
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

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the counters by lease, as ``PageServer.counters`` does."""
        return {
            lease: {**asdict(seat.counters), "connections": self._connections(lease)}
            for lease, seat in self._leases.items()
        }

    async def connect(
        self, sock: socket.socket, address: str, ready: Ready, reply: Callable[[], bytes]
    ) -> Refused | None:
        """Hand a client over to a worker; return the refusal if it may not attach.

        The worker also sends ``reply``, the end of the handshake. So it has closed the connections
        that this one fences before the client can know that it is attached.
        """
        asked = ready.asked
        silent: set[int] = set()
        while True:
            rivals = self._rivals(asked, address) - silent
            if rivals:
                live = await self._probe(frozenset(rivals))
                if live:
                    return self._in_use(live, ready.export.name, address)
                silent |= rivals
            elif self._returns(asked):
                await asyncio.sleep(PROBE_PAUSE_SECONDS)
            else:
                break
        self._tell_moved(asked, ready.export.name, address)
        attachment = self._no_place(asked, address) or self._exports.attach(asked, address)
        if isinstance(attachment, Refused):
            return self._refuse("", attachment, address)
        number, surplus = attachment.set_number, self._surplus(attachment)
        if surplus is not None:
            return self._refuse(attachment.seat, surplus, address)
        seat = self._seat(attachment)
        if attachment.fences:
            await seat.worker.send({"do": "fence", "lease": attachment.lease, "set": number})
        carried = control.carry(reply(), ready.leftover)
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
        return None

    # In use means in use: whether an attachment may end the connections of another client.

    def _rivals(self, asked: WireName, address: str) -> set[int]:
        """Return the connections of others that an attachment from ``address`` would end.

        They are those of the leases that it replaces, and those of the same lease from another
        address. At its own address an agent may replace its connections: it has the lease's secret.
        """
        ends = self._exports.ends(asked)
        return {
            number
            for number, client in self._clients.items()
            if client.attachment.lease in ends.replaced
            or (client.attachment.lease == ends.again and client.address != address)
        }

    async def _probe(self, clients: frozenset[int]) -> set[int]:
        """Return those of ``clients`` that answer. All who ask about the same share one probe."""
        task = self._probes.get(clients)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._answering(set(clients)))
            self._probes[clients] = task
            task.add_done_callback(lambda _: self._probes.pop(clients, None))
            self._keep(task)
        return await asyncio.shield(task)

    async def _answering(self, clients: set[int]) -> set[int]:
        begin = time.monotonic()
        live: set[int] = set()
        while clients and not live and time.monotonic() < begin + PROBE_SECONDS:
            await self._order_probe(clients, liveness.URGENT)
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
            clients &= self._clients.keys()
            after = begin + CLOCK_SECONDS
            live = {number for number in clients if self._clients[number].heard > after}
        if live:
            await self._order_probe(clients, liveness.USUAL)
        return live

    async def _order_probe(self, clients: Iterable[int], keepalive: Sequence[int]) -> None:
        asked = (self._clients[number] for number in clients if number in self._clients)
        for lease, worker in {each.attachment.lease: each.worker for each in asked}.items():
            await worker.send({"do": "probe", "lease": lease, "keepalive": keepalive})

    def _in_use(self, live: Collection[int], export: str, address: str) -> Refused:
        clients = [self._clients[number] for number in live if number in self._clients]
        seat = next((client.attachment.seat for client in clients), "")
        running = sorted({client.address for client in clients})
        text = f"{export}: {address} was refused: {IN_USE.reason} at {', '.join(running)}"
        self.complain("in-use", seat, text, address=address, running=running, export=export)
        return IN_USE

    def _returns(self, asked: WireName) -> bool:
        """Return True if a PC whose lease ``asked`` replaces may attach again in this moment."""
        begin, replaced = time.monotonic() - RETURN_SECONDS, self._exports.ends(asked).replaced
        return any(lease in replaced and seat.left > begin for lease, seat in self._leases.items())

    def _tell_moved(self, asked: WireName, export: str, address: str) -> None:
        """Warn if ``address`` replaces swap that was in use a moment ago, and had no orderly end."""
        begin = time.monotonic() - MOVED_SECONDS
        for lease in self._exports.ends(asked).replaced:
            seat = self._leases.get(lease)
            if seat is None:
                continue
            silent = self._connections(lease) > 0
            if not silent and (seat.address == address or seat.left <= begin):
                continue
            cause = "the PC has another IP address now"
            if seat.address == address:
                cause = "the PC lost its power or its cable"
            text = (
                f"{export}: taken over by {address} from {seat.address}, which is silent: {cause}, "
                "or another machine has its MAC address"
            )
            self.complain("moved", seat.seat, text, address=address, export=export)

    def _no_place(self, asked: WireName, address: str) -> Refused | None:
        """Return the refusal if the server, or ``address``, has too many connections already.

        Connections that the new one ends do not count.
        """
        ends = self._exports.ends(asked)
        counted = [each.address for each in self._clients.values() if not _ended(each, ends, asked)]
        limit = MAX_CONNECTIONS - (0 if ends.again else KEPT_CONNECTIONS)
        if len(counted) >= limit:
            return Refused(f"the server has {len(counted)} connections, its limit")
        if counted.count(address) >= MAX_CONNECTIONS_OF_ADDRESS:
            limit = MAX_CONNECTIONS_OF_ADDRESS
            return Refused(f"this address has {limit} connections, the limit for one")
        return None

    def _surplus(self, attachment: Attachment) -> Refused | None:
        """Return the refusal if an area, or the reader of an image, has too many connections."""
        most = attachment.connections
        if attachment.seat and self._in_set(attachment) >= most:
            return Refused(
                f"{attachment.export.name} has {most} connections, the most for one area"
            )
        own = attachment.reader
        readers = Counter(
            each.attachment.reader
            for each in self._clients.values()
            if each.attachment.reader and not each.ending
        )
        if own and readers[own] >= MAX_IMAGES_OF_SEAT:
            return Refused(f"this PC has {MAX_IMAGES_OF_SEAT} connections to images, its limit")
        if own and readers.total() >= MAX_IMAGES and not self._end_oldest(readers, own):
            return Refused(f"{MAX_IMAGES} connections read images, the limit")
        return None

    def _end_oldest(self, readers: Counter[str], own: str) -> bool:
        """End the oldest connection of the reader that has most, unless ``own`` gets as many."""
        heaviest, most = readers.most_common(1)[0]
        if most <= readers[own] + 1:
            return False
        for number, client in self._clients.items():
            if client.attachment.reader == heaviest and not client.ending:
                client.ending = True
                order = client.worker.send({"do": "close", "id": number})
                self._keep(asyncio.get_running_loop().create_task(order))
                return True
        return False

    def _refuse(self, seat: str, refused: Refused, address: str) -> Refused:
        self.complain("refused", seat, f"{address}: {refused.reason}", address=address)
        return refused

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
        self._seat(attachment).address = address
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
            self._keep(asyncio.get_running_loop().create_task(order))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._orders.add(task)
        faults.watch(task)
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
        if message["event"] == "heard":
            if message["id"] in self._clients:
                self._clients[message["id"]].heard = message["at"]
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
        seat = self._leases.get(attachment.lease)
        if seat is not None:
            seat.address = client.address
            if reason != DISCONNECTED:
                seat.left = time.monotonic()
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

    def complain(self, kind: Kind, seat: str, message: str, *, address: str, **data: Any) -> None:
        """Tell an event that a client can cause at will: once a minute for an address and a seat.

        Each kind has its own number of lines, so that strangers cannot hide a warning.
        """
        text, level = "pages: %s: %s", _level(kind)
        sender = f"{address} {seat}"
        if self._complaints[kind].warn(sender, text, kind, message, level=level):
            self._pass_on(PageEvent(kind, seat, "", message, {"address": address, **data}))

    def tell(self, kind: Kind, seat: str, lease: str, message: str, **data: Any) -> None:
        """Log an event and pass it to the callback, if there is one."""
        log.log(_level(kind), "pages: %s: %s", kind, message)
        self._pass_on(PageEvent(kind, seat, lease, message, data))

    def _pass_on(self, event: PageEvent) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - else it would end what the event is about
            reason = "pages: an event of kind %s is lost\n%s"
            trace = traceback.format_exc()
            self._complaints[event.kind].warn("", reason, event.kind, trace, level=logging.ERROR)


def _level(kind: Kind) -> int:
    return logging.WARNING if kind in WARNINGS else logging.INFO


def _ended(client: _Client, ends: Ends, asked: WireName) -> bool:
    """Return whether an attachment of ``asked`` ends the connection of ``client``."""
    lease, number = client.attachment.lease, client.attachment.set_number
    return lease in ends.replaced or (lease == ends.again and number < (asked.set_number or 0))
