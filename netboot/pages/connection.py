"""One client of a page worker: its socket, its place in the protocol, and one turn of service."""

import contextlib
import socket
from dataclasses import dataclass

from netboot.errors import ProtocolError
from netboot.pages import control
from netboot.pages.exchange import BUFFER_BYTES, Area, Buffers, Exchange

# What one connection may be sent before the next has its turn.
TURN_BYTES = 4 * BUFFER_BYTES


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
    unsent: memoryview
    waits_for: int = 0  # epoll events it is registered for
    last_turn: int = 0
    received: int = 0
    sent: int = 0
    blocked_since: float | None = None

    @property
    def closed(self) -> bool:
        """Whether its socket was closed, or given to another process."""
        return self.sock.fileno() < 0

    def serve(self, buffers: Buffers, limit: int) -> str | None:
        """Reads once and answers, about ``limit`` bytes each way; the reason to close, or None.

        Raises OSError when the client is gone, ProtocolError when it sent nonsense; the replies to
        what came before that were sent.
        """
        buffers.filled = 0
        try:
            if self.unsent and not self._send(self.unsent):
                return None
            if not self._fill(buffers, limit):
                return "closed by the client"
            self._answer(buffers, limit)
        except ProtocolError:
            with contextlib.suppress(OSError):
                self._send(buffers.output[: buffers.filled])
            raise
        if self.exchange.closed and not self.unsent:
            return "disconnected by the client"
        return None

    def _answer(self, buffers: Buffers, limit: int) -> None:
        exchange, sent = self.exchange, 0
        if exchange.blocked:
            exchange.retry()
        while sent < limit:
            exchange.answer(buffers)
            sent += buffers.filled or limit  # a long erasure's piece is a turn, too
            full = buffers.filled and not self._send(buffers.output[: buffers.filled])
            buffers.filled = 0
            if full or exchange.hungry or exchange.closed or exchange.blocked:
                break
        self.unparsed = bytes(buffers.input[buffers.position : buffers.end])

    def _fill(self, buffers: Buffers, limit: int) -> bool:
        """Puts what is unparsed, and if that is not enough what has come, into the input."""
        kept = len(self.unparsed)
        buffers.position, buffers.end = 0, kept
        buffers.input[:kept] = self.unparsed
        if not self.exchange.hungry:
            return True
        try:
            received = self.sock.recv_into(buffers.input[kept:], min(limit, BUFFER_BYTES - kept))
        except BlockingIOError:
            return True
        buffers.end += received
        self.received += received
        return received > 0

    def _send(self, data: memoryview) -> bool:
        """Sends what the socket takes and keeps the rest; False if there is a rest."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        self.sent += sent
        # The buffer belongs to the next connection's turn: what stays is copied.
        self.unsent = memoryview(bytes(data[sent:]))
        return not self.unsent
