"""The kernel's neighbour table: the MAC address that it knows for an IPv4 address on a link.

One rtnetlink question for each look-up (rtnetlink(7), ``neigh_get`` in net/core/neighbour.c, Linux
5.0 and later): 10 us however many neighbours there are, where /proc/net/arp costs a line for each.
"""

import contextlib
import socket
import struct
from collections.abc import Collection
from ipaddress import IPv4Address

from netboot.host.interfaces import Interface
from netboot.host.netlink import ATTRIBUTE, HEADER, NLM_F_REQUEST, attributes

# linux/rtnetlink.h, linux/neighbour.h.
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
NDA_DST, NDA_LLADDR = 1, 2
NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg: family, interface, state, flags, type
ANSWER_BYTES = 4096
MAC_BYTES = 6
DISCARD_PORT = 9  # RFC 863


class Neighbours:
    """The neighbours on the links of ``interfaces``. No method waits."""

    def __init__(self, interfaces: Collection[Interface]) -> None:
        self.follow(interfaces)
        self._sequence = 0
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)

    def follow(self, interfaces: Collection[Interface]) -> None:
        """Look on the links of these interfaces from now on."""
        self._interfaces = interfaces
        self._indexes = tuple(dict.fromkeys(each.index for each in interfaces))

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def mac_of(self, address: IPv4Address) -> str | None:
        """Return the MAC address that the kernel knows for ``address``, or None."""
        for index in self._indexes:
            found = self._ask(index, address)
            if found is not None:
                return found
        return None

    def is_on_link(self, address: IPv4Address) -> bool:
        """Return True if ``address`` is in the network of an interface, and not our own."""
        return any(address in each.network for each in self._interfaces) and not any(
            address == each.address for each in self._interfaces
        )

    def probe(self, address: IPv4Address) -> None:
        """Have the kernel look for ``address`` by ARP: an empty datagram has to go there."""
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(b"", (str(address), DISCARD_PORT))

    def _ask(self, index: int, address: IPv4Address) -> str | None:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        body = NEIGHBOUR.pack(socket.AF_INET, index, 0, 0, 0)
        body += ATTRIBUTE.pack(ATTRIBUTE.size + 4, NDA_DST) + address.packed
        head = HEADER.pack(HEADER.size + len(body), RTM_GETNEIGH, NLM_F_REQUEST, self._sequence, 0)
        try:
            self._netlink.sendto(head + body, (0, 0))
            # The kernel queues its answer before the call above returns.
            answer = self._netlink.recv(ANSWER_BYTES, socket.MSG_DONTWAIT)
        except OSError:
            return None
        return parse(answer, self._sequence)


def parse(answer: bytes, sequence: int) -> str | None:
    """Return the MAC address in the kernel's answer; None if it has none, or is an error."""
    start = HEADER.size + NEIGHBOUR.size
    if len(answer) < start:
        return None
    length, kind, _, number, _ = HEADER.unpack_from(answer)
    if (kind, number) != (RTM_NEWNEIGH, sequence):
        return None
    value = attributes(answer[:length], start).get(NDA_LLADDR, b"")
    return value.hex(":") if len(value) == MAC_BYTES else None
