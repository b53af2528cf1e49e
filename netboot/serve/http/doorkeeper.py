"""The doorkeeper: accepts HTTP connections, and bounds how many of them one sender can hold.

asyncio's own listener tries again at once if accept(2) fails. With all descriptors in use it wrote
1.1 million log lines in 45 s and used a whole CPU.
"""

import asyncio
import contextlib
import errno
import logging
import resource
import socket
import traceback
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import InvalidURLError
from aiohttp.web import RequestPayloadError

from netboot.boot.limits import HTTP_CONNECTIONS, HTTP_DOWNLOADS, Limit
from netboot.errors import OperatorError
from netboot.host.complaints import Complaints
from netboot.host.listeners import Address, Listeners
from netboot.host.text import cause

log = logging.getLogger(__name__)

BACKLOG = 512  # a room that is switched on at the same instant; the kernel's limit may be lower
ACCEPTED_AT_ONCE = 8  # between two visits to the event loop
SHORT_BYTES = 1024  # of a request that is answered at once
REST_SECONDS = 1.0  # after an accept(2) that failed for want of descriptors or memory
SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# A download has its connection and its file twice, for the threads that send (sending.py).
DESCRIPTORS_EACH = 4
# For page connections, TFTP, workers, files. Places of one kind do not use up those of another.
KEPT_BACK = 256
MAX_CAUSE_CHARACTERS = 80


class Visit(asyncio.Protocol):
    """One connection: passes all events on to aiohttp's protocol ``inner``."""

    def __init__(self, door: "Doorkeeper", holder: str, inner: asyncio.Protocol) -> None:
        self.holder = holder
        self.asked = False  # True after the first complete head of a request
        self.inner = inner
        self._door = door
        self._over = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.inner.connection_made(transport)
        if self._over:
            self.hang_up()

    def data_received(self, data: bytes) -> None:
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.left(self)
        self.inner.connection_lost(exc)

    def hang_up(self) -> None:
        """End the connection now, also for the threads that send on it."""
        self._over = True
        self._door.left(self)
        if self._transport is not None:
            with contextlib.suppress(OSError):  # the connection has ended already
                self._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            self._transport.abort()


class Doorkeeper:
    """Accepts connections and hands each to a protocol that ``serve`` makes.

    ``connections`` limits their number; ``holder`` returns the machine that an address counts for.
    A connection whose peer takes no data for ``stalled_seconds`` is ended by the kernel.
    ``shortcut`` may answer the first bytes of a connection, if they are as early as the connection
    itself. It gets their sender's address, too. Such a connection takes no place. ``segment`` is the
    most bytes of a TCP segment; 0 leaves them to the kernel.
    """

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol],
        *,
        connections: Limit = HTTP_CONNECTIONS,
        stalled_seconds: float = HTTP_DOWNLOADS.seconds or 0.0,
        holder: Callable[[str], str] = str,
        shortcut: Callable[[bytes, str], bytes | None] = lambda data, address: None,
        segment: int = 0,
    ) -> None:
        self._serve = serve
        self._shortcut = shortcut
        self._holder = holder
        self._limit = connections
        self._in_total = connections.in_total or 0
        self._stalled_milliseconds = int(stalled_seconds * 1000)
        self._segment = segment
        self._listeners = Listeners(
            self._listen, begin=self._begin, end=self._end, failure=_failure
        )
        self._visits: dict[str, dict[asyncio.Protocol, Visit]] = {}  # by holder, oldest first
        self._visit_of: dict[asyncio.Protocol, Visit] = {}
        self._opening: set[asyncio.Task[object]] = set()
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._complaints = Complaints(log)

    @property
    def port(self) -> int:
        """The port in use."""
        return self._listeners.in_use[0][1]

    def follow(self, addresses: Sequence[IPv4Address], port: int) -> None:
        """Accept connections to ``addresses`` and to no other one. Those that there are go on.

        Raises OperatorError for the first address that is not available, after the others.
        """
        self._in_total = min(self._in_total, _affordable())
        self._listeners.follow([(str(address), port) for address in addresses])

    def _listen(self, address: Address) -> socket.socket:
        listener = socket.create_server(address, backlog=BACKLOG)
        listener.setblocking(False)
        if self._segment:  # connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, self._segment)
        return listener

    def _begin(self, _: Address, listener: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _end(self, _: Address, listener: socket.socket) -> None:
        rest = self._resting.pop(listener, None)
        if rest is not None:
            rest.cancel()
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()

    def close(self) -> None:
        """Accept no more connections. Those that there are go on."""
        self._listeners.close()
        for task in self._opening:
            task.cancel()

    def asked(self, inner: asyncio.Protocol) -> None:
        """Note that the connection of ``inner`` has sent a whole head of a request."""
        visit = self._visit_of.get(inner)
        if visit is not None:
            visit.asked = True

    def left(self, visit: Visit) -> None:
        """Note that a connection has ended."""
        of_holder = self._visits.get(visit.holder, {})
        if of_holder.pop(visit.inner, None) is not None:
            del self._visit_of[visit.inner]
            if not of_holder:
                del self._visits[visit.holder]

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, (address, _) = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in SHORT:
                    self._rest(listener, error)
                    return
                continue  # an error of that connection, which accept(2) hands on
            if self._is_answered(connection, address):
                connection.close()
                continue
            holder = self._holder(address)
            if self._admits(holder):
                self._open(connection, holder)
            else:
                connection.close()

    def _is_answered(self, connection: socket.socket, address: str) -> bool:
        """Return whether the first bytes are here already, and are answered. Never waits."""
        try:
            data = connection.recv(SHORT_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            answer = self._shortcut(data, address) if data else None
            if answer is None:
                return False
            connection.recv(len(data), socket.MSG_DONTWAIT)  # close(2) would reset it otherwise
            connection.send(answer, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:  # the PC hung up
            pass
        return True

    def _rest(self, listener: socket.socket, error: OSError) -> None:
        """Leave new connections in the kernel's queue for a moment."""
        self._complaints.warn(
            "accept",
            "HTTP: no connection is accepted for %g s: %s; raise the limit of open files",
            REST_SECONDS,
            error.strerror,
        )
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)

        def resume() -> None:
            del self._resting[listener]
            loop.add_reader(listener, self._accept, listener)

        self._resting[listener] = loop.call_later(REST_SECONDS, resume)

    def _admits(self, holder: str) -> bool:
        """Return whether a connection from ``holder`` finds a place, which may be made for it."""
        own = len(self._visits.get(holder, ()))
        most = self._limit.per_address
        if most is not None and own >= most:
            self._complaints.warn(
                holder, "HTTP: %s has %d connections; further ones are hung up on", holder, own
            )
            return False
        if len(self._visit_of) < self._in_total:
            return True
        busiest = max(self._visits, key=lambda each: len(self._visits[each]), default=holder)
        held = list(self._visits.get(busiest, {}).values())
        self._complaints.warn(
            busiest,
            "HTTP: all %d places are taken, %d by %s",
            len(self._visit_of),
            len(held),
            busiest,
        )
        if len(held) <= own + 1:
            return False
        next((each for each in held if not each.asked), held[0]).hang_up()
        return True

    def _open(self, connection: socket.socket, holder: str) -> None:
        connection.setblocking(False)
        # Data that the peer does not acknowledge, or has no window for, ends it (tcp(7)).
        connection.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._stalled_milliseconds
        )
        visit = Visit(self, holder, self._serve())
        self._visits.setdefault(holder, {})[visit.inner] = visit
        self._visit_of[visit.inner] = visit
        loop = asyncio.get_running_loop()
        task: asyncio.Task[object] = loop.create_task(
            loop.connect_accepted_socket(lambda: visit, connection)
        )
        self._opening.add(task)

        def opened(ended: asyncio.Task[object]) -> None:
            self._opening.discard(ended)
            if ended.cancelled() or ended.exception() is not None:
                self.left(visit)
                connection.close()

        task.add_done_callback(opened)


def _failure(address: Address, error: OSError) -> OperatorError:
    host, port = address
    return OperatorError(
        f"cannot serve HTTP on {host} port {port}: {cause(error)}",
        hint="set another port in the profile: http: {port: 8090}",
    )


def _affordable() -> int:
    """Return the number of connections for which this process has descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return HTTP_CONNECTIONS.in_total or 0
    return max((soft - KEPT_BACK) // DESCRIPTORS_EACH, 1)


class Objections(logging.Filter):
    """Makes at most one line a minute for each sender of what aiohttp says about its requests.

    aiohttp logs a stack trace for each malformed request, with words of the request, which can be a
    session. ``holder`` returns the machine that an address counts for.
    """

    def __init__(self, holder: Callable[[str], str] = str) -> None:
        super().__init__()
        self._holder = holder
        self._complaints = Complaints(log)

    def filter(self, record: logging.LogRecord) -> bool:
        """Log the record in our words, or only count it. Return False: it is dealt with."""
        sender = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | RequestPayloadError):
            machine = self._holder(sender) if sender else "a stranger"
            where = f"{machine} at {sender}" if machine != sender and sender else machine
            self._complaints.warn(
                machine, "HTTP: malformed request of %s: %s", where, _cause(error)
            )
        elif not isinstance(error, ConnectionError):  # the PC hung up
            text = "".join(traceback.format_exception(error)) if error else ""
            self._complaints.warn(sender, "%s\n%s", record.getMessage(), text, level=record.levelno)
        return False


def _cause(error: Exception) -> str:
    """Return aiohttp's words about a request, without those of the request itself."""
    if isinstance(error, InvalidURLError):
        return "invalid URL"
    text = error.message if isinstance(error, HttpProcessingError) else str(error)
    # A payload's error is "400, message:" and the words in the next line.
    first = text.removeprefix("400, message:").strip().partition("\n")[0].partition(":")[0]
    return "".join(each if each.isprintable() else "?" for each in first[:MAX_CAUSE_CHARACTERS])


def quiet_logger(holder: Callable[[str], str] = str) -> logging.Logger:
    """Return the logger for aiohttp's server, whose lines strangers cause.

    ``holder`` returns the machine that an address counts for.
    """
    logger = logging.getLogger("netboot.serve.http.aiohttp")
    logger.filters[:] = [Objections(holder)]
    return logger
