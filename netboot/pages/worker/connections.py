"""All clients of a worker and their areas: how one begins, and how one ends."""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Sequence

from netboot.pages import control
from netboot.pages.nbd.backing import NumberedFile
from netboot.pages.nbd.dialect import Dialect, Headers
from netboot.pages.worker.areas import Areas, find_damage
from netboot.pages.worker.connection import Connection
from netboot.pages.worker.desk import Desk
from netboot.pages.worker.exchange import Area, Exchange
from netboot.pages.worker.governor import Governor
from netboot.pages.worker.link import Link
from netboot.pages.worker.lookout import prepare
from netboot.pages.worker.reports import Reports
from netboot.pages.worker.tasks import Owner, Task
from netboot.pages.worker.watch import Watch


class Connections(dict[int, Connection]):
    """The clients of a worker, by their descriptors.

    ``shared`` is True if the governor gives the turns.
    """

    def __init__(self, desk: Desk, watch: Watch, link: Link) -> None:
        super().__init__()
        self._watch = watch
        self._link = link
        self._owners: dict[Owner, Connection] = {}
        self.areas = Areas(desk)
        self.governor = Governor()
        self.reports = Reports(link, self.areas, self.is_whole)
        self.shared = False

    def begin(self, message: control.Message, descriptors: Sequence[int]) -> None:
        """Serve the client of a ``connect`` message. Raises OSError, or Damaged if its pages are lost."""
        if not descriptors:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        client, carried, *page_descriptors = descriptors
        area = self.areas.adopt(message, page_descriptors)
        unsent, unparsed = control.carried(carried)
        sock = socket.socket(fileno=client)
        prepare(sock)
        dialect = Dialect(Headers(message["headers"]), message["allocation"])
        exchange = Exchange(area, dialect)
        connection = Connection(sock, area, exchange, message, unparsed, unsent)
        self[client] = self._owners[exchange] = connection
        self.governor.limit(connection.area.seat, message["ceiling"])
        self._regroup()
        # The carried bytes may contain requests. An area with changes of an older set under way waits.
        self._watch.follow(connection)

    def of_lease(self, lease: str) -> list[Connection]:
        """Return the connections of a lease."""
        return [each for each in self.values() if each.area.lease == lease]

    def leases(self) -> set[str]:
        """Return the leases with connections. The others' pages stay mapped until a drop."""
        return {each.area.lease for each in self.values()}

    def settle(self, order: Task) -> None:
        """Take a task that is done. Its connection has a turn, or its fenced area goes on."""
        assert order.tasks is not None, "all orders are tasks"
        order.tasks.settle(order)
        if order.owner is not None:
            connection = self._owners[order.owner]
            self._watch.arrived[connection.sock.fileno()] = connection
            return
        if order.changes and not order.tasks.late:
            for connection in self.values():
                if connection.area.tasks is order.tasks:
                    self._watch.follow(connection)
        if not order.tasks.under_way:
            for area in list(self.areas.values()):
                if area.tasks is order.tasks:
                    self._rest(area)

    def close(self, connection: Connection, reason: str) -> None:
        """Hang up on a client, and report it. Does nothing if it was closed."""
        if connection.closed:
            return
        self._watch.register(connection, 0)
        self.let_go(connection)
        connection.sock.close()
        connection.exchange.abandon()
        delays = self.reports.delays
        if delays.held:  # the next poll may come late
            delays.end(connection.area.seat, time.monotonic())
        self._regroup()
        if not self.of_lease(connection.area.lease):
            self.reports.send()
            self._rest(connection.area)
        number = connection.message["id"]
        self._link.report({"event": "closed", "id": number, "reason": reason})

    def _rest(self, area: Area) -> None:
        """Let the pages go that another server may serve next, if nobody uses them here."""
        busy = self.of_lease(area.lease) or (area.tasks is not None and area.tasks.under_way)
        if isinstance(area.pages, NumberedFile) and not busy:
            area.pages.rest()

    def close_all(self, lease: str, reason: str) -> None:
        """Hang up on all clients of a lease."""
        for connection in self.of_lease(lease):
            self.close(connection, reason)

    def let_go(self, connection: Connection) -> None:
        """Drop a connection without closing its socket."""
        descriptor = connection.sock.fileno()
        self._watch.let_go(descriptor)
        del self[descriptor]
        del self._owners[connection.exchange]

    def forget(self, lease: str) -> None:
        """Drop the area of a lease."""
        for connection in self.of_lease(lease):
            connection.exchange.abandon()
        area = self.areas.forget(lease)
        if area is not None and all(other.seat != area.seat for other in self.areas.values()):
            self.governor.forget(area.seat)
        self.reports.forget(lease)

    def is_whole(self, area: Area) -> bool:
        """Return whether the page file is as it was made. If it is not, end the lease."""
        if not find_damage(area):
            return True
        if self.areas.get(area.lease) is area:
            report = {"event": "damaged", "lease": area.lease, "reason": area.damage}
            self._link.report(report)
            self.close_all(area.lease, area.damage)
            self.forget(area.lease)
        return False

    def mapping_failed(self, path: str, inode: int) -> bool:
        """Note that an access to the mapped file of an area fails (host/sigbus.py).

        No byte of the mapping may reach a client from now on. So the sockets are shut down: the turn
        in which this happens ends with an error when it sends.
        """
        areas = self.areas.of_file(path, inode)
        for area in areas:
            area.damage = f"its page file was truncated: {path}"
            for connection in self.of_lease(area.lease):
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
        return bool(areas)

    def _regroup(self) -> None:
        """Decide whether the governor gives the turns. A single seat costs less without it."""
        limited = any(each.message["ceiling"] for each in self.values())
        self.shared = len({each.area.seat for each in self.values()}) > 1 or limited
