"""Ports 67 and 4011 of one server: which sockets there are, and which one sends."""

import asyncio
from collections.abc import Callable, Collection
from ipaddress import IPv4Address

from netboot.errors import OperatorError
from netboot.host import turns
from netboot.host.interfaces import Interface
from netboot.serve.dhcp.answer import BOOT_SERVER_PORT, SERVER_PORT
from netboot.serve.dhcp.sockets import Port, SharedPort

Key = tuple[int, int]  # the port, and the index of its card; 0: all cards


class Ports:
    """The sockets of a server.

    In full mode port 67 is one socket for each card: a socket for all of them would take from a
    DHCP server on other cards of this machine what is no broadcast. In proxy mode (``shared``) it
    belongs to others. ``readable(socket, port)`` is called after ``read``.
    """

    def __init__(self, readable: Callable[[Port, int], None], *, shared: bool) -> None:
        self._readable = readable
        self._shared = shared
        self._ports: dict[Key, Port] = {}
        self._is_read = False

    def follow(self, cards: Collection[int]) -> None:
        """Have sockets for the cards with these indexes, and for no others.

        Raises OperatorError for the first port that is not available, after the others.
        """
        own = (0,) if self._shared else cards
        wanted: list[Key] = [*((SERVER_PORT, card) for card in own), (BOOT_SERVER_PORT, 0)]
        for gone in set(self._ports) - set(wanted):
            self._close(gone)
        failed: OperatorError | None = None
        for key in wanted:
            if key in self._ports:
                continue
            try:
                self._open(key)
            except OperatorError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def read(self) -> None:
        """Have what arrives read from now on."""
        self._is_read = True
        for (number, _), port in self._ports.items():
            turns.read_first(
                asyncio.get_running_loop(), port.fileno(), self._readable, port, number
            )

    def close(self) -> None:
        """Close all sockets."""
        for key in list(self._ports):
            self._close(key)

    def send(self, data: bytes, interface: Interface, target: tuple[IPv4Address, int]) -> None:
        """Send from port 67 of an interface. Raises OSError."""
        port = self._ports.get((SERVER_PORT, 0 if self._shared else interface.index))
        if port is None:
            raise OSError(f"port {SERVER_PORT} is not open on {interface.name}")
        port.send(data, interface, target)

    def _open(self, key: Key) -> None:
        number, card = key
        kind = SharedPort if self._shared and number == SERVER_PORT else Port
        port = self._ports[key] = kind(number, card)
        if self._is_read:
            turns.read_first(
                asyncio.get_running_loop(), port.fileno(), self._readable, port, number
            )

    def _close(self, key: Key) -> None:
        port = self._ports.pop(key)
        asyncio.get_running_loop().remove_reader(port.fileno())
        port.close()
