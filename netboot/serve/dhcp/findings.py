"""Findings: faults of a LAN that another DHCP server's offer shows and an operator can fix.

Pure. The sender is known by its address. PXE 2.1 and EDK2's PxeBcDhcp4.c say how firmware reacts.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from netboot.serve.dhcp import pxe
from netboot.serve.dhcp.packet import ANY, MessageType, Option, Packet


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of the LAN.

    ``event`` is a short message for the seat's timeline, ``advice`` a line for the operator.
    ``rival`` is True if that server does the same work as ours, so that one of the two must stop.
    """

    event: str
    advice: str
    rival: bool = False


def inspect(packet: Packet, server: IPv4Address, where: str, *, full: bool) -> Finding | None:
    """Return the fault that an offer of ``server`` on the interface ``where`` shows, or None.

    ``full`` is True if we give out addresses there.
    """
    if packet.message_type is not MessageType.DHCPOFFER:
        return None
    to_pxe = pxe.vendor_class(packet) == pxe.PXE_CLIENT
    if packet.yiaddr == ANY:
        if not to_pxe:
            return None
        return Finding(
            f"a second proxyDHCP server, {server}, answers as well",
            f"a second proxyDHCP server, {server}, answers PXE clients on {where}: a PC boots from "
            "the one that it hears first; stop one of the two",
            rival=True,
        )
    if full:
        return Finding(
            f"a second DHCP server, {server}, offers {packet.yiaddr}",
            f"a second DHCP server, {server}, gives out addresses on {where}: stop it, or leave "
            "the addresses to it (dhcp.mode: proxy)",
            rival=True,
        )
    if to_pxe and not _tells_how(packet):
        # DhcpBinl, rank 5 of EDK2's PxeBcSelectDhcp4Offer; ours, ProxyBinl, is rank 6.
        return Finding(
            f"the DHCP server {server} claims to be the boot server (option 60)",
            f"the DHCP server {server} sends option 60 'PXEClient' on {where}: UEFI PCs then ask "
            f"port 4011 of {server} for their boot file, not us, and stop at 'Start PXE over "
            "IPv4'; remove option 60 from its settings",
        )
    return None


def _tells_how(packet: Packet) -> bool:
    """Return True if option 43 has PXE's sub-options 6 to 10: the sender is a PXE server itself."""
    told = pxe.parse_suboptions(packet.options.get(Option.VENDOR_SPECIFIC_INFORMATION, b""))
    return any(pxe.DISCOVERY_CONTROL <= code <= pxe.MENU_PROMPT for code in told)
