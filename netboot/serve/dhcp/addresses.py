"""The address of ours that answers a packet, if its card has several. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from netboot.host.interfaces import Interface
from netboot.serve.dhcp.packet import ANY, Option, Packet
from netboot.serve.dhcp.scope import Scope


@dataclass(frozen=True, slots=True)
class Route:
    """The way of a packet: the sender's address, and the destination in its header.

    ``lent`` is the last address that the LAN's own DHCP server gave on that card, None if unknown.
    """

    source: IPv4Address
    to: IPv4Address
    lent: IPv4Address | None = None


def choose(
    packet: Packet, owner: str, route: Route, own: Sequence[Interface], scopes: Sequence[Scope]
) -> Interface:
    """Return the one of a card's addresses ``own`` that answers ``packet`` of ``owner``.

    All fields of the answer name this address, and its network is the PC's. The PC's or relay's
    choice comes first, then the network in which it is, then the network that gives it an address.
    """
    if len(own) == 1:
        return own[0]
    for address in (packet.address(Option.SERVER_IDENTIFIER), route.to):
        for each in own:
            if each.address == address:
                return each
    last = packet.address(Option.REQUESTED_IP_ADDRESS) or ANY
    lent = [] if route.lent is None else [route.lent]
    # A program of this machine, such as the doctor, asks from our first address.
    given = [*_networks(owner, own, scopes), route.source] if scopes else [route.source, *lent]
    for near in (packet.giaddr, packet.ciaddr, *given, last):
        for each in own:
            if near != ANY and near in each.network:
                return each
    return own[0]


def _networks(
    owner: str, own: Sequence[Interface], scopes: Sequence[Scope]
) -> Sequence[IPv4Address]:
    """Return our addresses in networks of full mode: first where ``owner`` has an address."""
    found = [
        (scope.pool.address_of(owner) is None and not scope.pool.reserves(owner), number, each)
        for number, scope in enumerate(scopes)
        for each in own
        if each.address in scope.network
    ]
    return [each.address for *_, each in sorted(found, key=lambda row: row[:2])]
