"""Link: the traffic of one interface beside our UDP ports, by packet sockets.

It probes addresses (ARP), and hears other DHCP servers, whose answers go to a port that is not
ours. It tells old iPXE that no IPv6 router exists to wait for.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address

from netboot.errors import OperatorError
from netboot.host import filters
from netboot.host.interfaces import Interface
from netboot.serve.dhcp import frames
from netboot.serve.dhcp.sockets import BATCH

ETH_P_ALL, ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD  # linux/if_ether.h
EVERYONE = b"\xff" * 6
ALL_ROUTERS = bytes.fromhex("333300000002")  # ff02::2 (RFC 2464 section 7)
# linux/if_packet.h
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_IGNORE_OUTGOING, PACKET_MR_MULTICAST = 263, 1, 23, 0
PACKET_OUTGOING = 4
MEMBERSHIP = struct.Struct("=iHH8s")  # struct packet_mreq
MAX_FRAME = 2048
MAX_SEATS = 500

DHCP_ANSWERS = filters.program(*filters.udp_to(68))
# Of this machine, which only a socket for all protocols receives. The frame's protocol and direction
# are loaded from SKF_AD_OFF (linux/filter.h). Our own offers of proxy mode have no address (yiaddr).
OWN_DHCP_ANSWERS = filters.program(
    (filters.LOAD_HALF, 0xFFFFF000),
    (filters.EQUAL, ETH_P_IP, True),
    (filters.LOAD_BYTE, 0xFFFFF004),
    (filters.EQUAL, PACKET_OUTGOING, True),
    *filters.udp_to(68),
    (filters.LOAD_WORD_AFTER, frames.UDP_BYTES + 16),
    (filters.EQUAL, 0, False),
)
# Classic BPF after the Ethernet header (netboot.host.filters).
ROUTER_DISCOVERY: tuple[filters.Instruction, ...] = (
    (0x30, 0, 0, 6),  # A = next header of IPv6
    (0x15, 0, 4, frames.ICMPV6),
    (0x30, 0, 0, 40),  # A = the type of ICMPv6
    (0x15, 1, 0, frames.ROUTER_SOLICITATION),
    (0x15, 0, 1, frames.ROUTER_ADVERTISEMENT),
    filters.ACCEPT,
    filters.DROP,
)
ARP_REPLIES: tuple[filters.Instruction, ...] = (
    (0x28, 0, 0, 6),  # A = the operation
    (0x15, 0, 1, 2),  # a reply? A LAN has many requests
    filters.ACCEPT,
    filters.DROP,
)


class Link:
    """Watches ``interface``.

    ``met(mac, address)`` is called for each ARP reply. ``answered(interface, server, data)`` is
    called for each packet to a DHCP client; ``data`` is its UDP payload.
    """

    def __init__(
        self,
        interface: Interface,
        met: Callable[[str, IPv4Address], None],
        answered: Callable[[Interface, IPv4Address, bytes], None],
    ) -> None:
        self._interface = interface
        self._met = met
        self._answered = answered
        self._router_heard = False
        self._released: deque[str] = deque(maxlen=MAX_SEATS)
        self._waiting: dict[str, IPv6Address] = {}  # link-local addresses by MAC
        self._mac = b""
        self._sockets: dict[int, socket.socket] = {}

    @property
    def mac(self) -> bytes:
        """The interface's own MAC address; empty before the start."""
        return self._mac

    def start(self) -> None:
        """Open the sockets. Raises OperatorError if this process may not."""
        readers = (
            (ETH_P_ARP, ARP_REPLIES, self._take_arp),
            (ETH_P_IP, DHCP_ANSWERS, self._take_ip),
            (ETH_P_IPV6, ROUTER_DISCOVERY, self._take_ipv6),
        )
        for protocol, program, take in readers:
            self._read(protocol, program, take)
        self._mac = self._sockets[ETH_P_ARP].getsockname()[4]

    def stop(self) -> None:
        """Close the sockets."""
        for protocol in list(self._sockets):
            self._close(protocol)

    def overhear_ourselves(self, *, begins: bool) -> None:
        """Hear also the DHCP servers of this machine, or no longer.

        The kernel copies each outgoing packet for that, so do it for seconds only.
        """
        if begins and ETH_P_ALL not in self._sockets:
            self._read(ETH_P_ALL, OWN_DHCP_ANSWERS, self._take_ip)
        elif not begins and ETH_P_ALL in self._sockets:
            self._close(ETH_P_ALL)

    def probe(self, address: IPv4Address) -> None:
        """Send an ARP probe for ``address``. If a machine has it, ``met`` is called."""
        self._send(ETH_P_ARP, EVERYONE, frames.arp_probe(self._mac, address))

    def release(self, mac: str) -> None:
        """Tell ``mac`` that it need not wait for an IPv6 router.

        Tell it each time that it asks, and at once if it has asked already. Say nothing if a router
        was ever heard on this link.
        """
        if mac not in self._released:
            self._released.append(mac)
        source = self._waiting.pop(mac, None)
        if source is not None:
            self._tell_no_router(mac, source)

    def _open(self, protocol: int, program: Sequence[filters.Instruction]) -> socket.socket:
        name = self._interface.name
        try:
            # Protocol 0 receives nothing. Frames that come before the filter is set would pass it.
            bound = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        except OSError as error:  # no right, or no descriptor
            is_denied = isinstance(error, PermissionError)
            raise OperatorError(
                f"cannot watch {name}: {error.strerror}",
                hint="run the server as root: sudo netboot serve" if is_denied else "",
            ) from error
        try:
            filters.attach(bound, program)
            if protocol != ETH_P_ALL:
                bound.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            if protocol == ETH_P_IPV6:
                address = ALL_ROUTERS.ljust(8, b"\0")
                group = (self._interface.index, PACKET_MR_MULTICAST, len(ALL_ROUTERS), address)
                bound.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, MEMBERSHIP.pack(*group))
            bound.bind((name, protocol))
        except OSError as error:
            bound.close()
            raise OperatorError(f"cannot watch {name}: {error.strerror}") from error
        return bound

    def _read(
        self,
        protocol: int,
        program: Sequence[filters.Instruction],
        take: Callable[[bytes, bytes], None],
    ) -> None:
        bound = self._sockets[protocol] = self._open(protocol, program)
        asyncio.get_running_loop().add_reader(bound, self._readable, bound, take)

    def _close(self, protocol: int) -> None:
        bound = self._sockets.pop(protocol)
        asyncio.get_running_loop().remove_reader(bound)
        bound.close()

    def _readable(self, bound: socket.socket, take: Callable[[bytes, bytes], None]) -> None:
        for _ in range(BATCH):
            try:
                data, source = bound.recvfrom(MAX_FRAME)
            except OSError:  # the queue is empty, or the interface is down
                return
            take(data, source[4])

    def _take_arp(self, data: bytes, _sender: bytes) -> None:
        found = frames.arp_sender(data)
        if found is not None:
            self._met(*found)

    def _take_ip(self, data: bytes, _sender: bytes) -> None:
        found = frames.udp(data)
        if found is not None:
            self._answered(self._interface, IPv4Address(found.sender), found.payload)

    def _take_ipv6(self, data: bytes, sender: bytes) -> None:
        found = frames.router_discovery(data)
        if found is None:
            return
        mac = sender.hex(":")
        if found.is_router:
            self._router_heard = True
        elif mac in self._released:
            self._tell_no_router(mac, found.source)
        elif len(self._waiting) < MAX_SEATS:
            self._waiting[mac] = found.source

    def _tell_no_router(self, mac: str, to: IPv6Address) -> None:
        if not self._router_heard and to.is_link_local:
            data = frames.no_router(self._mac, to)
            self._send(ETH_P_IPV6, bytes.fromhex(mac.replace(":", "")), data)

    def _send(self, protocol: int, mac: bytes, data: bytes) -> None:
        bound = self._sockets.get(protocol)
        if bound is None:
            return  # stopped
        try:
            bound.sendto(data, (self._interface.name, protocol, 0, 0, mac))
        except OSError:
            return  # a full queue or a pulled cable: each question here is asked again
