"""Relays: the sub-options of option 82 that change the answer to a PC. Pure."""

from ipaddress import IPv4Address

from netboot.serve.dhcp.packet import ANY, Option, Packet

LINK_SELECTION = 5  # RFC 3527: the PC's network, if the relay's address is in another one
SERVER_OVERRIDE = 11  # RFC 5107: the server that the PC is to know: it renews past the relay


def server_override(packet: Packet) -> IPv4Address | None:
    """Return the address that option 54 must have, or None if no relay asks for one."""
    return _address(packet, SERVER_OVERRIDE)


def network_of(packet: Packet) -> IPv4Address:
    """Return an address of the relayed PC's network; 0.0.0.0 if no relay is on the way."""
    if not packet.relayed:
        return ANY
    return _address(packet, LINK_SELECTION) or packet.giaddr


def _address(packet: Packet, wanted: int) -> IPv4Address | None:
    """Return the address in a sub-option. Unlike options, these have no padding and no end."""
    data = packet.options.get(Option.RELAY_AGENT_INFORMATION, b"")
    at = 0
    while at + 1 < len(data):
        code, value = data[at], data[at + 2 : at + 2 + data[at + 1]]
        if code == wanted and len(value) == 4 and any(value):
            return IPv4Address(value)
        at += 2 + data[at + 1]
    return None
