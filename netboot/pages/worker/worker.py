"""A page worker: the data plane process. ``python -m netboot.pages.worker CONTROL [MEETING]``.

CONTROL is the descriptor of the worker's end of the control socket (control.py). MEETING is the
descriptor of a listening socket, at which the next control plane can find the worker. One epoll
loop serves all connections. If the control plane is gone, a worker with a MEETING continues as long
as it has clients.
"""

import contextlib
import errno
import logging
import os
import select
import signal
import socket
import time
import traceback
from dataclasses import asdict

from netboot.errors import ProtocolError
from netboot.host import privileges, sigbus
from netboot.host.complaints import Complaints
from netboot.host.scheduling import give_way
from netboot.pages import control, liveness
from netboot.pages.nbd.backing import Damaged, Fenced
from netboot.pages.nbd.dialect import Dialect, Headers
from netboot.pages.stores.store import load_all
from netboot.pages.worker.areas import Areas, closed_on_error, find_damage, why
from netboot.pages.worker.buffers import MOST_POWER
from netboot.pages.worker.connection import TURN_BYTES, Connection
from netboot.pages.worker.delays import Delays
from netboot.pages.worker.desk import LOOK_SECONDS, Desk
from netboot.pages.worker.exchange import Area, Buffers, Counters, Exchange
from netboot.pages.worker.governor import QUANTUM_BYTES, Governor
from netboot.pages.worker.link import Link
from netboot.pages.worker.stalls import Stalls
from netboot.pages.worker.tasks import Owner, Task

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
RETRY_SECONDS = 0.05  # if the control plane is slow to read reports, or a store has no room
# Less than half of the 3 s after which our agent considers a connection dead (swap.timeout).
WARN_SECONDS = 1.0
WARN_AGAIN_SECONDS = 10.0
SAMPLED = 64  # of so many turns one is timed


class Worker:
    """The epoll loop over the control socket and the clients."""

    def __init__(self, control_socket: socket.socket, meeting: socket.socket | None) -> None:
        self._epoll = select.epoll()
        self._link = Link(self._epoll, control_socket, meeting, self._drift)
        self._link.report({"event": "ready", "ping": True})
        self._connections: dict[int, Connection] = {}
        self._desk = Desk()
        self._epoll.register(self._desk.descriptor, select.EPOLLIN)
        self._areas = Areas(self._desk)
        self._owners: dict[Owner, Connection] = {}
        self._governor = Governor()
        self._buffers = Buffers()
        self._turns = 0
        self._timed = [0] * (MOST_POWER + 1)  # turns by the power of two of their microseconds
        self._next_report = 0.0
        self._dirty = False
        self._waiting: dict[int, Connection] = {}  # some of their requests wait for room
        self._resting: dict[int, Connection] = {}  # their seats are at their ceilings
        self._arrived: dict[int, Connection] = {}  # tasks of theirs are done
        self._next_retry = 0.0
        self._delays = Delays()
        self._warned: dict[str, float] = {}
        self._stalls = Stalls()
        self._shared = False
        self._leaving = False
        self._ended = False
        self._complaints = Complaints(log)

    def run(self) -> None:
        """Serve until the control plane orders a stop, or is gone and no client is left."""
        while not self._ended:
            waiting, goes_on = [], True
            for descriptor, _ in self._epoll.poll(self._patience()):
                connection = self._connections.get(descriptor)
                if connection is not None:
                    waiting.append(connection)
                elif self._link.owns(descriptor):
                    goes_on = self._obey()
            if not goes_on:
                break
            if self._desk.woken or self._desk.reads:
                self._collect()
            if self._arrived:
                waiting += [each for each in self._arrived.values() if each not in waiting]
            # An order may have fenced a connection that was ready in the same poll.
            waiting = [each for each in waiting if each.may_go]
            if self._shared:
                self._share(waiting)
            else:
                alone = len(waiting) == 1
                for connection in waiting:
                    if alone or not connection.closed:
                        self._turn(connection, TURN_BYTES, alone=alone)
            if self._resting:
                self._wake()
            if self._waiting and time.monotonic() >= self._next_retry:
                self._retry()
            if self._waiting or self._resting or self._delays.held:
                self._follow_delays(time.monotonic())
            if self._leaving:
                self._leave()
            if self._dirty and time.monotonic() >= self._next_report:
                self._report_counters()
            self._link.deliver()
            if self._link.adrift and not (self._link.can_be_met and self._connections):
                self._ended = True
        self._shut_down()

    def _shut_down(self) -> None:
        for connection in list(self._connections.values()):
            self._close(connection, "the server is stopped")
        for lease in list(self._areas):
            self._forget(lease)
        while self._areas.ending:  # nobody may use the pages before that
            self._collect()
            time.sleep(LOOK_SECONDS)
        self._desk.close()
        self._link.close()
        self._epoll.close()

    def _patience(self) -> float | None:
        if self._link.busy or self._waiting:
            return RETRY_SECONDS
        if self._arrived and any(
            descriptor not in self._resting and not connection.area.is_fenced
            for descriptor, connection in self._arrived.items()
        ):
            return 0
        now = time.monotonic()
        patience = max(self._next_report - now, 0) if self._dirty else None
        if self._desk.reads and self._desk.looks_again:
            patience = LOOK_SECONDS if patience is None else min(patience, LOOK_SECONDS)
        for connection in self._resting.values():
            rest = self._governor.rest(connection.area.seat, now)
            patience = rest if patience is None else min(patience, rest)
        return patience

    def _collect(self) -> None:
        """Take the tasks that are done. Their connections have a turn, or a fenced area goes on."""
        for order in self._desk.take():
            assert isinstance(order, Task) and order.tasks is not None, "all orders are tasks"
            order.tasks.settle(order)
            if order.owner is not None:
                connection = self._owners[order.owner]
                self._arrived[connection.sock.fileno()] = connection
            elif order.changes and not order.tasks.late:
                for connection in self._connections.values():
                    if connection.area.tasks is order.tasks:
                        self._await(connection)

    def _share(self, waiting: list[Connection]) -> None:
        """Give turns to several seats, or to one with a ceiling, as the governor decides.

        Connections without a turn stay ready and are seen again by the next poll.
        """
        by_seat: dict[str, Connection] = {}
        now = time.monotonic()
        for connection in waiting:
            seat = connection.area.seat
            if self._governor.rest(seat, now):
                self._register(connection, 0)  # otherwise the next poll would return at once
                self._resting[connection.sock.fileno()] = connection
            elif seat not in by_seat or connection.last_turn < by_seat[seat].last_turn:
                by_seat[seat] = connection
        turns = self._governor.turns(by_seat, now)
        self._delays.follow("share", by_seat.keys() - turns, now)
        for seat in turns:
            self._governed_turn(by_seat[seat], now)

    def _governed_turn(self, connection: Connection, now: float) -> None:
        sent, received, cost = connection.sent, connection.received, connection.cost
        self._turn(connection, QUANTUM_BYTES)
        written = connection.received - received + connection.cost - cost
        moved = (connection.sent - sent, written)
        self._governor.charge(connection.area.seat, *moved, now)

    def _wake(self) -> None:
        """Poll the seats again that are below their ceilings now."""
        now = time.monotonic()
        for descriptor, connection in list(self._resting.items()):
            if not self._governor.rest(connection.area.seat, now):
                del self._resting[descriptor]
                self._await(connection)

    def _follow_delays(self, now: float) -> None:
        """Note which seats wait for room in a store, and which are at their ceilings."""
        self._delays.follow("store", {each.area.seat for each in self._waiting.values()}, now)
        self._delays.follow("rate", {each.area.seat for each in self._resting.values()}, now)
        if not self._shared:
            self._delays.follow("share", (), now)

    def _regroup(self) -> None:
        """Decide whether the governor gives the turns. A single seat costs less without it."""
        limited = any(each.message["ceiling"] for each in self._connections.values())
        self._shared = len({each.area.seat for each in self._connections.values()}) > 1 or limited

    # The control plane.

    def _obey(self) -> bool:
        """Carry out all orders that there are; return False if the worker has to end.

        Without a control plane that can find it later, it must not serve requests that waited while
        it stood still: its successor has stored newer pages.
        """
        while received := self._link.order():
            message, descriptors = received
            try:
                self._do(message, descriptors)
            except Exception as error:  # noqa: BLE001 - one client's fault, and the worker has many
                self._complain(f"order {message.get('do')}", error)
        return not self._ended and (self._link.can_be_met or not self._link.adrift)

    def _do(self, message: control.Message, descriptors: list[int]) -> None:
        match message["do"]:
            case "connect":
                self._welcome(message, descriptors)
            case "fence":
                for connection in self._of_lease(message["lease"]):
                    if connection.message["set"] < message["set"]:
                        self._close(connection, "replaced by newer connections of its seat")
            case "drop":
                for connection in self._of_lease(message["lease"]):
                    self._close(connection, "its lease has ended")
                self._forget(message["lease"])
            case "close":
                for connection in list(self._connections.values()):
                    if connection.message["id"] == message["id"]:
                        self._close(connection, "its PC has the most connections, and makes room")
            case "probe":
                for connection in self._of_lease(message["lease"]):
                    self._probe(connection, message["keepalive"])
            case "ping":
                self._link.report({"event": "pong"})
                self._look_for_stalls()
            case "leave":
                self._leaving = True
            case _:
                self._ended = True

    def _probe(self, connection: Connection, keepalive: list[int]) -> None:
        """Probe a client and report when it was last heard. Close a connection that has ended.

        epoll would not tell the end of a connection that waits for room and is not read from.
        """
        try:
            liveness.ask_after(connection.sock, keepalive)
            heard = liveness.last_heard(connection.sock)
        except OSError:
            heard = None
        if heard is None:
            self._close(connection, "closed by the client")
        else:
            self._link.report({"event": "heard", "id": connection.message["id"], "at": heard})

    def _drift(self) -> None:
        """Continue without a control plane until another one connects or no client is left."""
        self._leaving = False
        for lease in self._areas.keys() - self._leases():
            self._forget(lease)  # its seat will attach it at the next server
        for connection in self._connections.values():
            self._await(connection)  # some were held back for a move

    def _welcome(self, message: control.Message, descriptors: list[int]) -> None:
        """Take over a client. If its pages cannot be served, end that client and no other."""
        try:
            with closed_on_error(descriptors):
                self._connect(message, descriptors)
        except Exception as error:  # noqa: BLE001 - likewise
            lease, reason = message["lease"], why(error)
            if isinstance(error, Damaged):
                self._link.report({"event": "damaged", "lease": lease, "reason": reason})
            else:
                self._complain(f"lease {lease}", error)
            self._link.report({"event": "closed", "id": message["id"], "reason": reason})

    def _connect(self, message: control.Message, descriptors: list[int]) -> None:
        if not descriptors:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        client, carried, *page_descriptors = descriptors
        area = self._areas.adopt(message, page_descriptors)
        unsent, unparsed = control.carried(carried)
        sock = socket.socket(fileno=client)
        sock.setblocking(False)
        dialect = Dialect(Headers(message["headers"]), message["allocation"])
        exchange = Exchange(area, dialect)
        connection = Connection(sock, area, exchange, message, unparsed, unsent)
        self._connections[client] = self._owners[exchange] = connection
        self._governor.limit(connection.area.seat, message["ceiling"])
        self._regroup()
        # The carried bytes may contain requests. An area with changes of an older set under way waits.
        self._await(connection)

    def _leases(self) -> set[str]:
        """Return the leases with connections. The others' pages stay mapped until a drop."""
        return {each.area.lease for each in self._connections.values()}

    def _of_lease(self, lease: str) -> list[Connection]:
        return [each for each in self._connections.values() if each.area.lease == lease]

    def _leave(self) -> None:
        """Give back each lease whose connections are all between two requests."""
        for lease, area in list(self._areas.items()):
            connections = self._of_lease(lease)
            for connection in connections:
                if connection.exchange.between:
                    late = connection.unsent and not connection.exchange.idle
                    self._register(connection, select.EPOLLOUT if late else 0)
            if not all(connection.exchange.idle for connection in connections):
                continue
            if area.tasks is not None and area.tasks.under_way:
                continue
            self._report_counters()
            self._link.deliver()
            if not self._leaving:
                return  # the link broke
            # A client may read an older image than the one that is at the path now.
            image = area.pages.descriptors() if area.export.read_only else ()
            kept = [os.dup(descriptor) for descriptor in image]
            self._forget(lease)  # before another process changes the pages
            for connection in connections:
                self._move(connection, kept)
            for descriptor in kept:
                os.close(descriptor)
        if not self._areas and not self._areas.ending and not self._link.busy:
            self._ended = True

    def _move(self, connection: Connection, image: list[int]) -> None:
        message = {**connection.message, "event": "moved", "written": connection.area.written}
        carried = control.carry(connection.unsent, connection.unparsed)
        descriptors = [connection.sock.fileno(), carried, *image]
        self._let_go(connection)
        self._link.give(message, descriptors)
        os.close(carried)
        connection.sock.close()

    def _let_go(self, connection: Connection) -> None:
        descriptor = connection.sock.fileno()
        for group in (self._waiting, self._resting, self._arrived):
            group.pop(descriptor, None)
        del self._connections[descriptor]
        del self._owners[connection.exchange]

    def _close(self, connection: Connection, reason: str) -> None:
        if connection.closed:
            return
        self._register(connection, 0)
        self._let_go(connection)
        connection.sock.close()
        connection.exchange.abandon()
        if self._delays.held:  # the next poll may come late
            self._delays.end(connection.area.seat, time.monotonic())
        self._regroup()
        if not self._of_lease(connection.area.lease):
            self._report_counters()
        number = connection.message["id"]
        self._link.report({"event": "closed", "id": number, "reason": reason})

    def _forget(self, lease: str) -> None:
        for connection in self._of_lease(lease):
            connection.exchange.abandon()
        area = self._areas.forget(lease)
        if area is not None and all(other.seat != area.seat for other in self._areas.values()):
            self._governor.forget(area.seat)
        self._warned.pop(lease, None)

    def _report_counters(self) -> None:
        self._dirty = False
        self._next_report = time.monotonic() + REPORT_SECONDS
        # A control plane of an earlier release passes over a lease without a name.
        if any(self._timed):
            self._link.report({"event": "timed", "lease": "", "turns": self._timed})
            self._timed = [0] * len(self._timed)
        if waited := self._delays.take(time.monotonic()):
            self._link.report({"event": "waited", "lease": "", "seconds": waited})
        for area in list(self._areas.values()):
            if area.counters != Counters() and self._is_whole(area):
                counters = asdict(area.counters)
                self._link.report({"event": "counters", "lease": area.lease, "done": counters})
                area.counters = Counters()

    # The clients.

    def _turn(self, connection: Connection, limit: int, *, alone: bool = False) -> None:
        self._turns += 1
        connection.last_turn = self._turns
        if self._arrived:
            self._arrived.pop(connection.sock.fileno(), None)
        begin = 0.0 if self._turns % SAMPLED else time.monotonic()
        reason = None
        try:
            if self._leaving and connection.exchange.between:
                connection.finish(self._buffers)
            else:
                reason = connection.serve(self._buffers, limit, alone=alone)
        except (ProtocolError, OSError) as error:
            reason = why(error)
        except Damaged as error:
            reason = connection.area.damage = str(error)
        except Fenced as error:
            self._yield(connection.area, str(error))
            return
        except Exception as error:  # noqa: BLE001 - likewise
            self._complain(f"lease {connection.area.lease}", error)
            reason = "internal error; see the server's log"
        if begin:
            power = int((time.monotonic() - begin) * 1e6).bit_length()
            self._timed[min(power, MOST_POWER)] += 1
        if reason is not None:
            if self._is_whole(connection.area):  # an access to a mapping beyond the file is EFAULT
                self._close(connection, reason)
            return
        self._await(connection)
        if not self._dirty or not connection.area.written:
            self._note(connection.area)

    def _yield(self, area: Area, reason: str) -> None:
        """End what a worker of another server has taken over. A PC may attach again."""
        for connection in self._of_lease(area.lease):
            self._close(connection, reason)
        self._forget(area.lease)

    def _complain(self, what: str, error: Exception) -> None:
        """Log what went wrong for one lease. The agent of its PC tries again, many times."""
        if isinstance(error, OSError):
            self._complaints.warn(what, "pages: %s cannot be served: %s", what, why(error))
            return
        trace = "".join(traceback.format_exception(error))
        self._complaints.warn(what, "pages: %s failed\n%s", what, trace, level=logging.ERROR)

    def _is_whole(self, area: Area) -> bool:
        """Return whether the page file is as it was made. If it is not, end the lease."""
        if not find_damage(area):
            return True
        if self._areas.get(area.lease) is area:
            report = {"event": "damaged", "lease": area.lease, "reason": area.damage}
            self._link.report(report)
            for connection in self._of_lease(area.lease):
                self._close(connection, area.damage)
            self._forget(area.lease)
        return False

    def mapping_failed(self, path: str, inode: int) -> bool:
        """Note that an access to the mapped file of an area fails (host/sigbus.py).

        No byte of the mapping may reach a client from now on. So the sockets are shut down: the turn
        in which this happens ends with an error when it sends.
        """
        areas = self._areas.of_file(path, inode)
        for area in areas:
            area.damage = f"its page file was truncated: {path}"
            for connection in self._of_lease(area.lease):
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
        return bool(areas)

    def _await(self, connection: Connection) -> None:
        exchange = connection.exchange
        if connection.area.tasks is not None:
            if exchange.ready and not connection.unsent:
                self._arrived[connection.sock.fileno()] = connection
            if connection.area.is_fenced:
                self._register(connection, 0)
                return
        if exchange.waiting:
            self._waiting[connection.sock.fileno()] = connection
            if connection.waits_since is None or connection.oldest is not exchange.oldest:
                connection.waits_since, connection.oldest = time.monotonic(), exchange.oldest
        else:
            connection.waits_since = connection.oldest = None
        if exchange.blocked and not connection.unsent:
            self._register(connection, 0)
            return
        ready = exchange.hungry and not connection.unsent
        self._register(connection, select.EPOLLIN if ready else select.EPOLLOUT)

    def _register(self, connection: Connection, waits_for: int) -> None:
        if waits_for == connection.waits_for:
            return
        if not waits_for:  # not even for its end, which could not be handled now
            self._epoll.unregister(connection.sock)
        elif connection.waits_for:
            self._epoll.modify(connection.sock, waits_for)
        else:
            self._epoll.register(connection.sock, waits_for)
        connection.waits_for = waits_for

    def _retry(self) -> None:
        """Retry the requests that had no room in a store, and report those that wait for long."""
        waiting, self._waiting = self._waiting, {}
        now = time.monotonic()
        for descriptor, connection in waiting.items():
            if descriptor in self._resting or connection.area.is_fenced:
                self._waiting[descriptor] = connection
            elif connection.exchange.waiting and not connection.closed:
                self._governed_turn(connection, now)
        self._next_retry = now + RETRY_SECONDS
        for connection in self._waiting.values():
            lease, since = connection.area.lease, connection.waits_since
            seconds = now - (since if since is not None else now)
            if (
                seconds >= WARN_SECONDS
                and now - self._warned.get(lease, -WARN_AGAIN_SECONDS) >= WARN_AGAIN_SECONDS
            ):
                self._warned[lease] = now
                self._link.report({"event": "delayed", "lease": lease, "seconds": seconds})

    def _look_for_stalls(self) -> None:
        """Report the page files that do not answer. Each ping of the control plane is time for it."""
        oldest = {
            lease: area.tasks.oldest
            for lease, area in self._areas.items()
            if area.tasks is not None
        }
        for stall in self._stalls.look(oldest, time.monotonic()):
            event = "answers" if stall.over else "stalled"
            self._link.report({"event": event, "lease": stall.lease, "seconds": stall.seconds})

    def _note(self, area: Area) -> None:
        if not self._dirty:
            self._dirty = True
            self._next_report = max(self._next_report, time.monotonic())
        if area.counters.writes and not area.written:
            area.written = True
            self._link.report({"event": "first-write", "lease": area.lease})


def main(descriptor: int, meeting: int | None = None) -> None:
    """Run a worker on the control socket ``descriptor``, with the listening socket ``meeting``."""
    # Ctrl-C and SIGHUP reach the whole process group; only the control plane ends a worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    give_way()
    # Without capabilities root cannot read a clone in another user's home of mode 0700.
    load_all()
    privileges.drop_all()  # it parses the bytes of strangers, and gets all it needs as descriptors
    listener = None if meeting is None else socket.socket(fileno=meeting)
    if listener is not None:
        control.make_known(listener)
    worker = Worker(socket.socket(fileno=descriptor), listener)
    try:
        sigbus.survive(worker.mapping_failed)
    except OSError as error:
        log.warning("page worker: a truncated page file will end this process: %s", error.strerror)
    worker.run()
