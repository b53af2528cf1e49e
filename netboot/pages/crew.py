"""The workers of a page server, and the assignment of clients to workers."""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from netboot.host import faults
from netboot.pages import control
from netboot.pages.claims import Held
from netboot.pages.clients import Client, Clients, SeatState
from netboot.pages.exports import UNSAVED, Attachment, Exports
from netboot.pages.nbd.backing import Damaged
from netboot.pages.nbd.export import Refused
from netboot.pages.nbd.handshake import Ready
from netboot.pages.process import WorkerProcess, collect, kill
from netboot.pages.rivals import Rivals
from netboot.pages.telling import PageEvent, Teller
from netboot.pages.worker.buffers import MOST_POWER
from netboot.pages.worker.connection import DISCONNECTED

log = logging.getLogger(__name__)

# Time limit of an upgrade for a request in progress; after it, the client has to attach again.
TAKE_OVER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A client between its handshake and its worker.

    ``reply`` makes the end of the handshake, which its worker sends. ``place`` is its own among the
    claims.
    """

    sock: socket.socket
    address: str
    ready: Ready
    reply: Callable[[], bytes]
    attachment: Attachment
    place: Held


class Crew:
    """``count`` workers that serve the pages of ``exports``. ``tell`` is called with each event."""

    def __init__(
        self, exports: Exports, count: int, tell: Callable[[PageEvent], None] | None
    ) -> None:
        self._exports = exports
        self.teller = Teller(tell)
        self._workers = [self._make_worker() for _ in range(count)]
        self._numbers = itertools.count()
        self._clients = Clients()
        self._lost: set[str] = set()  # leases whose pages are lost
        self.timed = [0] * (
            MOST_POWER + 1
        )  # turns of all workers, by powers of two of microseconds
        self.waited: Counter[str] = Counter()  # seconds of all workers' seats, by reason
        self._orders: set[asyncio.Task[Any]] = set()
        self._rivals = Rivals(self._clients, exports, self.teller, self._keep)
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

    def readers(self) -> set[str]:
        """Return the readers of images that have a connection (see ``Attachment``)."""
        return {each.attachment.reader for each in self._clients.values()} - {""}

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the counters by lease, as ``PageServer.counters`` does."""
        connections = Counter(each.attachment.lease for each in self._clients.values())
        return {
            lease: {
                "reads": seat.counters.reads,
                "writes": seat.counters.writes,
                "trims": seat.counters.trims,
                "bytes_read": seat.counters.bytes_read,
                "bytes_written": seat.counters.bytes_written,
                "connections": connections[lease],
            }
            for lease, seat in self._clients.seats.items()
        }

    def seats(self) -> dict[str, str]:
        """Return the seat of each lease that has counters; empty for what a room shares."""
        return {lease: seat.seat for lease, seat in self._clients.seats.items()}

    @property
    def connections(self) -> int:
        """The number of connections."""
        return len(self._clients)

    async def connect(
        self, sock: socket.socket, address: str, ready: Ready, reply: Callable[[], bytes]
    ) -> Refused | None:
        """Hand a client over to a worker; return the refusal if it may not attach.

        The worker also sends ``reply``, the end of the handshake. So it has closed the connections
        that this one fences before the client can know that it is attached.
        """
        asked = ready.asked
        waiting = self._exports.elsewhere(asked)
        if waiting is not None:
            refused = await waiting
            if refused is not None:
                return self._refuse("", refused, address, asked.export)
        refused = await self._rivals.refusal(asked, ready.export.name, address)
        if refused is not None:
            return refused
        ends = self._exports.ends(asked)
        no_place = self._clients.no_place(asked, ends, address)
        attachment = no_place or self._exports.attach(asked, address)
        if isinstance(attachment, Refused):
            return self._refuse("", attachment, address, asked.export)
        self._seat(attachment)
        place = self._clients.claims.hold(attachment.lease, address, attachment.places)
        try:
            return await self._attach(Arrival(sock, address, ready, reply, attachment, place))
        finally:
            if not place.is_used:
                place.release()

    async def _attach(self, arrival: Arrival) -> Refused | None:
        """Wait until the lease is saved, and hand its client over. Return the refusal if not."""
        asked, address = arrival.ready.asked, arrival.address
        attachment = arrival.attachment
        saving = self._exports.saving(attachment.lease)
        if saving is not None:
            if not await saving:
                if not self._clients.of_lease(attachment.lease):
                    self._exports.let_go(attachment.lease)
                return self._refuse(attachment.seat, UNSAVED, address, asked.export)
            again = self._exports.attach(asked, address)  # a newer set may have come meanwhile
            if isinstance(again, Refused):
                return self._refuse("", again, address, asked.export)
            attachment = again
            arrival = replace(arrival, attachment=again)
        try:
            attachment.pages.check()
        except Damaged as error:
            self._lose(attachment.lease, attachment.seat, str(error))
            return Refused(f"this server no longer has the pages of {attachment.export.name}")
        refused, given = None, False
        try:
            refused = await self._hand_over(arrival)
            given = refused is None
        finally:
            if not given and not self._clients.of_lease(attachment.lease):
                self._exports.let_go(attachment.lease)
        if refused is not None:
            return self._refuse(attachment.seat, refused, address, asked.export)
        text = f"attached by {address}, connection {self._clients.of_lease(attachment.lease)}"
        self._tell_attached(attachment, address, text)
        return None

    async def _hand_over(self, arrival: Arrival) -> Refused | None:
        attachment, ready = arrival.attachment, arrival.ready
        number, seat = attachment.set_number, self._seat(attachment)
        if attachment.fences:  # also if there is no place for this connection: its number counts
            await seat.worker.send({"do": "fence", "lease": attachment.lease, "set": number})
            if self._clients.seats.get(attachment.lease) is not seat:
                return Refused("its lease has ended")  # with its descriptors, meanwhile
        no_place = self._clients.surplus(attachment)
        no_place = no_place or self._clients.no_descriptor(seat.worker, attachment)
        if no_place is not None:
            return no_place
        self._make_room_for(attachment)
        carried = control.carry(arrival.reply(), ready.leftover)
        message = {
            "set": number,
            "written": seat.written,
            "headers": ready.dialect.headers,
            "allocation": ready.dialect.allocation,
        }
        client = self._client(attachment, arrival.place, arrival.address)
        try:
            await self._give(client, message, [arrival.sock.fileno(), carried])
        finally:
            os.close(carried)
        return None

    def _make_room_for(self, attachment: Attachment) -> None:
        oldest = self._clients.to_end(attachment)
        if oldest is not None:
            client = self._clients.close(oldest)
            order = client.worker.send({"do": "close", "id": oldest})
            self._keep(asyncio.get_running_loop().create_task(order))

    def _lose(self, lease: str, seat: str, reason: str) -> None:
        """End a lease whose pages are lost. The seats beside it lose nothing."""
        if lease in self._lost:
            return
        self._lost.add(lease)
        follows = self._exports.lose(lease)
        text = f"the pages of {seat or lease} are lost: {reason}; {follows}"
        self.teller.tell("damaged", seat, lease, text)

    def _refuse(self, seat: str, refused: Refused, address: str, export: str) -> Refused:
        if refused.is_full:
            self.teller.full(export, refused.reason)
            return refused
        whom = f"{export} at {address}" if refused.is_ours else address
        text = f"{whom}: {refused.reason}"
        self.teller.complain("refused", seat, text, address=address, is_ours=refused.is_ours)
        return refused

    async def hang_up(self, lease: str) -> None:
        """Close the connections of a lease. Its seat may attach it again, with a newer set."""
        sets = [
            each.attachment.set_number
            for each in self._clients.values()
            if each.attachment.lease == lease
        ]
        seat = self._clients.seats.get(lease)
        if sets and seat is not None:
            await seat.worker.send({"do": "fence", "lease": lease, "set": max(sets) + 1})

    async def take_over(self, names: Iterable[str]) -> None:
        """Move the clients of an earlier server's workers, which listen at ``names``, to ours."""
        folder = self._exports.directory
        assert folder is not None, "the names are in it"
        # Until our workers are ready, the old ones serve the clients without a pause.
        await asyncio.gather(*(worker.ready.wait() for worker in self._workers))
        await asyncio.gather(*(self._take_over(folder, name) for name in names))

    async def _take_over(self, folder: Path, name: str) -> None:
        try:
            worker = control.meet(folder, name)
        except OSError as error:
            # What it has open is locked, so its PCs are refused until they have let it go.
            log.warning("pages: an older worker cannot be reached: %s", error.strerror)
            return
        if worker is not None:
            with worker:
                try:
                    async with asyncio.timeout(TAKE_OVER_SECONDS):
                        await collect(worker, self._resume_one)
                except TimeoutError:
                    log.warning("pages: an older worker does not finish its requests; stopping it")
                    await kill(worker)
                except Exception:
                    log.exception("pages: an older worker gives its clients back wrongly")
                    await kill(worker)
        with contextlib.suppress(OSError):
            (folder / name).unlink()

    async def _resume_one(self, message: control.Message, descriptors: Sequence[int]) -> None:
        """Take over one client. If that fails, it attaches again, and the others notice nothing."""
        try:
            await self._resume(message, descriptors)
        except (OSError, Damaged) as error:
            log.warning("pages: %s: not taken over: %s", message["address"], error)
        except Exception:
            log.exception("pages: %s: not taken over", message["address"])

    async def _resume(self, message: control.Message, descriptors: Sequence[int]) -> None:
        (client, carried, *pages), address = descriptors, message["address"]
        attachment = self._exports.resume(message["lease"], pages, message["set"])
        if attachment is None:
            log.info("pages: %s: connection dropped: its lease has ended", address)
            return
        self._seat(attachment).written = message["written"]
        reader = message.get("reader", "")  # releases up to 0.1.0 do not tell it
        attachment = replace(attachment, set_number=message["set"], reader=reader)
        place = self._clients.claims.hold(attachment.lease, address, attachment.places)
        try:
            taken = self._client(attachment, place, address)
            await self._give(taken, message, [client, carried])
        finally:
            if not place.is_used:
                place.release()
        self._tell_attached(attachment, address, f"still attached by {address}, to a new process")

    def _client(self, attachment: Attachment, place: Held, address: str) -> Client:
        """Return a new client with its worker."""
        worker = self._least_loaded() if attachment.spread else self._seat(attachment).worker
        return Client(address, attachment, worker, place)

    async def _give(
        self, client: Client, message: control.Message, descriptors: Sequence[int]
    ) -> None:
        """Send a client to its worker, with what ``message`` says of its protocol."""
        number, attachment = next(self._numbers), client.attachment
        export = attachment.export
        message = {
            **message,
            "do": "connect",
            "id": number,
            "lease": attachment.lease,
            "seat": attachment.seat or attachment.lease,
            "address": client.address,
            "reader": attachment.reader,
            "export": export.name,
            "store": attachment.store,
            "size_bytes": export.size_bytes,
            "read_only": export.read_only,
            "ceiling": attachment.ceiling,
        }
        # Copies: the lease may end during the await below, and its descriptors be reused.
        pages = [os.dup(descriptor) for descriptor in attachment.pages.descriptors()]
        self._clients.add(number, client)
        self._seat(attachment).address = client.address
        try:
            await client.worker.send(message, [*descriptors, *pages])
        except BaseException:
            self._clients.remove(number)
            raise
        finally:
            for descriptor in pages:
                os.close(descriptor)

    def _seat(self, attachment: Attachment) -> SeatState:
        """Return the state of a lease, made if new.

        All connections of a seat go to one worker, so that fairness and fencing need no other.
        """
        seat = self._clients.seats.get(attachment.lease)
        if seat is None:
            mate = self._clients.mate(attachment.seat) if attachment.seat else None
            worker = self._least_loaded() if mate is None else mate.worker
            seat = SeatState(attachment.seat, worker, spread=attachment.spread)
            self._clients.add_seat(attachment.lease, seat)
        return seat

    def _drop(self, lease: str) -> None:
        self._lost.discard(lease)
        ended = self._clients.remove_seat(lease)
        if ended is not None:
            # Each worker may have clients of an image, and keeps its file open until a drop.
            for worker in self._workers if ended.spread else [ended.worker]:
                order = worker.send({"do": "drop", "lease": lease})
                self._keep(asyncio.get_running_loop().create_task(order))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._orders.add(task)
        faults.watch(task)
        task.add_done_callback(self._orders.discard)

    def _least_loaded(self) -> WorkerProcess:
        return min(self._workers, key=self._clients.load_of)

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
        if message["event"] == "timed":
            for power, turns in enumerate(message["turns"][: len(self.timed)]):
                self.timed[power] += turns
            return
        if message["event"] == "waited":
            self.waited.update(message["seconds"])
            return
        lease = message["lease"]
        seat = self._clients.seats.get(lease)
        if seat is None:
            return  # the lease ended while the report was under way
        match message["event"]:
            case "counters":
                for name, done in message["done"].items():
                    setattr(seat.counters, name, getattr(seat.counters, name) + done)
            case "delayed":
                waited = f"requests have waited for {message['seconds']:.0f} s"
                text = f"page store is full: {waited}; make room on the server"
                self.teller.tell("delayed", seat.seat, lease, text, seconds=message["seconds"])
            case "stalled":
                text = f"page store does not answer: a request has waited for {message['seconds']:.0f} s"
                self.teller.tell_many("stalled", seat.seat, lease, text, seconds=message["seconds"])
            case "answers":
                text = f"page store answers again after {message['seconds']:.0f} s"
                self.teller.tell_many("answers", seat.seat, lease, text, seconds=message["seconds"])
            case "damaged":
                self._lose(lease, seat.seat, message["reason"])
            case "first-write" if not seat.written:
                seat.written = True
                self.teller.tell("first-write", seat.seat, lease, "first page written")

    def _closed(self, number: int, reason: str) -> None:
        client = self._clients.remove(number)
        if client is None:
            return
        attachment = client.attachment
        connections = self._clients.of_lease(attachment.lease)
        seat = self._clients.seats.get(attachment.lease)
        if seat is not None:
            seat.address = client.address
            if reason != DISCONNECTED:
                seat.left = time.monotonic()
        if not connections:
            self._exports.let_go(attachment.lease)
        self.teller.tell(
            "detach",
            attachment.seat,
            attachment.lease,
            f"{attachment.export.name}: {reason}",
            address=client.address,
            connections=connections,
            export=attachment.export.name,
        )

    def _died(self, worker: WorkerProcess) -> None:
        self.teller.tell("worker-died", "", "", f"page worker {worker.pid} died; starting another")
        lost = [number for number, client in self._clients.items() if client.worker is worker]
        for number in lost:
            self._closed(number, "its page worker died")

    def _tell_attached(self, attachment: Attachment, address: str, text: str) -> None:
        self.teller.tell(
            "attach",
            attachment.seat,
            attachment.lease,
            f"{attachment.export.name} {text}",
            address=address,
            connections=self._clients.of_lease(attachment.lease),
            export=attachment.export.name,
        )
