"""Refusal: the words for a PC that gets no answer: which PC, and what its screen shows. Pure.

The codes are of the PXE specification 2.1, of EDK2 and of iPXE (docs/troubleshooting.md).
"""

from ipaddress import IPv4Address

from netboot.serve.dhcp import pxe
from netboot.serve.dhcp.answer import BOOT_SERVER_PORT
from netboot.serve.dhcp.packet import ANY, HEADER, Packet

BIOS_SHOWS = {
    "proxy": "PXE-E53: No boot filename received",
    "full": "PXE-E51: No DHCP or proxyDHCP offers were received",
    "4011": "PXE-E55: proxyDHCP service did not reply to request on port 4011",
}
IPXE_SHOWS = {
    "proxy": "Nothing to boot",
    "full": "No configuration methods succeeded",
    "4011": "Nothing to boot",
}
UEFI_SHOWS = "PXE-E16: No valid offer received"
UEFI_SHOWS_4011 = "PXE-E18: Server response timeout"
HTTP_SHOWS = "no error, and goes on to its next boot entry"


def screen(packet: Packet, port: int, mode: str) -> str:
    """Return what the PC shows if this packet is not answered; empty if it does not boot.

    ``mode`` is dhcp.mode: in proxy mode the PC has an address of another server.
    """
    vendor_class = pxe.vendor_class(packet)
    if vendor_class is None:
        return ""
    if vendor_class == pxe.HTTP_CLIENT:
        return HTTP_SHOWS
    where = "4011" if port == BOOT_SERVER_PORT else mode
    if pxe.is_ipxe(packet):
        return IPXE_SHOWS[where]
    if set(pxe.architectures(packet)) <= {0}:
        return BIOS_SHOWS[where]
    return UEFI_SHOWS_4011 if where == "4011" else UEFI_SHOWS


def sender(packet: Packet, source: IPv4Address) -> str:
    """Return the names of the PC that asks: its MAC address, and where it is."""
    address = packet.ciaddr if packet.ciaddr != ANY else source
    if packet.giaddr != ANY:
        where = f"behind the relay {packet.giaddr}"
    elif address != ANY:
        where = f"at {address}"
    else:
        where = "without an address"
    return f"{packet.mac or 'chaddr ' + packet.chaddr.hex()} {where}"


def mac_in(data: bytes) -> str:
    """Return the MAC address in the header of a message that cannot be parsed, empty if none."""
    address = data[28:34] if len(data) >= HEADER.size else b""
    return address.hex(":") if any(address) else ""
