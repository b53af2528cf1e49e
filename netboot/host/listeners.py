"""Listeners: the sockets at which one server is reached; they follow the machine's addresses."""

import socket
from collections.abc import Callable, Sequence

from netboot.errors import OperatorError
from netboot.host.sockets import let_fragment

Address = tuple[str, int]  # of IPv4 or IPv6, and the port


class Listeners:
    """One socket for each address of ``follow``.

    ``open_at(address)`` returns it, or raises OSError. ``begin(address, listener)`` has it read.
    ``end(address, listener)`` has it read no longer, and closes it. ``failure(address, error)`` makes
    the error of an address that is not available.

    Connections inherit ``let_fragment``: a router with a smaller MTU whose ICMP messages are lost
    would swallow each full segment.
    """

    def __init__(
        self,
        open_at: Callable[[Address], socket.socket],
        *,
        begin: Callable[[Address, socket.socket], None],
        end: Callable[[Address, socket.socket], None],
        failure: Callable[[Address, OSError], OperatorError],
    ) -> None:
        self._open_at = open_at
        self._begin = begin
        self._end = end
        self._failure = failure
        self._sockets: dict[Address, socket.socket] = {}

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets, in the order in which they were opened."""
        return list(self._sockets.values())

    @property
    def in_use(self) -> list[Address]:
        """The addresses, with the ports that the kernel chose for port 0."""
        return [listener.getsockname()[:2] for listener in self._sockets.values()]

    def follow(self, addresses: Sequence[Address]) -> None:
        """Listen at ``addresses`` and at no other one. Clients that there are go on.

        Raises OperatorError for the first address that is not available, after the others.
        """
        failed: OperatorError | None = None
        for gone in set(self._sockets) - set(addresses):
            self._end(gone, self._sockets.pop(gone))
        for address in addresses:
            if address in self._sockets:
                continue
            try:
                self.adopt(address, self._open_at(address))
            except OSError as error:
                failed = failed or self._failure(address, error)
        if failed is not None:
            raise failed

    def adopt(self, address: Address, listener: socket.socket) -> None:
        """Read a socket that listens at ``address`` already."""
        let_fragment(listener)
        self._sockets[address] = listener
        self._begin(address, listener)

    def close(self) -> None:
        """Listen at no address."""
        self.follow(())
