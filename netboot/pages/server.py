"""The page server's control plane: listen, do the NBD handshakes, hand clients to workers."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from netboot.boot.limits import NBD_DIALS, NBD_HANDSHAKES
from netboot.errors import OperatorError
from netboot.host import faults, sigbus
from netboot.host.complaints import Complaints
from netboot.host.listeners import Address, Listeners
from netboot.host.text import cause
from netboot.pages import liveness
from netboot.pages.crew import Crew
from netboot.pages.exports import Exports
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.handshake import Handshake, Ready
from netboot.pages.nbd.name import WireName
from netboot.pages.stores.folder import SUFFIX
from netboot.pages.stores.ledger import LEDGER
from netboot.pages.telling import PageEvent

__all__ = ["Address", "PageEvent", "PageServer"]

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = NBD_HANDSHAKES.seconds or 0.0
MAX_HANDSHAKES = NBD_HANDSHAKES.in_total or 0
MAX_HANDSHAKES_OF_ADDRESS = NBD_HANDSHAKES.per_address or 0
# A handshake has some hundred bytes. Requests that follow it at once are passed on to the worker.
RECEIVE_BYTES = 4096
TURN_SECONDS = 0.001  # in which connections are accepted, between two visits to the event loop
BACKLOG = 1024  # of the listening socket: a room attaches at once
# A PC opens the connections of an area one after the other, and has four areas at the most.
HANDSHAKES_OF_PC = 4
MAX_NAME = 64  # of a name that an event repeats
MAX_WORKERS = 8
LEAVE_SECONDS = 0.5  # for handshakes in progress; a slower client has to connect again


@dataclass(slots=True)
class _Guest:
    """A client whose handshake is not done. ``named``: it chose an export that it may attach.

    ``export`` is the one that it asked for last, and may attach.
    """

    address: str
    holder: str
    named: bool = False
    export: str = ""


class PageServer:
    """Serves ``exports`` on the addresses ``listen`` with ``workers`` processes.

    ``holder`` returns the machine that an address counts for.
    """

    def __init__(
        self,
        exports: Exports,
        *,
        listen: Sequence[Address],
        workers: int | None = None,
        on_event: Callable[[PageEvent], None] | None = None,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        holder: Callable[[str], str] = str,
    ) -> None:
        self._holder = holder
        self._exports = exports
        self._listen = listen
        self._on_event = on_event
        self._handshake_seconds = handshake_seconds
        count = workers or min(os.cpu_count() or 1, MAX_WORKERS)
        self._crew = Crew(exports, count, on_event)
        self._resumes = False
        self._settled = asyncio.Event()
        self._listeners = Listeners(
            _listen, begin=self._begin_accepting, end=self._end_accepting, failure=_failure
        )
        self._accepting: dict[Address, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._guests: dict[asyncio.Task[None], _Guest] = {}  # oldest first
        self._held: Counter[str] = Counter()  # guests of each machine
        self._second = float("-inf")  # its begin, of the loop's clock
        self._dials: Counter[str] = Counter()  # connections of each address in that second
        self._complaints = Complaints(log)

    async def start(self, listeners: Sequence[socket.socket] = ()) -> None:
        """Start the workers, listen, and take over the clients of an earlier server.

        ``listeners`` are listening sockets that the earlier server left. Raises OperatorError if an
        address cannot be bound.
        """
        for address in self._listen:
            left_to_us = next((each for each in listeners if _is_at(each, address)), None)
            if left_to_us is not None:
                self._listeners.adopt(address, left_to_us)
        for listener in set(listeners) - set(self._listeners.sockets):
            listener.close()  # its address is not ours any more
        try:
            self.follow(self._listen)
        except OperatorError:
            await self.stop()
            raise
        with contextlib.suppress(OSError):  # a worker tells that
            # The lease of a page file ends when it attaches; without a ledger no new one is granted.
            sigbus.survive(lambda path, _: path.endswith((SUFFIX, f"/{LEDGER}")))
        left = self._crew.start()
        self._resumes = bool(left)
        self._spawn(self._take_over(left))

    def follow(self, listen: Sequence[Address]) -> None:
        """Listen on these addresses and on no other one. Clients that there are go on.

        Raises OperatorError for the first address that is not available, after the others.
        """
        self._listeners.follow(listen)

    def _begin_accepting(self, address: Address, listener: socket.socket) -> None:
        listener.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._accept(listener))
        self._accepting[address] = task
        faults.watch(task)

    def _end_accepting(self, address: Address, listener: socket.socket) -> None:
        accepting = self._accepting.pop(address)
        accepting.add_done_callback(partial(_close, listener))
        accepting.cancel()

    async def _take_over(self, left: Sequence[str]) -> None:
        # Fencing needs to know all clients, so new ones wait until the old ones are taken over.
        try:
            if left:
                await self._crew.take_over(left)
        finally:
            self._settled.set()

    @property
    def resumes(self) -> bool:
        """True if an earlier server ended without a stop: its clients wait for this one."""
        return self._resumes

    async def settled(self) -> None:
        """Wait until the clients of an earlier server are taken over."""
        await self._settled.wait()

    async def stop(self) -> None:
        """Close all connections and stop the workers, within a second."""
        tasks = self._tasks | set(self._accepting.values())
        self._listeners.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._crew.stop()

    async def leave(self) -> Sequence[socket.socket]:
        """Finish the handshakes and accept no more; return the listening sockets.

        After this the process may end, or be replaced, and attached clients notice nothing. Further
        clients wait in the queues of the listening sockets.
        """
        for task in self._accepting.values():
            task.cancel()
        await asyncio.gather(*self._accepting.values(), return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_SECONDS)
        return self._listeners.sockets

    @property
    def addresses(self) -> list[Address]:
        """The addresses in use, with the port that the kernel chose for port 0."""
        return self._listeners.in_use

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return self._crew.pids

    def readers(self) -> set[str]:
        """Return the seats, as the 12 digits of their MAC addresses, that read an image now."""
        return self._crew.readers()

    async def hang_up(self, lease: str) -> None:
        """Close the connections of a lease. Its seat may attach it again, with a newer set."""
        await self._crew.hang_up(lease)

    def counters(self) -> dict[str, dict[str, int]]:
        """Return by lease: reads, writes, trims, bytes_read, bytes_written and connections.

        All but the last are at most a second old.
        """
        return self._crew.counters()

    def seats(self) -> dict[str, str]:
        """Return the seat of each lease of ``counters``, its MAC address; empty for shared exports."""
        return self._crew.seats()

    def latency(self) -> tuple[int, ...]:
        """Return how many turns took 1 us, 2 us, 4 us and so on; one of 64 is timed.

        A turn answers the requests that have arrived on a connection: so long the last one waits.
        """
        return tuple(self._crew.timed)

    def waited(self) -> dict[str, float]:
        """Return for how many seconds seats waited, by reason: see netboot.pages.worker.delays."""
        return dict(self._crew.waited)

    @property
    def connections(self) -> int:
        """The number of connections, those that read images included."""
        return self._crew.connections

    # Handshakes.

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        faults.watch(task)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.time()
        while True:
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError as error:  # too many open files, or the client is gone already
                reason = "pages: cannot accept a connection: %s"
                self._complaints.warn("", reason, error.strerror)
                await asyncio.sleep(0.1)
                continue
            try:
                guest = _Guest(peer[0], self._holder(peer[0]))
                welcome = self._may_dial(guest.holder, loop.time()) and self._make_place(guest)
                if welcome:
                    self._begin(sock, guest)
            except Exception:  # noqa: BLE001 - a bug of ours must cost one client and not the room
                reason, welcome = "pages: cannot welcome a client\n%s", False
                self._complaints.warn("", reason, traceback.format_exc(), level=logging.ERROR)
            if not welcome:
                sock.close()
            # sock_accept() does not wait for the event loop while there are connections. Four
            # addresses that dial again and again kept all other servers from their turn for 70 ms.
            if loop.time() - turn > TURN_SECONDS:
                await asyncio.sleep(0)
                turn = loop.time()

    def _may_dial(self, holder: str, now: float) -> bool:
        """Count a connection; return False if a machine made too many in this second."""
        if now - self._second >= (NBD_DIALS.seconds or 0.0):
            self._second = now
            self._dials.clear()
        self._dials[holder] += 1
        return self._dials[holder] <= (NBD_DIALS.per_address or 0)

    def _begin(self, sock: socket.socket, guest: _Guest) -> None:
        task = asyncio.get_running_loop().create_task(self._welcome(sock, guest))

        def over(_: asyncio.Task[None]) -> None:
            sock.close()  # a task that was hung up on before its first step did not
            self._tasks.discard(task)
            self._forget(task)

        self._tasks.add(task)
        self._guests[task] = guest
        self._held[guest.holder] += 1
        task.add_done_callback(over)

    def _forget(self, task: asyncio.Task[None]) -> None:
        guest = self._guests.pop(task, None)
        if guest is not None:
            self._held[guest.holder] -= 1
            if not self._held[guest.holder]:
                del self._held[guest.holder]

    def _make_place(self, newcomer: _Guest) -> bool:
        """Hang up on the oldest handshake if there are too many; return whether there is a place.

        It is the oldest of the same machine or, if there are too many in total, of the machine that has
        most. A handshake that has named its export goes on: only its PC can do that. But a machine with
        more than ``HANDSHAKES_OF_PC`` of them makes room for others.
        """
        held = self._held
        if held[newcomer.holder] >= MAX_HANDSHAKES_OF_ADDRESS:
            heaviest = newcomer.holder
        elif len(self._guests) >= MAX_HANDSHAKES:
            heaviest = held.most_common(1)[0][0]
        else:
            return True
        reason = f"{heaviest}: {held[heaviest]} handshakes are not done; the oldest is hung up on"
        held_by = [
            (task, guest) for task, guest in self._guests.items() if guest.holder == heaviest
        ]
        self._crew.teller.complain("refused", "", reason, address=held_by[0][1].address)
        own, most = held[newcomer.holder], held[heaviest]
        is_greedy = heaviest != newcomer.holder and most > max(HANDSHAKES_OF_PC, own + 1)
        unnamed = (task for task, guest in held_by if not guest.named)
        oldest = next(unnamed, held_by[0][0] if is_greedy else None)
        if oldest is None:
            return False
        self._forget(oldest)
        oldest.cancel()
        return True

    async def _welcome(self, sock: socket.socket, guest: _Guest) -> None:
        address = guest.address
        with sock:  # the worker has a descriptor of its own
            try:
                async with asyncio.timeout(self._handshake_seconds):
                    await self._serve_handshake(sock, guest)
            except TimeoutError:
                self._note(address, f"handshake not done in {self._handshake_seconds:g} s")
            except ConnectionError as error:
                self._note(address, error.strerror or str(error))
            except OSError as error:  # ours: too many open files, no memory
                text = "pages: %s of %s is hung up on: %s"
                whom = guest.export or "a client"
                self._complaints.warn(f"ours {address}", text, whom, address, error.strerror)
            except Exception:  # noqa: BLE001 - a bug of ours must cost one client and not the room
                text, trace = "pages: a handshake with %s failed\n%s", traceback.format_exc()
                sender = f"failed {address}"
                self._complaints.warn(sender, text, address, trace, level=logging.ERROR)

    def _note(self, address: str, reason: str) -> None:
        self._complaints.warn(address, "pages: %s: %s", address, reason, level=logging.INFO)

    async def _serve_handshake(self, sock: socket.socket, guest: _Guest) -> None:
        loop, address = asyncio.get_running_loop(), guest.address
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        liveness.ask_after(sock, liveness.USUAL)
        handshake = Handshake(lambda name: self._find(name, guest), self._exports.names)
        while handshake.outcome is None:
            await loop.sock_sendall(sock, handshake.data_to_send())
            data = await loop.sock_recv(sock, RECEIVE_BYTES)
            if not data:
                return
            handshake.receive_data(data)
        outcome = handshake.outcome
        if isinstance(outcome, Ready):
            guest.named = True
            await self._settled.wait()
            refused = await self._crew.connect(sock, address, outcome, handshake.data_to_send)
            if refused is None:
                return
            handshake.refuse(refused)
            reason = "" if refused.is_full else refused.reason  # a line for all tells that
        else:
            reason = outcome.reason
        await loop.sock_sendall(sock, handshake.data_to_send())
        if reason:
            self._note(address, reason)

    def _find(self, name: WireName, guest: _Guest) -> Export | Refused:
        address = guest.address
        found = self._exports.find(name, address)
        if isinstance(found, Export):
            guest.export = found.name
        if isinstance(found, Refused):
            # Without the token: a mistyped one is still half a secret.
            export = name.export[:MAX_NAME]
            self._crew.teller.complain(
                "refused", "", f"{address}: {found.reason}", address=address, export=export
            )
        return found


def _close(listener: socket.socket, _: asyncio.Task[None]) -> None:
    listener.close()


def _is_at(listener: socket.socket, address: Address) -> bool:
    """Return True if a socket listens at ``address``; for port 0 at the port that it was given."""
    host, port = listener.getsockname()[:2]
    wanted = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    return host in {found[4][0] for found in wanted} and address[1] in (0, port)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=BACKLOG)


def _failure(address: Address, error: OSError) -> OperatorError:
    host, port = address
    return OperatorError(
        f"cannot serve pages on {host} port {port}: {cause(error)}",
        hint="is another NBD server running?"
        if error.errno == errno.EADDRINUSE
        else "listen at an address of this machine (ip -4 address), port 1024 or above",
    )
