"""The orders of the control plane, and what a worker does without one.

The messages are in pages/control.py.
"""

import os
import select
from collections.abc import Callable

from netboot.pages import control, liveness
from netboot.pages.nbd.backing import Damaged
from netboot.pages.worker.areas import closed_on_error, why
from netboot.pages.worker.connection import Connection
from netboot.pages.worker.connections import Connections
from netboot.pages.worker.link import Link
from netboot.pages.worker.watch import Watch


class Orders:
    """Carries out the orders that come over ``link``.

    ``complain`` is called with an order or a lease, and the error that it ended with. ``leaving``:
    the clients are being given back. ``ended``: the worker has to end.
    """

    def __init__(
        self,
        link: Link,
        watch: Watch,
        connections: Connections,
        complain: Callable[[str, Exception], None],
    ) -> None:
        self._link = link
        self._watch = watch
        self._connections = connections
        self._areas = connections.areas
        self._complain = complain
        self.leaving = False
        self.ended = False

    def obey(self) -> bool:
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
        return not self.ended and (self._link.can_be_met or not self._link.adrift)

    def _do(self, message: control.Message, descriptors: list[int]) -> None:
        connections = self._connections
        match message["do"]:
            case "connect":
                self._welcome(message, descriptors)
            case "fence":
                for connection in connections.of_lease(message["lease"]):
                    if connection.message["set"] < message["set"]:
                        connections.close(connection, "replaced by newer connections of its seat")
            case "drop":
                connections.close_all(message["lease"], "its lease has ended")
                connections.forget(message["lease"])
            case "close":
                for connection in list(connections.values()):
                    if connection.message["id"] == message["id"]:
                        reason = "its PC has the most connections, and makes room"
                        connections.close(connection, reason)
            case "probe":
                for connection in connections.of_lease(message["lease"]):
                    self._probe(connection, message["keepalive"])
            case "ping":
                self._link.report({"event": "pong"})
                connections.reports.stalls()
            case "leave":
                self.leaving = True
            case _:
                self.ended = True

    def _welcome(self, message: control.Message, descriptors: list[int]) -> None:
        """Take over a client. If its pages cannot be served, end that client and no other."""
        try:
            with closed_on_error(descriptors):
                self._connections.begin(message, descriptors)
        except Exception as error:  # noqa: BLE001 - likewise
            lease, reason = message["lease"], why(error)
            if isinstance(error, Damaged):
                self._link.report({"event": "damaged", "lease": lease, "reason": reason})
            else:
                self._complain(f"lease {lease}", error)
            self._link.report({"event": "closed", "id": message["id"], "reason": reason})

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
            self._connections.close(connection, "closed by the client")
        else:
            self._link.report({"event": "heard", "id": connection.message["id"], "at": heard})

    def drift(self) -> None:
        """Continue without a control plane until another one connects or no client is left."""
        self.leaving = False
        for lease in self._areas.keys() - self._connections.leases():
            self._connections.forget(lease)  # its seat will attach it at the next server
        for connection in self._connections.values():
            self._watch.follow(connection)  # some were held back for a move

    def leave(self) -> None:
        """Give back each lease whose connections are all between two requests."""
        for lease, area in list(self._areas.items()):
            connections = self._connections.of_lease(lease)
            for connection in connections:
                if connection.exchange.between:
                    late = connection.unsent and not connection.exchange.idle
                    self._watch.register(connection, select.EPOLLOUT if late else 0)
            if not all(connection.exchange.idle for connection in connections):
                continue
            if area.tasks is not None and area.tasks.under_way:
                continue
            self._connections.reports.send()
            self._link.deliver()
            if not self.leaving:
                return  # the link broke
            # A client may read an older image than the one that is at the path now.
            image = area.pages.descriptors() if area.export.read_only else ()
            kept = [os.dup(descriptor) for descriptor in image]
            self._connections.forget(lease)  # before another process changes the pages
            for connection in connections:
                self._move(connection, kept)
            for descriptor in kept:
                os.close(descriptor)
        if not self._areas and not self._areas.ending and not self._link.busy:
            self.ended = True

    def _move(self, connection: Connection, image: list[int]) -> None:
        message = {**connection.message, "event": "moved", "written": connection.area.written}
        carried = control.carry(connection.unsent, connection.unparsed)
        descriptors = [connection.sock.fileno(), carried, *image]
        self._connections.let_go(connection)
        self._link.give(message, descriptors)
        os.close(carried)
        connection.sock.close()
