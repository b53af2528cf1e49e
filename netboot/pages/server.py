"""The page server's control plane: listen, do the NBD handshakes, hand clients to workers."""

import asyncio
import itertools
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from netboot.errors import OperatorError
from netboot.pages.crew import Crew, PageEvent
from netboot.pages.exports import Exports
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.handshake import Handshake, Ready
from netboot.pages.nbd.name import WireName

__all__ = ["Address", "PageEvent", "PageServer"]

log = logging.getLogger(__name__)

Address = tuple[str, int]

HANDSHAKE_SECONDS = 10.0  # as qemu-nbd, after CVE-2024-7409
# A handshake has some hundred bytes. Requests that follow it at once are passed on to the worker.
RECEIVE_BYTES = 4096
MAX_CONNECTIONS = 480  # with as many page files they fit into the 1024 descriptors of a process
# Twice four areas of 16 connections: a seat may attach all of them again before the server knows
# that the old ones are dead.
MAX_CONNECTIONS_OF_ADDRESS = 128
MAX_WORKERS = 8
LEAVE_SECONDS = 0.5  # for handshakes in progress; a slower client has to connect again
# A PC that is switched off closes nothing: the kernel drops its connections after a minute.
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


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
        self._crew = Crew(exports, count, on_event)
        self._resumes = False
        self._settled = asyncio.Event()
        self._listeners: list[socket.socket] = []
        self._accepting: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshaking: Counter[str] = Counter()

    async def start(self, listeners: Sequence[socket.socket] = ()) -> None:
        """Start the workers, listen, and take over the clients of an earlier server.

        ``listeners`` are listening sockets that the earlier server left. Raises OperatorError if an
        address cannot be bound.
        """
        for given, address in itertools.zip_longest(listeners, self._listen):
            try:
                listener = given or _listen(address)
            except OSError as error:
                await self.stop()
                host, port = address
                raise OperatorError(
                    f"cannot serve pages on {host} port {port}: {error.strerror}",
                    hint="is another NBD server running?",
                ) from error
            listener.setblocking(False)
            self._listeners.append(listener)
        left = self._crew.start()
        self._resumes = bool(left)
        self._spawn(self._take_over(left))
        for listener in self._listeners:
            self._spawn(self._accept(listener), self._accepting)

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
        tasks = self._tasks | self._accepting
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        await self._crew.stop()

    async def leave(self) -> Sequence[socket.socket]:
        """Finish the handshakes and accept no more; return the listening sockets.

        After this the process may end, or be replaced, and attached clients notice nothing. Further
        clients wait in the queues of the listening sockets.
        """
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_SECONDS)
        return self._listeners

    @property
    def addresses(self) -> list[Address]:
        """The addresses in use, with the port that the kernel chose for port 0."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return self._crew.pids

    def counters(self) -> dict[str, dict[str, int]]:
        """Return by lease: reads, writes, trims, bytes_read, bytes_written and connections.

        All but the last are at most a second old.
        """
        return self._crew.counters()

    # Handshakes.

    def _spawn(
        self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]] | None = None
    ) -> None:
        tasks = self._tasks if tasks is None else tasks
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError as error:  # too many open files, or the client is gone already
                log.warning("pages: cannot accept a connection: %s", error.strerror)
                await asyncio.sleep(0.1)
                continue
            reason = self._too_many(peer[0])
            if reason is not None:
                sock.close()
                self._crew.tell("refused", "", "", f"{peer[0]}: {reason}", address=peer[0])
                continue
            self._handshaking[peer[0]] += 1
            self._spawn(self._welcome(sock, peer[0]))

    def _too_many(self, address: str) -> str | None:
        connected = Counter(self._crew.addresses())
        if connected.total() + self._handshaking.total() >= MAX_CONNECTIONS:
            return f"the server has {MAX_CONNECTIONS} connections, its limit"
        if connected[address] + self._handshaking[address] >= MAX_CONNECTIONS_OF_ADDRESS:
            return f"this address has {MAX_CONNECTIONS_OF_ADDRESS} connections, the limit for one"
        return None

    async def _welcome(self, sock: socket.socket, address: str) -> None:
        with sock:  # the worker has a descriptor of its own
            try:
                async with asyncio.timeout(self._handshake_seconds):
                    await self._serve_handshake(sock, address)
            except TimeoutError:
                log.info("pages: %s: handshake not done in %g s", address, self._handshake_seconds)
            except OSError as error:
                log.info("pages: %s: %s", address, error.strerror)
            except Exception:
                log.exception("pages: a handshake with %s failed", address)
            finally:
                self._handshaking[address] -= 1
                self._handshaking += Counter()  # drops addresses whose count is 0

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
            await self._settled.wait()
            await self._crew.connect(sock, address, outcome, handshake.data_to_send())
        else:
            await loop.sock_sendall(sock, handshake.data_to_send())
            log.info("pages: %s: %s", address, outcome.reason)

    def _find(self, name: WireName, address: str) -> Export | Refused:
        found = self._exports.find(name)
        if isinstance(found, Refused):
            # Without the token: a mistyped one is still half a secret.
            message = f"{address}: {found.reason}"
            self._crew.tell("refused", "", "", message, address=address, export=name.export)
        return found


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=MAX_CONNECTIONS)
