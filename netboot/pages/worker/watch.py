"""For which events of its clients a worker waits, and which of the clients wait for another reason."""

import select
import time

from netboot.pages.worker.connection import Connection


class Watch:
    """The registrations of the clients in ``epoll``, and the groups of those that wait aside.

    A client may be in several groups. Its descriptor is the key in each.
    """

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self.waiting: dict[int, Connection] = {}  # some of their requests wait for room
        self.resting: dict[int, Connection] = {}  # their seats are at their ceilings
        self.arrived: dict[int, Connection] = {}  # tasks of theirs are done

    def follow(self, connection: Connection) -> None:
        """Register a connection for what it waits for now: input, room in its socket, or neither."""
        exchange = connection.exchange
        if connection.area.tasks is not None:
            if exchange.ready and not connection.unsent:
                self.arrived[connection.sock.fileno()] = connection
            if connection.area.is_fenced:
                self.register(connection, 0)
                return
        if exchange.waiting:
            self.waiting[connection.sock.fileno()] = connection
            if connection.waits_since is None or connection.oldest is not exchange.oldest:
                connection.waits_since, connection.oldest = time.monotonic(), exchange.oldest
        else:
            connection.waits_since = connection.oldest = None
        if exchange.blocked and not connection.unsent:
            self.register(connection, 0)
            return
        ready = exchange.hungry and not connection.unsent
        wanted = select.EPOLLIN if ready else select.EPOLLOUT
        if wanted != connection.waits_for:
            self.register(connection, wanted)

    def register(self, connection: Connection, waits_for: int) -> None:
        """Register a connection for these events of epoll; 0 for none, not even for its end."""
        if waits_for == connection.waits_for:
            return
        if not waits_for:  # its end could not be handled now
            self._epoll.unregister(connection.sock)
        elif connection.waits_for:
            self._epoll.modify(connection.sock, waits_for)
        else:
            self._epoll.register(connection.sock, waits_for)
        connection.waits_for = waits_for

    def rest(self, connection: Connection) -> None:
        """Hold a connection back until its seat is below its ceiling."""
        self.register(connection, 0)  # otherwise the next poll would return at once
        self.resting[connection.sock.fileno()] = connection

    def let_go(self, descriptor: int) -> None:
        """Take a client out of all groups."""
        for group in (self.waiting, self.resting, self.arrived):
            group.pop(descriptor, None)

    @property
    def can_go_on(self) -> bool:
        """True if a task is done whose connection may have its turn now."""
        return any(
            descriptor not in self.resting and not connection.area.is_fenced
            for descriptor, connection in self.arrived.items()
        )
