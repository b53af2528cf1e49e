"""The UDP sockets of ports 67 and 4011, with the interface of each packet in and out."""

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from netboot.errors import OperatorError
from netboot.host.interfaces import Interface
from netboot.host.sockets import widen_receive_buffer

# 500 PCs, two lessons' worth, that ask at once overrun the default buffer: dnsmasq and Kea answer
# 166 of them (measured). A DISCOVER counts as 1,280 bytes in the kernel, so 6,500 fit. They are
# answered in less than the 2 s that iPXE waits.
RECEIVE_BUFFER = 8 << 20
IP_PKTINFO = 8  # linux/in.h; the socket module has it from Python 3.14
PKTINFO = struct.Struct("=i4s4s")  # interface index, our address, destination of the header
ANCILLARY_BYTES = socket.CMSG_SPACE(PKTINFO.size)
MAX_MESSAGE = 4096
BATCH = 64  # packets taken from one socket before others have their turn


@dataclass(frozen=True, slots=True)
class Arrival:
    """A datagram, its sender, and the index of the interface that received it (0: unknown)."""

    data: bytes
    source: tuple[str, int]
    index: int


def open_port(port: int) -> socket.socket:
    """Open a UDP socket on ``port`` of all addresses: broadcasts reach no other kind of socket.

    SO_REUSEADDR lets the LAN's own DHCP server run on this machine too, if it also sets that
    option. Raises OperatorError if the port is not available.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        bound.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        widen_receive_buffer(bound, RECEIVE_BUFFER)
        bound.bind(("0.0.0.0", port))
    except OSError as error:
        bound.close()
        raise OperatorError(
            f"UDP port {port} cannot be opened: {error.strerror}", hint=_hint(error, port)
        ) from error
    return bound


def receive(bound: socket.socket) -> Arrival | None:
    """Return the next datagram, or None if the queue is empty.

    Raises OSError, also for an ICMP error about an earlier reply of ours.
    """
    try:
        data, ancillary, _flags, source = bound.recvmsg(MAX_MESSAGE, ANCILLARY_BYTES)
    except BlockingIOError:
        return None
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return Arrival(data, source, PKTINFO.unpack(value)[0])
    return Arrival(data, source, 0)


def send(
    bound: socket.socket, data: bytes, interface: Interface, target: tuple[IPv4Address, int]
) -> None:
    """Send from our address on ``interface``, bypassing the routing table. Raises OSError."""
    pktinfo = PKTINFO.pack(interface.index, interface.address.packed, bytes(4))
    ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, pktinfo)]
    bound.sendmsg([data], ancillary, 0, (str(target[0]), target[1]))


def _hint(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"another server uses it (dnsmasq, isc-dhcp-server, systemd-networkd?): "
            f"ss -ulpn 'sport = :{port}'"
        )
    return "run the server as root: sudo netboot serve"
