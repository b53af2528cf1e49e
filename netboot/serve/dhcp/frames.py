"""Frames on a link beside our UDP ports, as bytes: ARP, others' DHCP, IPv6 router discovery.

Pure. RFC 826 and 5227 (ARP), RFC 791 and 768 (IPv4, UDP), RFC 4861 and 4443 (router discovery).
All begin after the Ethernet header.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

ARP = struct.Struct("!HHBBH 6s4s 6s4s")
ARP_ETHERNET, ARP_IPV4, ARP_REQUEST = 1, 0x0800, 1
IPV6 = struct.Struct("!IHBB16s16s")
ICMPV6, HOP_LIMIT = 58, 255  # RFC 4861 section 6.1: so it cannot come from beyond this link
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
UDP = struct.Struct("!HHHH")  # source port, target port, length, checksum
UDP_BYTES, UDP_PROTOCOL = UDP.size, 17


@dataclass(frozen=True, slots=True)
class Solicitation:
    """A packet of router discovery: a solicitation, or, if ``is_router``, an advertisement."""

    source: IPv6Address
    is_router: bool


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram of UDP: the sender's IPv4 address, both ports, the payload."""

    sender: bytes
    source: int
    target: int
    payload: bytes


def arp_probe(mac: bytes, address: IPv4Address) -> bytes:
    """Return an ARP probe for ``address``. Its sender has address 0, so that no cache changes.

    RFC 5227 section 2.1.1.
    """
    head = (ARP_ETHERNET, ARP_IPV4, 6, 4, ARP_REQUEST)
    return ARP.pack(*head, mac, bytes(4), bytes(6), address.packed)


def arp_sender(data: bytes) -> tuple[str, IPv4Address] | None:
    """Return MAC and IPv4 address of an ARP packet's sender, or None for any other packet."""
    if len(data) < ARP.size:
        return None
    hardware, protocol, hlen, plen, _kind, mac, address, *_ = ARP.unpack_from(data)
    if (hardware, protocol, hlen, plen) != (ARP_ETHERNET, ARP_IPV4, 6, 4):
        return None
    return mac.hex(":"), IPv4Address(address)


def arp_announcement(mac: bytes, address: IPv4Address) -> bytes:
    """Return an ARP announcement: the machine ``mac`` has ``address``. RFC 5227 section 2.3."""
    head = (ARP_ETHERNET, ARP_IPV4, 6, 4, ARP_REQUEST)
    return ARP.pack(*head, mac, address.packed, bytes(6), address.packed)


def udp(data: bytes) -> Datagram | None:
    """Return the datagram of UDP over IPv4, or None if it is cut off.

    Its checksum is not looked at: between two machines on one host no card has filled it in.
    """
    begin = 4 * (data[0] & 15) if data else 0
    if begin < 20 or len(data) < begin + UDP_BYTES:
        return None
    source, target, length, _ = UDP.unpack_from(data, begin)
    return Datagram(data[12:16], source, target, data[begin + UDP_BYTES : begin + length])


def udp_datagram(
    payload: bytes, source: tuple[IPv4Address, int], target: tuple[IPv4Address, int]
) -> bytes:
    """Return UDP's header with its checksum, and ``payload``, from one address and port to another.

    The IP header is the kernel's.
    """
    length = UDP_BYTES + len(payload)
    pseudo = (
        source[0].packed + target[0].packed + bytes((0, UDP_PROTOCOL)) + length.to_bytes(2, "big")
    )
    head = UDP.pack(source[1], target[1], length, 0)
    # RFC 1071's sum is the number modulo 0xFFFF, and its complement is never 0, which means none.
    added = int.from_bytes(pseudo + head + payload + bytes(len(payload) % 2), "big") % 0xFFFF
    return UDP.pack(source[1], target[1], length, 0xFFFF - added) + payload


def router_discovery(data: bytes) -> Solicitation | None:
    """Return the sender of a router solicitation or advertisement, or None for any other packet."""
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
    """Return a router advertisement to one host: no default router, no prefix, no DHCPv6.

    It has router lifetime 0 (RFC 4861 section 4.2) and no option, so the host has nothing to
    configure or to wait for. Our link-local address is made from ``mac``, which is ours (RFC 4291
    appendix A).
    """
    eui64 = bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:6]
    source, target = b"\xfe\x80" + bytes(6) + eui64, to.packed
    body = bytearray(struct.pack("!BBH BBH II", ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0))
    pseudo = source + target + struct.pack("!IHBB", len(body), 0, 0, ICMPV6)
    body[2:4] = _checksum(pseudo + body).to_bytes(2, "big")
    return IPV6.pack(6 << 28, len(body), ICMPV6, HOP_LIMIT, source, target) + body


def _checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071; ``data`` has an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
