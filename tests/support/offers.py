"""The choice of firmware between DHCP offers: executable models of EDK2, old and new, and of iPXE.

They follow the sources: EDK2's NetworkPkg/UefiPxeBcDxe/PxeBcDhcp4.c (before and after edk2#6944)
and HttpBootDhcp4.c, iPXE's net/udp/dhcp.c. They read packets by scapy and share no code with ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from scapy.layers.dhcp import BOOTP, DHCP

NOBODY = "0.0.0.0"
PXE_CLIENT, HTTP_CLIENT = b"PXEClient", b"HTTPClient"
DISCOVERY = range(6, 11)  # sub-options of option 43 that make an offer a PXE 1.0 one
PI_3_MENU = b"Raspberry Pi Boot   "
CREDENTIALS = 12  # the sub-option of WfM 1.1a


@dataclass(frozen=True)
class Offer:
    """An offer or acknowledgement as firmware reads it, ``seconds`` after the first offer."""

    data: bytes
    source: str = NOBODY
    port: int = 67
    seconds: float = 0.0

    @property
    def header(self) -> BOOTP:
        return BOOTP(self.data)

    def option(self, name: str) -> bytes | None:
        for option in self.header[DHCP].options:
            if isinstance(option, tuple) and option[0] == name:
                value = option[1]
                return value if isinstance(value, bytes) else str(value).encode()
        return None

    @property
    def is_proxy(self) -> bool:
        return str(self.header.yiaddr) == NOBODY

    @property
    def is_pxe(self) -> bool:
        return (self.option("vendor_class_id") or b"").startswith(PXE_CLIENT)

    @property
    def sub_options(self) -> set[int]:
        data, found, at = self.option("vendor_specific") or b"", set(), 0
        while at + 1 < len(data) and data[at] != 255:
            found.add(data[at])
            at += 2 + data[at + 1]
        return found

    @property
    def file(self) -> str:
        """The boot file: option 67, else the header's field."""
        named = self.option("boot-file-name") or bytes(self.header.file)
        return named.partition(b"\0")[0].decode()

    @property
    def next_server(self) -> str:
        return str(self.header.siaddr)

    @property
    def server_id(self) -> str:
        return (self.option("server_id") or NOBODY.encode()).decode()


@dataclass(frozen=True)
class Boot:
    """The file that the firmware fetches, and its server."""

    server: str
    file: str


@dataclass(frozen=True)
class Ask:
    """The server that the firmware asks on port 4011."""

    server: str


Choice = Boot | Ask | None
"""None: the firmware boots nothing, mostly without a message."""


class Kind(Enum):
    """PxeBcImpl.h: PXEBC_OFFER_TYPE without BOOTP."""

    DHCP_ONLY = "DhcpOnly"
    DHCP_PXE10 = "DhcpPxe10"
    DHCP_WFM = "DhcpWfm11a"
    DHCP_BINL = "DhcpBinl"
    PROXY_PXE10 = "ProxyPxe10"
    PROXY_WFM = "ProxyWfm11a"
    PROXY_BINL = "ProxyBinl"


def kind_of(offer: Offer) -> Kind | None:
    """Return the kind of an offer (PxeBcParseDhcp4Packet), or None if EDK2 drops it."""
    if not offer.is_pxe:
        return None if offer.is_proxy else Kind.DHCP_ONLY
    if offer.sub_options & set(DISCOVERY):
        return Kind.PROXY_PXE10 if offer.is_proxy else Kind.DHCP_PXE10
    if CREDENTIALS in offer.sub_options:
        return Kind.PROXY_WFM if offer.is_proxy else Kind.DHCP_WFM
    return Kind.PROXY_BINL if offer.is_proxy else Kind.DHCP_BINL


def pi_3(offers: Sequence[Offer]) -> Choice:
    """Choose as the boot ROM of a Pi 3: the server is the one with the menu in option 43.

    The ROM ignores siaddr and option 66 (raspberrypi/firmware#801, #1265), and its file has one
    name.
    """
    if not any(not offer.is_proxy for offer in offers):
        return None  # no address
    for offer in offers:
        if PI_3_MENU in (offer.option("vendor_specific") or b""):
            return Boot(offer.source, "bootcode.bin")
    return None


def pi_4(offers: Sequence[Offer]) -> Choice:
    """Choose as the EEPROM of a Pi 4: option 66 names the server of its files.

    Without that option it is the server identifier of an offer with the menu in option 43, which
    may lack the spaces (nobodd's documentation, "Netboot on the Pi").
    """
    if not any(not offer.is_proxy for offer in offers):
        return None
    for offer in offers:
        if offer.option("tftp_server_name"):
            named = offer.option("tftp_server_name") or b""
            return Boot(named.rstrip(b"\0").decode(), "bootcode.bin")
    for offer in offers:
        if PI_3_MENU.rstrip() in (offer.option("vendor_specific") or b""):
            return Boot(offer.server_id, "bootcode.bin")
    return None


def _edk2(offers: Sequence[Offer], keeps_proxy: Callable[[int], bool]) -> Choice:
    """Choose by PxeBcCacheDhcp4Offer, PxeBcSelectDhcp4Offer and PxeBcHandleDhcp4Offer.

    ``keeps_proxy(count)`` is True if EDK2 keeps a PXE 1.0 proxy's offer beside ``count`` others.
    """
    cache: dict[Kind, list[Offer]] = {kind: [] for kind in Kind}
    for offer in offers:
        kind = kind_of(offer)
        if kind is None:
            continue
        if kind in (Kind.PROXY_PXE10, Kind.PROXY_WFM) and not keeps_proxy(len(cache[kind])):
            continue
        cache[kind].append(offer)
    plain = cache[Kind.DHCP_ONLY]
    for kind in (Kind.DHCP_PXE10, Kind.DHCP_WFM):
        if cache[kind]:
            return _named(cache[kind][0])
    for kind in (Kind.PROXY_PXE10, Kind.PROXY_WFM):
        if plain and cache[kind]:
            return _named(cache[kind][0])
    if cache[Kind.DHCP_BINL]:
        return _boot_server(cache[Kind.DHCP_BINL][0])
    if plain and cache[Kind.PROXY_BINL]:
        return _boot_server(cache[Kind.PROXY_BINL][0])
    return next((_named(offer) for offer in plain if offer.file), None)


def _named(offer: Offer) -> Choice:
    server = offer.server_id if offer.next_server == NOBODY else offer.next_server
    return Boot(server, offer.file) if offer.file else None


def _boot_server(offer: Offer) -> Choice:
    """Return the server to ask (PxeBcRetryBinlOffer): siaddr, or option 54 if siaddr is zero."""
    return Ask(offer.server_id if offer.next_server == NOBODY else offer.next_server)


def old_edk2(offers: Sequence[Offer]) -> Choice:
    """Choose as EDK2 before 2017: it keeps a PXE 1.0 proxy's offer only beside another: never."""
    return _edk2(offers, lambda count: count > 0)


def new_edk2(offers: Sequence[Offer]) -> Choice:
    """Choose as EDK2 since 2017: it keeps the first PXE 1.0 proxy's offer."""
    return _edk2(offers, lambda count: count < 1)


PROXY_WAIT_SECONDS = 2  # iPXE's config/dhcp.h, after the first offer of an address
NO_PXEDHCP = bytes.fromhex("b00101")


def ipxe(offers: Sequence[Offer]) -> Choice:
    """Choose as iPXE (dhcp_discovery_rx, dhcp_request_rx): a proxy's file wins if it is in time."""
    addressed = [offer for offer in offers if not offer.is_proxy]
    if not addressed:
        return None
    first = addressed[0]
    if NO_PXEDHCP in _encapsulated(first):
        return _ipxe_file(first)
    proxies = [
        offer
        for offer in offers
        if (offer.option("vendor_class_id") or b"") == PXE_CLIENT
        and offer.seconds <= PROXY_WAIT_SECONDS
        and _pseudo_id(offer) != NOBODY
    ]
    if not proxies:
        return _ipxe_file(first)
    proxy = proxies[0]
    complete = proxy.next_server != NOBODY and proxy.file
    return _ipxe_file(proxy) if complete else Ask(_pseudo_id(proxy))


def _encapsulated(offer: Offer) -> bytes:
    for option in offer.header[DHCP].options:
        if isinstance(option, tuple) and option[0] == 175:
            return bytes(option[1])
    return b""


def _ipxe_file(offer: Offer) -> Choice:
    return Boot(offer.next_server, offer.file) if offer.file else None


def _pseudo_id(offer: Offer) -> str:
    candidates = (offer.server_id, offer.next_server, offer.source)
    return next((address for address in candidates if address != NOBODY), NOBODY)


def pxe_rom(offers: Sequence[Offer]) -> Choice:
    """Choose as a BIOS boot ROM (PXE 2.1 section 2.2.4): a proxy's offer wins.

    Bit 3 of discovery control makes the ROM load the file of that offer. Without that bit it looks
    for boot servers and finds none.
    """
    if all(offer.is_proxy for offer in offers):
        return None
    for offer in offers:
        if offer.is_proxy and offer.is_pxe:
            skips = b"\x06\x01\x08" in (offer.option("vendor_specific") or b"")
            return _named(offer) if skips else Ask(_pseudo_id(offer))
    return next((_named(offer) for offer in offers if offer.file), None)


def edk2_http(offers: Sequence[Offer]) -> Choice:
    """Choose as HttpBootDhcp4.c: the URI of an offer with HTTPClient in option 60.

    Another offer, or this one, must give an address.
    """
    if all(offer.is_proxy for offer in offers):
        return None
    for offer in offers:
        by_http = (offer.option("vendor_class_id") or b"").startswith(HTTP_CLIENT)
        if by_http and offer.file.startswith("http://"):
            return Boot(offer.file.split("/")[2].partition(":")[0], offer.file)
    return None


def acknowledged(asked: Ask, answer: Offer) -> Choice:
    """Return the file of an answer on port 4011.

    Both EDK2 and iPXE accept it only from that port of the server that they asked.
    """
    if answer.port != 4011 or answer.source != asked.server or not answer.file:
        return None
    return Boot(answer.next_server, answer.file)
