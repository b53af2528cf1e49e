"""A worker process: make the transfers that the server hands over, many at once.

When the server is gone, the worker finishes its transfers and exits.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

from netboot.host import privileges
from netboot.host.descriptors import raise_limit
from netboot.host.scheduling import give_way
from netboot.serve.tftp import handover
from netboot.serve.tftp.handover import Ended, Job
from netboot.serve.tftp.transfer import Outcome, Sender, agree

TICK_SECONDS = 0.02
RECEIVE_BYTES = 128  # an ACK has 4, an ERROR some text
MAX_EVENTS = 64
# A busy control plane hands a repeated request over after its client has had the answer to the first
# one: busybox repeats after 50 ms, and PCs of a large room after seconds. A PC that is switched off
# acknowledges nothing, and needs longer than this until its firmware asks again.
LATE_SECONDS = 2.0

SOL_UDP, UDP_SEGMENT = 17, 103  # <linux/udp.h>
MAX_SEGMENTS = 64  # UDP_MAX_SEGMENTS of older kernels
MAX_DATAGRAM_BYTES = 65_507
# The network card cannot add checksums (EIO), or the route has a smaller MTU than ``Job.mtu``.
NO_SEGMENTATION = {errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP}
# Nothing to receive, or the send queue is full: as if the network had lost the datagram.
LOST = {errno.EAGAIN, errno.ENOBUFS}


class Session:
    """A transfer with its socket and its file, both of which it owns."""

    def __init__(
        self, job: Job, sock: socket.socket, file: int, on_heard: Callable[["Session"], None]
    ) -> None:
        self.number = job.number
        self.before: Session | None = None  # ends when the client acknowledges this one
        self._on_heard = on_heard
        self.request = (job.filename, job.options, job.mtu)
        self.told_stuck = False
        self.sock = sock
        self.peer = (sock.getsockname()[0], sock.getpeername())
        self._file = file
        size = os.fstat(file).st_size
        self._end = job.end.encode()
        self._own = size - len(self._end)  # bytes of the file before ``_end``
        terms = agree(job.options, size, job.mtu)
        self.asked = job.asked
        self.sender = Sender(self._read, size, terms, job.asked)
        # The boot of a room makes these three calls a million times.
        self._recv, self._send, self._receive = sock.recv, sock.send, self._receive_first
        segment_bytes = terms.blksize + 4
        self._ancillary = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", segment_bytes))]
        self._burst = min(MAX_SEGMENTS, MAX_DATAGRAM_BYTES // segment_bytes)

    def _read(self, offset: int, length: int) -> bytes:
        try:
            content = os.pread(self._file, length, offset)
        except OSError:
            return b""
        if offset + len(content) <= self._own:
            return content
        end = self._end[max(offset - self._own, 0) : offset + len(content) - self._own]
        return content[: max(self._own - offset, 0)] + end

    def _receive_first(self, datagram: bytes, now: float) -> list[bytes]:
        """Take a datagram of an unproven client, and report the first acknowledgement."""
        datagrams = self.sender.receive(datagram, now)
        if self.sender.heard:
            self._receive = self.sender.receive
            self._on_heard(self)
        return datagrams

    def may_repeat(self, now: float) -> bool:
        """Return True if the same request now means this transfer, and not a PC that starts again."""
        return not self.sender.heard or now - self.sender.progress_at < LATE_SECONDS

    def turn(self, now: float) -> None:
        """Receive a datagram of the client, if there is one, and send the answer."""
        try:
            datagrams = self._receive(self._recv(RECEIVE_BYTES), now)
        except OSError as error:
            self._failed(error)
        else:
            self.send(datagrams)

    def send(self, datagrams: list[bytes]) -> None:
        """Send datagrams, a window in one call if the kernel can split it (UDP_SEGMENT)."""
        try:
            if len(datagrams) == 1:
                self._send(datagrams[0])
            elif datagrams:
                self._send_window(datagrams)
        except OSError as error:
            self._failed(error)

    def _send_window(self, datagrams: list[bytes]) -> None:
        if self._burst > 1:
            try:
                for at in range(0, len(datagrams), self._burst):
                    self.sock.sendmsg(datagrams[at : at + self._burst], self._ancillary)
                return
            except OSError as error:
                if error.errno not in NO_SEGMENTATION:
                    raise
                self._burst = 1
        for datagram in datagrams:
            self._send(datagram)

    def _failed(self, error: OSError) -> None:
        if error.errno not in LOST:  # ECONNREFUSED: the client's port is closed
            self.sender.give_up(os.strerror(error.errno or 0))

    def close(self) -> None:
        """Close the socket and the file."""
        self.sock.close()
        os.close(self._file)


class Worker:
    """Makes transfers until the server behind ``control`` is gone and every transfer has ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control: socket.socket | None = control
        self._sessions: dict[int, Session] = {}  # by the descriptor of the socket
        self._by_peer: dict[object, Session] = {}
        self._epoll = select.epoll()
        self._epoll.register(control, select.EPOLLIN)
        self._next_tick = 0.0

    def run(self) -> None:
        """Make transfers. Return when the server is gone and every transfer has ended."""
        sessions, poll, clock = self._sessions, self._epoll.poll, time.monotonic
        while sessions or self._control is not None:
            events = poll(TICK_SECONDS if sessions else None, MAX_EVENTS)
            now = clock()
            for descriptor, _ in events:
                session = sessions.get(descriptor)
                if session is None:
                    if self._control is not None and descriptor == self._control.fileno():
                        self._work(self._control, now)
                    continue  # also for a session that has ended in this very turn
                session.turn(now)
                if session.sender.outcome is not None:
                    self._end(session)
            if now >= self._next_tick:
                self._next_tick = now + TICK_SECONDS
                self._tick(now)

    def _work(self, control: socket.socket, now: float) -> None:
        """Take one transfer over, or end one for which the server needs the place."""
        work = handover.receive_work(control)
        if work is None:
            self._epoll.unregister(control)
            control.close()
            self._control = None
        elif isinstance(work, int):
            self._drop(work)
        else:
            self._begin(Session(*work, self._heard), now)

    def _drop(self, number: int) -> None:
        """End a transfer, unless its client has acknowledged it in the meantime."""
        for session in self._sessions.values():
            if session.number == number and not session.sender.heard:
                session.sender.give_up("never acknowledged, and all places are taken")
                self._end(session)
                return

    def _heard(self, session: Session) -> None:
        before = session.before
        if before is not None and before.sender.outcome is None:
            before.sender.give_up("the client sent a new request")
            self._end(before)
        with contextlib.suppress(OSError):  # the server is gone, or its queue is full
            if self._control is not None:
                handover.send_heard(self._control, session.number)

    def _begin(self, session: Session, now: float) -> None:
        """Begin one transfer. A client that missed our first packet repeats its request."""
        session.sock.setblocking(False)
        other = self._by_peer.get(session.peer)
        if other is not None and other.request == session.request and other.may_repeat(now):
            other.sender.ask_again(session.asked, now)
            self._report(session, Outcome.PROBE, "a repeated request")
            session.close()
            return
        if other is not None and other.request == session.request:
            session.before = other  # a copy that was very late must not end it
        elif other is not None:
            other.sender.give_up("the client sent a new request")
            self._end(other)
        self._sessions[session.sock.fileno()] = self._by_peer[session.peer] = session
        self._epoll.register(session.sock, select.EPOLLIN)
        session.send(session.sender.start(now))
        if session.sender.outcome is not None:
            self._end(session)

    def _tick(self, now: float) -> None:
        for session in list(self._sessions.values()):
            if now >= session.sender.deadline:
                datagrams = session.sender.tick(now)
                if datagrams:
                    session.send(datagrams)
                if session.sender.outcome is not None:
                    self._end(session)
                elif session.sender.stuck and not session.told_stuck:
                    session.told_stuck = True
                    self._tell_stuck(session.number)

    def _tell_stuck(self, number: int) -> None:
        with contextlib.suppress(OSError):  # the server is gone, or its queue is full
            if self._control is not None:
                handover.send_stuck(self._control, number)

    def _end(self, session: Session) -> None:
        outcome = session.sender.outcome
        assert outcome is not None
        del self._sessions[session.sock.fileno()]
        if self._by_peer.get(session.peer) is session:
            before = session.before
            if before is not None and before.sender.outcome is None:
                self._by_peer[session.peer] = before
            else:
                del self._by_peer[session.peer]
        self._report(session, outcome, session.sender.reason)
        session.close()

    def _report(self, session: Session, outcome: Outcome, reason: str) -> None:
        ended = Ended(session.number, outcome, session.sender.acknowledged_bytes, reason)
        with contextlib.suppress(OSError):  # the server is gone, or its queue is full
            if self._control is not None:
                handover.send_ended(self._control, ended)


def main(descriptor: int) -> None:
    """Run a worker on the control socket ``descriptor``."""
    # Ctrl-C and a hang-up reach the whole process group; the server stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_limit()
    give_way()  # clients on the same CPU send their ACKs first (docs/measurements/boot.md)
    privileges.drop_all()  # it parses the bytes of strangers, and gets all it needs as descriptors
    Worker(socket.socket(fileno=descriptor)).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
