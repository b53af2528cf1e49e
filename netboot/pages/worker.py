"""A page worker: the data plane process. ``python -m netboot.pages.worker FD``.

FD is its end of the control socket (control.py). It serves all its connections from one epoll
loop and ends when the control plane closes the socket.
"""

import contextlib
import logging
import select
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

from netboot.errors import ProtocolError
from netboot.nbd.export import Export
from netboot.pages import control
from netboot.pages.exchange import BUFFER_BYTES, Area, Buffers, Counters, Exchange
from netboot.pages.store import load

log = logging.getLogger(__name__)

# What one connection may be sent before the next has its turn.
TURN_BYTES = 4 * BUFFER_BYTES
REPORT_SECONDS = 1.0
RETRY_SECONDS = 0.05  # when the control plane is slow to read reports


@dataclass(slots=True)
class Connection:
    """A client. ``unparsed`` input and ``unsent`` output are at most one buffer each."""

    number: int
    sock: socket.socket
    area: Area
    exchange: Exchange
    unparsed: bytes
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    waits_for: int = 0  # epoll events it is registered for

    def send(self, data: memoryview) -> bool:
        """Sends what the socket takes and keeps the rest; False if there is a rest."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        # The buffer belongs to the next connection's turn: what stays is copied.
        self.unsent = memoryview(bytes(data[sent:]))
        return not self.unsent


class Worker:
    """One epoll loop over the control socket and the clients."""

    def __init__(self, control_socket: socket.socket) -> None:
        self._control = control_socket
        self._control.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._control, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._areas: dict[str, Area] = {}
        self._buffers = Buffers()
        self._reports: deque[control.Message] = deque()
        self._next_report = 0.0
        self._dirty = False

    def run(self) -> None:
        """Serves until the control plane is gone."""
        while True:
            for descriptor, _ in self._epoll.poll(self._patience()):
                if descriptor == self._control.fileno():
                    if not self._obey():
                        return
                elif descriptor in self._connections:  # else dropped in this very round
                    self._guarded_turn(self._connections[descriptor])
            if self._dirty and time.monotonic() >= self._next_report:
                self._report_counters()
            if not self._deliver_reports():
                return

    def _patience(self) -> float | None:
        if self._reports:
            return RETRY_SECONDS
        return max(self._next_report - time.monotonic(), 0) if self._dirty else None

    # The control plane.

    def _obey(self) -> bool:
        try:
            received = control.receive(self._control)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        if received is None:
            return False
        message, descriptors, tail = received
        if message["do"] == "connect":
            self._connect(message, descriptors, tail)
        else:
            for connection in self._of_lease(message["lease"]):
                self._close(connection, "its lease has ended")
        return True

    def _connect(self, message: control.Message, descriptors: list[int], tail: bytes) -> None:
        client, *page_descriptors = descriptors
        pages = load(message["store"]).adopt(page_descriptors, message["size_bytes"])
        area = self._areas.get(message["lease"])
        if area is None:
            export = Export(message["export"], message["size_bytes"], "", message["read_only"])
            area = self._areas[message["lease"]] = Area(message["lease"], export, pages)
        else:
            pages.close()
        sock = socket.socket(fileno=client)
        sock.setblocking(False)
        connection = Connection(message["id"], sock, area, Exchange(area), tail)
        self._connections[client] = connection
        connection.waits_for = select.EPOLLOUT  # there may be requests in the tail already
        self._epoll.register(client, connection.waits_for)

    def _of_lease(self, lease: str) -> list[Connection]:
        return [each for each in self._connections.values() if each.area.lease == lease]

    def _close(self, connection: Connection, reason: str) -> None:
        area = connection.area
        del self._connections[connection.sock.fileno()]
        connection.sock.close()
        if not self._of_lease(area.lease):
            self._report_counters()
            area.pages.close()
            del self._areas[area.lease]
        self._reports.append({"event": "closed", "id": connection.number, "reason": reason})

    def _report_counters(self) -> None:
        self._dirty = False
        self._next_report = time.monotonic() + REPORT_SECONDS
        for area in self._areas.values():
            if area.counters != Counters():
                counters = asdict(area.counters)
                self._reports.append({"event": "counters", "lease": area.lease, "done": counters})
                area.counters = Counters()

    def _deliver_reports(self) -> bool:
        while self._reports:
            try:
                control.send(self._control, self._reports[0])
            except BlockingIOError:
                return True
            except OSError:
                return False
            self._reports.popleft()
        return True

    # The clients.

    def _guarded_turn(self, connection: Connection) -> None:
        exchange = connection.exchange
        try:
            reason = self._turn(connection)
            if exchange.closed and not connection.unsent:
                reason = "disconnected by the client"
        except ProtocolError as error:
            # The replies to what came before the bad bytes are owed.
            with contextlib.suppress(OSError):
                connection.send(self._buffers.output[: self._buffers.filled])
            reason = str(error)
        except OSError as error:
            reason = error.strerror or str(error)
        except Exception:
            log.exception("page worker: a connection of lease %s failed", connection.area.lease)
            reason = "internal error, see the log"
        if reason is not None:
            self._close(connection, reason)
            return
        ready = exchange.hungry and not connection.unsent
        waits_for = select.EPOLLIN if ready else select.EPOLLOUT
        if waits_for != connection.waits_for:
            self._epoll.modify(connection.sock, waits_for)
            connection.waits_for = waits_for

    def _turn(self, connection: Connection) -> str | None:
        """Reads once and answers; the reason to close the connection, or None."""
        exchange, buffers, sent = connection.exchange, self._buffers, 0
        buffers.filled = 0
        if connection.unsent and not connection.send(connection.unsent):
            return None
        if not self._fill(connection):
            return "closed by the client"
        while sent < TURN_BYTES:
            exchange.answer(buffers)
            sent += buffers.filled or TURN_BYTES  # a long erasure's piece is a turn, too
            full = buffers.filled and not connection.send(buffers.output[: buffers.filled])
            buffers.filled = 0
            if full or exchange.hungry or exchange.closed:
                break
        connection.unparsed = bytes(buffers.input[buffers.position : buffers.end])
        self._note(connection.area)
        return None

    def _fill(self, connection: Connection) -> bool:
        """Puts what is unparsed, and if that is not enough what has come, into the input."""
        buffers, kept = self._buffers, len(connection.unparsed)
        buffers.position, buffers.end = 0, kept
        buffers.input[:kept] = connection.unparsed
        if not connection.exchange.hungry:
            return True
        try:
            received = connection.sock.recv_into(buffers.input[kept:])
        except BlockingIOError:
            return True
        buffers.end += received
        return received > 0

    def _note(self, area: Area) -> None:
        if not self._dirty:
            self._dirty = True
            self._next_report = max(self._next_report, time.monotonic())
        if area.counters.writes and not area.written:
            area.written = True
            self._reports.append({"event": "first-write", "lease": area.lease})


def main(descriptor: int) -> None:
    """Runs a worker on the control socket ``descriptor``."""
    # Ctrl-C reaches the whole process group; the control plane tells us when it is time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Worker(socket.socket(fileno=descriptor)).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
