"""UDP sockets of ports 67 and 4011: opened, and told by which interface a packet comes and goes."""

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from netboot.errors import OperatorError
from netboot.host.interfaces import Interface
from netboot.host.sockets import widen_receive_buffer

# Two lessons' worth of PCs ask at once: 500 DISCOVERs overrun the default buffer, of which dnsmasq
# and Kea answer 166 (measured). One takes 1,280 bytes of the kernel's account: 6,500 fit, which
# are answered in less than the 2 s that iPXE waits.
RECEIVE_BUFFER = 8 << 20
IP_PKTINFO = 8  # linux/in.h; the socket module has it from Python 3.14
PKTINFO = struct.Struct("=i4s4s")  # interface index, our address, destination of the header
ANCILLARY_BYTES = socket.CMSG_SPACE(PKTINFO.size)
MAX_MESSAGE = 4096
BATCH = 64  # packets taken from one socket before others have their turn


@dataclass(frozen=True, slots=True)
class Arrival:
    """A datagram, its sender, and the index of the interface it came in by (0: not told)."""

    data: bytes
    source: tuple[str, int]
    index: int


def open_port(port: int) -> socket.socket:
    """A UDP socket on ``port`` of all addresses: broadcasts reach no other kind.

    SO_REUSEADDR lets the LAN's own DHCP server run on this machine too, if it sets it as well.
    Raises OperatorError if the port cannot be had.
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
    """The next datagram, None if none waits. Raises OSError: an ICMP error about a reply of ours
    arrives that way.
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
    """Sends by ``interface``, with the address we have there: not the routing table's. OSError."""
    pktinfo = PKTINFO.pack(interface.index, interface.address.packed, bytes(4))
    ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, pktinfo)]
    bound.sendmsg([data], ancillary, 0, (str(target[0]), target[1]))


def _hint(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"another server has it (dnsmasq, isc-dhcp-server, systemd-networkd?): "
            f"ss -ulpn 'sport = :{port}'"
        )
    return "run it as root: sudo netboot serve"
