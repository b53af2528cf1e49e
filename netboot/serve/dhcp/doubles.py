"""Doubles: one broadcast that arrives on two cards of ours, because both are on one LAN. Pure.

A second cable, or Wi-Fi beside a cable. A PC would get two offers, and each event came twice.
"""

from collections.abc import Collection

from netboot.boot.limits import DHCP_WAITING
from netboot.host.interfaces import Interface
from netboot.serve.dhcp.packet import ANY, Option, Packet

TOGETHER_SECONDS = 1.0  # both arrive at once; a PC repeats a question after some seconds

Key = tuple[str, int, bytes]


class Doubles:
    """The packets of the last second, by the card on which each arrived first.

    Cards that heard the same packet are known to be on one LAN from then on.
    """

    def __init__(self) -> None:
        self._beside: dict[int, set[int]] = {}
        self._first: dict[Key, tuple[Interface, float]] = {}  # oldest first

    def first(self, packet: Packet, interface: Interface, now: float) -> Interface | None:
        """Return the other card on which ``packet`` has arrived already; None if on no other one.

        ``interface`` is our address that would answer. ``now`` is of a clock that nobody sets.
        """
        if packet.giaddr != ANY:
            return None  # no broadcast: a relay may send a copy to each address of ours
        # The kind of message tells a REQUEST from the DISCOVER before it.
        key = (
            packet.card,
            packet.xid,
            packet.options.get(Option.DHCP_MESSAGE_TYPE, b""),
        )
        known, when = self._first.get(key, (interface, now))
        if now - when <= TOGETHER_SECONDS and known.index != interface.index:
            self._beside.setdefault(known.index, set()).add(interface.index)
            self._beside.setdefault(interface.index, set()).add(known.index)
            return known
        self._first.pop(key, None)
        self._first[key] = (interface, now)
        self._forget(now)
        return None

    def beside(self, index: int) -> Collection[int]:
        """Return the indexes of the other cards on the LAN of the card ``index``."""
        return self._beside.get(index, set())

    def _forget(self, now: float) -> None:
        while self._first:
            key, (_, when) = next(iter(self._first.items()))
            if now - when <= TOGETHER_SECONDS and len(self._first) <= (DHCP_WAITING.in_total or 0):
                return
            del self._first[key]
