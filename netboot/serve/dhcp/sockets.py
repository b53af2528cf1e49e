"""The sockets of ports 67 and 4011, with the interface of each packet in and out."""

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from netboot.errors import OperatorError
from netboot.host import filters
from netboot.host.interfaces import Interface
from netboot.host.sockets import widen_receive_buffer
from netboot.serve.dhcp import frames
from netboot.serve.dhcp.packet import dotted, packed

# 500 PCs, two lessons' worth, that ask at once overrun the default buffer: dnsmasq and Kea answer
# 166 of them (measured). A DISCOVER counts as 1,280 bytes in the kernel, so 6,500 fit. They are
# answered in less than the 2 s that iPXE waits.
RECEIVE_BUFFER = 8 << 20
SO_BINDTOIFINDEX = 62  # asm-generic/socket.h
IP_PKTINFO = 8  # linux/in.h; the socket module has it from Python 3.14
PKTINFO = struct.Struct("=i4s4s")  # interface index, our address, destination of the header
ANCILLARY_BYTES = socket.CMSG_SPACE(PKTINFO.size)
MAX_MESSAGE = 4096
PRIVILEGED_BELOW = 1024  # Linux's net.ipv4.ip_unprivileged_port_start
BATCH = 64  # packets taken from one socket before others have their turn


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class Arrival:
    """A datagram, its sender, and the index of the interface that received it (0: unknown).

    ``to`` is the destination in its header: one of our addresses, or a broadcast address.
    """

    data: bytes
    source: tuple[str, int]
    index: int
    to: bytes = bytes(4)


class Port:
    """A UDP socket on one port of all addresses: broadcasts reach no other kind of UDP socket.

    ``card`` is the index of the only card that it hears; 0 for all cards.
    """

    def __init__(self, number: int, card: int = 0) -> None:
        """Open it. Raises OperatorError if the port is not available."""
        self._number = number
        self._card = card
        self._sock = self._open()

    def _open(self) -> socket.socket:
        return _socket(self._number, socket.SOCK_DGRAM, 0, self._card)

    def fileno(self) -> int:
        """Return the descriptor; -1 if the socket is closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def receive(self) -> Arrival | None:
        """Return the next datagram, or None if the queue is empty.

        Raises OSError, also for an ICMP error about an earlier reply of ours.
        """
        found = self._take()
        return None if found is None else Arrival(*found)

    def _take(self) -> tuple[bytes, tuple[str, int], int, bytes] | None:
        """Return the fields of an arrival."""
        try:
            data, ancillary, _flags, source = self._sock.recvmsg(MAX_MESSAGE, ANCILLARY_BYTES)
        except BlockingIOError:
            return None
        for level, kind, value in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                index, _, to = PKTINFO.unpack(value)
                return data, source, index, to
        return data, source, 0, bytes(4)

    def send(self, data: bytes, interface: Interface, target: tuple[IPv4Address, int]) -> None:
        """Send from our address on ``interface``, bypassing the routing table. Raises OSError."""
        pktinfo = PKTINFO.pack(interface.index, packed(interface.address), bytes(4))
        ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, pktinfo)]
        self._sock.sendmsg([data], ancillary, 0, (dotted(target[0]), target[1]))


class SharedPort(Port):
    """The same for a port that belongs to others: it takes no datagram from them.

    A raw socket gets a copy of each datagram for this machine, after the kernel has put fragments
    together, taken VLAN tags off and dropped packets for others. Of two UDP sockets on one port the
    last one gets all that is not a broadcast: a DHCP server beside us got no renewal and nothing of
    a relay. A packet socket would not get what programs of this machine broadcast.
    """

    def _open(self) -> socket.socket:
        bound = _socket(self._number, socket.SOCK_RAW, socket.IPPROTO_UDP, self._card)
        filters.attach(bound, filters.program(*filters.udp_to(self._number)))
        return bound

    def receive(self) -> Arrival | None:
        """Return the next datagram, or None if the queue is empty. Raises OSError."""
        while (taken := self._take()) is not None:
            data, (address, _), index, to = taken
            found = frames.udp(data)
            # Datagrams that came before the filter was set passed it.
            if found is not None and found.target == self._number:
                return Arrival(found.payload, (address, found.source), index, to)
        return None

    def send(self, data: bytes, interface: Interface, target: tuple[IPv4Address, int]) -> None:
        """Send as from the port. Raises OSError."""
        address, port = target
        ends = (interface.address, self._number), (address, port)
        super().send(frames.udp_datagram(data, *ends), interface, (address, 0))


def _socket(port: int, kind: int, protocol: int, card: int) -> socket.socket:
    try:
        bound = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK, protocol)
    except OSError as error:
        raise _failure(port, error) from error
    try:
        # A DHCP server may run on this machine too, if it also sets this option. Any user's program
        # could take a port from us so that is not privileged.
        if port < PRIVILEGED_BELOW:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if card:
            bound.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, card)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        bound.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        widen_receive_buffer(bound, RECEIVE_BUFFER)
        if kind == socket.SOCK_DGRAM:
            bound.bind(("0.0.0.0", port))
    except OSError as error:
        bound.close()
        raise _failure(port, error) from error
    return bound


def _failure(port: int, error: OSError) -> OperatorError:
    hint = "run the server as root: sudo netboot serve"
    if error.errno == errno.EADDRINUSE:
        hint = (
            f"another server uses it (dnsmasq, isc-dhcp-server, systemd-networkd?): "
            f"ss -ulpn 'sport = :{port}'"
        )
    return OperatorError(f"UDP port {port} cannot be opened: {error.strerror}", hint=hint)
