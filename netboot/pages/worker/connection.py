"""One client of a page worker: its socket, its place in the protocol, and one turn of service."""

import contextlib
import socket
from dataclasses import dataclass

from netboot.errors import ProtocolError
from netboot.pages import control
from netboot.pages.worker.exchange import BUFFER_BYTES, Area, Buffers, Exchange

# What one connection may be sent before the next has its turn.
TURN_BYTES = 4 * BUFFER_BYTES
# For so many turns a client that had sent nothing more is not asked again: that is a system call.
MODEST_TURNS = 32


@dataclass(slots=True)
class Connection:
    """A client. ``unparsed`` input and ``unsent`` output are at most one buffer each; ``received``
    and ``sent`` count bytes.
    """

    sock: socket.socket
    area: Area
    exchange: Exchange
    message: control.Message  # what it was connected with
    unparsed: bytes
    unsent: bytes
    waits_for: int = 0  # epoll events it is registered for
    last_turn: int = 0
    received: int = 0
    sent: int = 0
    blocked_since: float | None = None
    modest: int = 0  # turns until it is asked again whether it has sent more meanwhile

    @property
    def closed(self) -> bool:
        """Whether its socket was closed, or given to another process."""
        return self.sock.fileno() < 0

    def serve(self, buffers: Buffers, limit: int, *, alone: bool = False) -> str | None:
        """Reads and answers, about ``limit`` bytes each way; the reason to close, or None. With
        ``alone``, nobody else was waiting: it goes on as long as there is more to read.

        Raises OSError when the client is gone, ProtocolError when it sent nonsense; the replies to
        what came before that were sent.
        """
        exchange = self.exchange
        try:
            if self.unsent and not self._send([self.unsent], len(self.unsent)):
                return None
            enough = self.received + limit
            while self._fill(buffers, limit):
                self._answer(buffers, limit)
                if not alone or not exchange.hungry or self.unsent or self.received > enough:
                    break
                # A client that shares our CPU has sent its next request by now, or never has.
                if self.modest:
                    self.modest -= 1
                    break
            else:
                return "closed by the client"
        except ProtocolError:
            with contextlib.suppress(OSError):
                self._send(buffers.parts, buffers.filled)
            raise
        finally:
            if buffers.parts:  # whatever went wrong: it must not reach the next connection
                buffers.begin_output()
        if exchange.closed and not self.unsent:
            return "disconnected by the client"
        return None

    def _answer(self, buffers: Buffers, limit: int) -> None:
        exchange, sent = self.exchange, 0
        if exchange.blocked:
            exchange.retry()
        while sent < limit:
            exchange.answer(buffers)
            filled = buffers.filled
            sent += filled or limit  # a long erasure's piece is a turn, too
            full = filled and not self._send(buffers.parts, filled)
            buffers.begin_output()
            if exchange.hungry or full or exchange.closed or exchange.blocked:
                break
        begin, end = buffers.position, buffers.end
        self.unparsed = bytes(buffers.input[begin:end]) if begin < end else b""

    def _fill(self, buffers: Buffers, limit: int) -> bool:
        """Puts what is unparsed, and if that is not enough what has come, into the input."""
        kept, exchange = len(self.unparsed), self.exchange
        buffers.position, buffers.end = 0, kept
        if kept:
            buffers.input[:kept] = self.unparsed
        if not exchange.hungry:
            return True
        sink = exchange.sink
        room = sink or (buffers.input[kept:] if kept else buffers.input)
        try:
            received = self.sock.recv_into(room, min(limit, len(room)))
        except BlockingIOError:
            self.modest = MODEST_TURNS
            return True
        self.received += received
        if sink is None:
            buffers.end = kept + received
        else:
            exchange.sunk(received)
        return received > 0

    def _send(self, parts: list[bytes | memoryview], length: int) -> bool:
        """Sends what the socket takes and keeps the rest; False if there is a rest."""
        try:
            sent = self.sock.send(parts[0]) if len(parts) == 1 else self.sock.sendmsg(parts)
        except BlockingIOError:
            sent = 0
        self.sent += sent
        if sent == length:
            self.unsent = b""
            return True
        # The buffers belong to the next connection's turn, and pages change: what stays is copied.
        self.unsent = b"".join(parts)[sent:]
        return False
