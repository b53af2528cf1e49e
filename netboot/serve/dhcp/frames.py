"""What goes over a link beside our UDP ports, as bytes: ARP, others' DHCP, IPv6 router discovery.

Pure. RFC 826 and 5227 (ARP), RFC 791 and 768 (IPv4, UDP), RFC 4861 and 4443 (router discovery).
All begin behind the Ethernet header.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

ARP = struct.Struct("!HHBBH 6s4s 6s4s")
ARP_ETHERNET, ARP_IPV4, ARP_REQUEST = 1, 0x0800, 1
IPV6 = struct.Struct("!IHBB16s16s")
ICMPV6, HOP_LIMIT = 58, 255  # RFC 4861 section 6.1: nobody further away can have sent it
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
UDP_BYTES = 8


@dataclass(frozen=True, slots=True)
class Solicitation:
    """Router discovery heard: a router solicits nothing, it advertises itself."""

    source: IPv6Address
    is_router: bool


def arp_probe(mac: bytes, address: IPv4Address) -> bytes:
    """Asks who has ``address``, as one who has none (RFC 5227 section 2.1.1): no cache changes."""
    head = (ARP_ETHERNET, ARP_IPV4, 6, 4, ARP_REQUEST)
    return ARP.pack(*head, mac, bytes(4), bytes(6), address.packed)


def arp_sender(data: bytes) -> tuple[str, IPv4Address] | None:
    """MAC and IPv4 address of an ARP packet's sender; None if it is no such packet."""
    if len(data) < ARP.size:
        return None
    hardware, protocol, hlen, plen, _kind, mac, address, *_ = ARP.unpack_from(data)
    if (hardware, protocol, hlen, plen) != (ARP_ETHERNET, ARP_IPV4, 6, 4):
        return None
    return mac.hex(":"), IPv4Address(address)


def udp_payload(data: bytes) -> tuple[IPv4Address, bytes] | None:
    """Sender's address and payload of an IPv4 packet with UDP in it; None if it is cut off."""
    begin = 4 * (data[0] & 15) if data else 0
    if begin < 20 or len(data) < begin + UDP_BYTES:
        return None
    length = int.from_bytes(data[begin + 4 : begin + 6], "big")
    return IPv4Address(data[12:16]), data[begin + UDP_BYTES : begin + length]


def router_discovery(data: bytes) -> Solicitation | None:
    """Who asks for a router, or is one; None for any other IPv6 packet."""
    if len(data) < IPV6.size + 8:
        return None
    _, _, following, hops, source, _ = IPV6.unpack_from(data)
    kind = data[IPV6.size]
    if (following, hops) != (ICMPV6, HOP_LIMIT):
        return None
    if kind not in (ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT):
        return None
    return Solicitation(IPv6Address(source), kind == ROUTER_ADVERTISEMENT)


def no_router(mac: bytes, to: IPv6Address) -> bytes:
    """A router advertisement to one host that says: no default router here, no prefix, no DHCPv6.

    Router lifetime 0 (RFC 4861 section 4.2) and no option: nothing to configure, nothing to wait
    for. ``mac``: ours, of which our link-local address is made (RFC 4291 appendix A).
    """
    eui64 = bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:6]
    source, target = b"\xfe\x80" + bytes(6) + eui64, to.packed
    body = bytearray(struct.pack("!BBH BBH II", ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0))
    pseudo = source + target + struct.pack("!IHBB", len(body), 0, 0, ICMPV6)
    body[2:4] = _checksum(pseudo + body).to_bytes(2, "big")
    return IPV6.pack(6 << 28, len(body), ICMPV6, HOP_LIMIT, source, target) + body


def _checksum(data: bytes) -> int:
    """RFC 1071; ``data`` has an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
