"""One client of a page worker: its socket, its state in the protocol, and one turn of service."""

import contextlib
import socket
import time
from dataclasses import dataclass
from socket import MSG_DONTWAIT

from netboot.errors import ProtocolError
from netboot.pages import control
from netboot.pages.worker.exchange import BUFFER_BYTES, Area, Buffers, Exchange
from netboot.pages.worker.governor import QUANTUM_BYTES, QUANTUM_SECONDS
from netboot.pages.worker.held import Held
from netboot.pages.worker.lookout import SLEEPS_SECONDS

# The most bytes for one connection before the next one has its turn.
TURN_BYTES = 4 * BUFFER_BYTES
# Turns without a second look at the socket, after one that found nothing: a look is a system call.
MODEST_TURNS = 32
# The time of a turn with requests that take long for their bytes: TRIM, FLUSH. One of them may take
# longer. A buffer has 9000 of them.
HEAVY_SECONDS = 0.001

# A plain number: a member of an enum costs a dictionary lookup at each use.
_DONTWAIT = int(MSG_DONTWAIT)

DISCONNECTED = "disconnected by the client"  # an orderly end: NBD_CMD_DISC


@dataclass(slots=True)
class Connection:
    """A client.

    ``unparsed`` input and ``unsent`` output are at most one buffer each. ``received`` and ``sent``
    count bytes. ``cost`` counts the time of heavy requests, in the bytes that could have moved.
    """

    sock: socket.socket
    area: Area
    exchange: Exchange
    message: control.Message  # the ``connect`` message
    unparsed: bytes
    unsent: bytes
    waits_for: int = 0  # epoll events it is registered for
    last_turn: int = 0
    received: int = 0
    sent: int = 0
    cost: int = 0
    oldest: Held | None = None  # of its requests that wait for room, and since when it does
    waits_since: float | None = None
    modest: int = 0  # turns until the next second look at its socket in a turn
    filled: bool = False  # the last receive took as much as it could
    slept: int = 0  # requests of the last turn that were waited for in the socket

    @property
    def closed(self) -> bool:
        """True if the socket was closed, or given to another process."""
        return self.sock.fileno() < 0

    @property
    def may_go(self) -> bool:
        """True if it may have a turn: it is open, and its area is not fenced."""
        tasks = self.area.tasks
        return self.sock.fileno() >= 0 and (tasks is None or not tasks.late)

    def serve(
        self, buffers: Buffers, limit: int, *, alone: bool = False, sleeps: bool = False
    ) -> str | None:
        """Read and answer, about ``limit`` bytes in each direction; return the reason to close.

        Returns None if the connection stays open. With ``alone`` no other connection was waiting,
        so the turn lasts as long as there is more to read, up to ``limit``. If it also ``sleeps``,
        it waits in the socket for more, for SLEEPS_SECONDS and a tick at most. Raises OSError if the
        client is gone, ProtocolError for invalid bytes; replies to the requests before them were
        sent.
        """
        exchange = self.exchange
        try:
            if self.unsent and not self._send([self.unsent], len(self.unsent)):
                return None
            enough = self.received + limit
            flags, self.slept = _DONTWAIT, 0
            end = time.monotonic() + SLEEPS_SECONDS if sleeps else 0.0
            while self._fill(buffers, limit, flags):
                self._answer(buffers, limit)
                if not alone or not exchange.hungry or self.unsent or self.received > enough:
                    break
                if sleeps:
                    nothing_came = self.modest and not flags
                    if nothing_came or exchange.waiting or time.monotonic() > end:
                        break
                    flags = self.modest = 0
                    self.slept += 1
                    continue
                # A client that shares our CPU has sent its next request by now, or will send none
                # before we sleep. After a receive that filled its room there is more.
                if self.modest and not self.filled:
                    self.modest -= 1
                    break
            else:
                return "closed by the client"
        except ProtocolError:
            with contextlib.suppress(OSError):
                self._send(buffers.parts, buffers.filled)
            raise
        finally:
            if buffers.parts:  # after any error: the output must not reach the next connection
                buffers.begin_output()
        if exchange.closed and not self.unsent:
            return DISCONNECTED
        return None

    def finish(self, buffers: Buffers) -> None:
        """Answer what is done of the requests under way, and begin no other. Raises OSError."""
        exchange = self.exchange
        try:
            if self.unsent and not self._send([self.unsent], len(self.unsent)):
                return
            if exchange.waiting:
                exchange.retry(buffers)
            while True:
                exchange.deliver(buffers)
                full = buffers.filled and not self._send(buffers.parts, buffers.filled)
                buffers.begin_output()
                if full or not exchange.ready:
                    break
        finally:
            if buffers.parts:
                buffers.begin_output()

    def _answer(self, buffers: Buffers, limit: int) -> None:
        exchange, sent = self.exchange, 0
        exchange.heavy, begin = False, time.monotonic()
        if exchange.waiting:
            exchange.retry(buffers)
        while sent < limit:
            if exchange.arrived:
                exchange.deliver(buffers)
            exchange.answer(buffers)
            filled = buffers.filled
            sent += filled or limit  # a piece of a long TRIM counts as a turn, too
            full = filled and not self._send(buffers.parts, filled)
            buffers.begin_output()
            if full or exchange.closed:
                break
            if (exchange.hungry or exchange.blocked) and not (exchange.arrived and exchange.ready):
                break
            if exchange.heavy and time.monotonic() - begin > HEAVY_SECONDS:
                break
        if exchange.heavy:
            self.cost += int((time.monotonic() - begin) / QUANTUM_SECONDS * QUANTUM_BYTES)
        position, end = buffers.position, buffers.end
        self.unparsed = bytes(buffers.input[position:end]) if position < end else b""

    def _fill(self, buffers: Buffers, limit: int, flags: int) -> bool:
        """Fill the input with the unparsed bytes and, if more are needed, with received ones.

        Returns False at the end of the stream.
        """
        kept, exchange = len(self.unparsed), self.exchange
        buffers.position, buffers.end = 0, kept
        if kept:
            buffers.input[:kept] = self.unparsed
        if not exchange.hungry:
            return True
        sink = exchange.sink
        room = sink or (buffers.input[kept:] if kept else buffers.input)
        most = min(limit, len(room))
        try:
            received = self.sock.recv_into(room, most, flags)
        except BlockingIOError:
            self.modest, self.filled = MODEST_TURNS, False
            return True
        self.filled = received == most
        self.received += received
        if sink is None:
            buffers.end = kept + received
        else:
            exchange.sunk(received)
        return received > 0

    def _send(self, parts: list[bytes | memoryview], length: int) -> bool:
        """Send as much as the socket takes and keep the rest; return whether all was sent."""
        try:
            if len(parts) == 1:
                sent = self.sock.send(parts[0], _DONTWAIT)
            else:
                sent = self.sock.sendmsg(parts, (), _DONTWAIT)
        except BlockingIOError:
            sent = 0
        self.sent += sent
        if sent == length:
            self.unsent = b""
            return True
        # Copied, because the next turn reuses the buffers, and the pages may change.
        self.unsent = b"".join(parts)[sent:]
        return False
