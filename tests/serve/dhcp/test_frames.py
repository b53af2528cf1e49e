"""ARP, others' DHCP and router discovery: we read scapy's frames, and scapy reads ours."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6ND_RS, ICMPv6NDOptPrefixInfo, IPv6
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from netboot.serve.dhcp import frames
from netboot.serve.dhcp.frames import Solicitation

MAC = bytes.fromhex("525400123456")


def test_scapy_reads_our_arp_probe() -> None:
    packet = ARP(frames.arp_probe(MAC, IPv4Address("10.0.0.50")))
    assert (packet.op, packet.hwsrc, packet.psrc) == (1, "52:54:00:12:34:56", "0.0.0.0")
    assert (packet.hwdst, packet.pdst) == ("00:00:00:00:00:00", "10.0.0.50")


def test_we_read_who_answers() -> None:
    data = bytes(ARP(op=2, hwsrc="52:54:00:00:00:09", psrc="10.0.0.50"))
    assert frames.arp_sender(data) == ("52:54:00:00:00:09", IPv4Address("10.0.0.50"))
    assert frames.arp_sender(data[:27]) is None
    assert frames.arp_sender(bytes(28)) is None


def test_we_read_what_is_in_udp() -> None:
    options = bytes(IP(src="10.0.0.9", options=b"\x01\x01\x01\x00") / UDP() / Raw(b"hello"))
    found = frames.udp(options + b"padding")
    assert found is not None and found.sender == IPv4Address("10.0.0.9").packed
    assert found.payload == b"hello"


def test_router_discovery_is_told_from_the_rest() -> None:
    asks = IPv6(src="fe80::1", dst="ff02::2", hlim=255) / ICMPv6ND_RS()
    tells = IPv6(src="fe80::2", dst="ff02::1", hlim=255) / ICMPv6ND_RA() / ICMPv6NDOptPrefixInfo()
    assert frames.router_discovery(bytes(asks)) == Solicitation(IPv6Address("fe80::1"), False)
    assert frames.router_discovery(bytes(tells)) == Solicitation(IPv6Address("fe80::2"), True)
    from_afar = IPv6(src="fe80::1", dst="ff02::2", hlim=254) / ICMPv6ND_RS()
    assert frames.router_discovery(bytes(from_afar)) is None
    assert frames.router_discovery(bytes(IPv6() / UDP() / Raw(b"12345678"))) is None


def test_our_advertisement_configures_nothing() -> None:
    """No default router, no prefix, no DHCPv6: nothing that a host would use."""
    data = frames.no_router(MAC, IPv6Address("fe80::1"))
    packet = IPv6(data)
    assert (packet.src, packet.dst, packet.hlim) == ("fe80::5054:ff:fe12:3456", "fe80::1", 255)
    advertisement = packet[ICMPv6ND_RA]
    assert (advertisement.routerlifetime, advertisement.M, advertisement.O) == (0, 0, 0)
    assert bytes(advertisement.payload) == b""
    checksum = advertisement.cksum
    del advertisement.cksum
    assert IPv6(bytes(packet))[ICMPv6ND_RA].cksum == checksum


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_nothing(data: bytes) -> None:
    frames.arp_sender(data)
    frames.udp(data)
    frames.router_discovery(data)
