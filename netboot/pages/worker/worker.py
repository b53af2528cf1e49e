"""A page worker: the data plane process. ``python -m netboot.pages.worker CONTROL [MEETING]``.

CONTROL is the descriptor of the worker's end of the control socket (control.py). MEETING is the
descriptor of a listening socket, at which the next control plane can find the worker. One epoll
loop serves all connections. If the control plane is gone, a worker with a MEETING continues as long
as it has clients.
"""

import logging
import select
import signal
import socket
import time
import traceback

from netboot.errors import ProtocolError
from netboot.host import privileges, sigbus
from netboot.host.complaints import Complaints
from netboot.host.scheduling import give_way
from netboot.pages import control
from netboot.pages.nbd.backing import Damaged, Fenced
from netboot.pages.stores.store import load_all
from netboot.pages.worker.areas import why
from netboot.pages.worker.connection import TURN_BYTES, Connection
from netboot.pages.worker.connections import Connections
from netboot.pages.worker.desk import LOOK_SECONDS, Desk
from netboot.pages.worker.exchange import Buffers
from netboot.pages.worker.governor import QUANTUM_BYTES
from netboot.pages.worker.link import Link
from netboot.pages.worker.lookout import Lookout
from netboot.pages.worker.orders import Orders
from netboot.pages.worker.tasks import Task
from netboot.pages.worker.watch import Watch

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.05  # if the control plane is slow to read reports, or a store has no room
SAMPLED = 64  # of so many turns one is timed


class Worker:
    """The epoll loop over the control socket and the clients: whose turn it is, and the turn."""

    def __init__(self, control_socket: socket.socket, meeting: socket.socket | None) -> None:
        self._epoll = select.epoll()
        self._link = Link(self._epoll, control_socket, meeting, lambda: self._orders.drift())
        self._link.report({"event": "ready", "ping": True})
        self._lookout = Lookout(self._epoll)
        self._desk = Desk()
        self._epoll.register(self._desk.descriptor, select.EPOLLIN)
        self._watch = Watch(self._epoll)
        self._connections = Connections(self._desk, self._watch, self._link)
        self._orders = Orders(self._link, self._watch, self._connections, self._complain)
        self._governor = self._connections.governor
        self._reports = self._connections.reports
        self._delays = self._reports.delays
        # Of the watch; a turn looks at each, so the loop keeps them at hand.
        self._waiting = self._watch.waiting
        self._resting = self._watch.resting
        self._arrived = self._watch.arrived
        self._next_retry = 0.0
        self._buffers = Buffers()
        self._turns = 0
        self._next_timed = SAMPLED
        self._complaints = Complaints(log)

    def run(self) -> None:
        """Serve until the control plane orders a stop, or is gone and no client is left."""
        connections, orders, reports = self._connections, self._orders, self._reports
        lone: int | None = None
        while not orders.ended:
            waiting, goes_on, told = [], True, False
            for descriptor, _ in self._lookout.events(self._patience(), lone):
                connection = connections.get(descriptor)
                if connection is not None:
                    waiting.append(connection)
                elif self._link.owns(descriptor):
                    goes_on, told = orders.obey(), True
            if not goes_on:
                break
            if self._desk.woken or self._desk.reads:
                self._collect()
            if self._arrived:
                waiting += [each for each in self._arrived.values() if each not in waiting]
            # An order may have fenced a connection that was ready in the same poll.
            if told or self._arrived:
                waiting = [each for each in waiting if each.may_go]
            lone = waiting[0].sock.fileno() if len(waiting) == 1 else None
            if connections.shared:
                self._share(waiting)
            else:
                alone = lone is not None
                sleeps = alone and self._may_sleep(waiting[0])
                for connection in waiting:
                    if alone or not connection.closed:
                        self._turn(connection, TURN_BYTES, alone=alone, sleeps=sleeps)
                if sleeps:
                    self._lookout.slept(waiting[0].slept)
                    self._turns += waiting[0].slept  # without a sleep each is a turn
            if self._resting:
                self._wake()
            if self._waiting and time.monotonic() >= self._next_retry:
                self._retry()
            if self._waiting or self._resting or self._delays.held:
                self._follow_delays(time.monotonic())
            if orders.leaving:
                orders.leave()
            if reports.dirty and time.monotonic() >= reports.next:
                reports.send()
            self._link.deliver()
            if self._link.adrift and not (self._link.can_be_met and connections):
                break
        self._shut_down()

    def _shut_down(self) -> None:
        for connection in list(self._connections.values()):
            self._connections.close(connection, "the server is stopped")
        areas = self._connections.areas
        for lease in list(areas):
            self._connections.forget(lease)
        while areas.ending:  # nobody may use the pages before that
            self._collect()
            time.sleep(LOOK_SECONDS)
        self._desk.close()
        self._link.close()
        self._epoll.close()

    def _patience(self) -> float | None:
        if self._link.busy or self._waiting:
            return RETRY_SECONDS
        if self._arrived and self._watch.can_go_on:
            return 0
        now = time.monotonic()
        patience = max(self._reports.next - now, 0) if self._reports.dirty else None
        if self._desk.reads and self._desk.looks_again:
            patience = LOOK_SECONDS if patience is None else min(patience, LOOK_SECONDS)
        for connection in self._resting.values():
            rest = self._governor.rest(connection.area.seat, now)
            patience = rest if patience is None else min(patience, rest)
        return patience

    def _may_sleep(self, lone: Connection) -> bool:
        """Return whether the worker may sleep in a lone client's socket: nothing else is due."""
        if self._turns + 1 >= self._next_timed:  # a turn that is timed does not wait
            return False
        if lone.area.tasks is not None or self._waiting or self._link.busy or self._orders.leaving:
            return False
        return self._lookout.may_sleep(lone.sock.fileno())

    def _collect(self) -> None:
        """Take the tasks that are done. Their connections have a turn, or a fenced area goes on."""
        for order in self._desk.take():
            assert isinstance(order, Task), "all orders are tasks"
            self._connections.settle(order)

    def _share(self, waiting: list[Connection]) -> None:
        """Give turns to several seats, or to one with a ceiling, as the governor decides.

        Connections without a turn stay ready and are seen again by the next poll.
        """
        by_seat: dict[str, Connection] = {}
        now = time.monotonic()
        for connection in waiting:
            seat = connection.area.seat
            if self._governor.rest(seat, now):
                self._watch.rest(connection)
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

    def _turn(
        self, connection: Connection, limit: int, *, alone: bool = False, sleeps: bool = False
    ) -> None:
        self._turns += 1
        connection.last_turn = self._turns
        if self._arrived:
            self._arrived.pop(connection.sock.fileno(), None)
        begin = 0.0
        if self._turns >= self._next_timed:
            begin, self._next_timed = time.monotonic(), self._turns + SAMPLED
        reason = None
        try:
            if self._orders.leaving and connection.exchange.between:
                connection.finish(self._buffers)
            else:
                reason = connection.serve(self._buffers, limit, alone=alone, sleeps=sleeps)
        except (ProtocolError, OSError) as error:
            reason = why(error)
        except Damaged as error:
            reason = connection.area.damage = str(error)
        except Fenced as error:  # a worker of another server serves it now; its PC may attach again
            self._connections.close_all(connection.area.lease, str(error))
            self._connections.forget(connection.area.lease)
            return
        except Exception as error:  # noqa: BLE001 - one client's fault, and the worker has many
            self._complain(f"lease {connection.area.lease}", error)
            reason = "internal error; see the server's log"
        if begin:
            self._reports.timed(time.monotonic() - begin)
        if reason is not None:
            # An access to a mapping beyond the file is EFAULT.
            if self._connections.is_whole(connection.area):
                self._connections.close(connection, reason)
            return
        self._watch.follow(connection)
        if not self._reports.dirty or not connection.area.written:
            self._reports.note(connection.area)

    def _wake(self) -> None:
        """Poll the seats again that are below their ceilings now."""
        now = time.monotonic()
        for descriptor, connection in list(self._resting.items()):
            if not self._governor.rest(connection.area.seat, now):
                del self._resting[descriptor]
                self._watch.follow(connection)

    def _retry(self) -> None:
        """Retry the requests that had no room in a store, and report those that wait for long."""
        waiting = self._waiting.copy()
        self._waiting.clear()
        now = time.monotonic()
        for descriptor, connection in waiting.items():
            if descriptor in self._resting or connection.area.is_fenced:
                self._waiting[descriptor] = connection
            elif connection.exchange.waiting and not connection.closed:
                self._governed_turn(connection, now)
        self._next_retry = now + RETRY_SECONDS
        self._reports.late(self._waiting.values(), now)

    def _follow_delays(self, now: float) -> None:
        """Note which seats wait for room in a store, and which are at their ceilings."""
        self._delays.follow("store", {each.area.seat for each in self._waiting.values()}, now)
        self._delays.follow("rate", {each.area.seat for each in self._resting.values()}, now)
        if not self._connections.shared:
            self._delays.follow("share", (), now)

    def _complain(self, what: str, error: Exception) -> None:
        """Log what went wrong for one lease. The agent of its PC tries again, many times."""
        if isinstance(error, OSError):
            self._complaints.warn(what, "pages: %s cannot be served: %s", what, why(error))
            return
        trace = "".join(traceback.format_exception(error))
        self._complaints.warn(what, "pages: %s failed\n%s", what, trace, level=logging.ERROR)

    def mapping_failed(self, path: str, inode: int) -> bool:
        """Note that an access to the mapped file of an area fails (host/sigbus.py)."""
        return self._connections.mapping_failed(path, inode)


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
