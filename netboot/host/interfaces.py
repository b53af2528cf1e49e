"""The server's own network interfaces: names, indexes, IPv4 addresses."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from netboot.errors import OperatorError
from netboot.host import netlink
from netboot.host.netlink import IFF_BROADCAST, IFF_LOOPBACK, IFF_LOWER_UP, IFF_UP, Card

AUTO = "auto"
ETHERNET_MTU = 1500


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface that serves clients: one of its IPv4 addresses, and that one's network.

    An interface with several addresses is as many of these. ``mtu`` is in bytes; ``mac`` may be
    empty. ``has_carrier`` is False if no cable is plugged in. ``lasts`` is False for an address that
    has an end, as one from DHCP has.
    """

    name: str
    index: int
    address: IPv4Address
    network: IPv4Network
    mtu: int = ETHERNET_MTU
    mac: bytes = b""
    has_carrier: bool = True
    lasts: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """The interfaces that can serve, and by name the errors of those that cannot."""

    interfaces: tuple[Interface, ...]
    lacking: Mapping[str, OperatorError] = field(default_factory=dict)


def find(*names: str) -> list[Interface]:
    """Return the interfaces called ``names``, one for each of their IPv4 addresses.

    ``auto`` stands for all interfaces that are up, can broadcast and have an IPv4 address. Raises
    OperatorError if there is none; if a name is unknown, the message gives the nearest one.
    """
    found = look(*names)
    for error in found.lacking.values():
        raise error
    return list(found.interfaces)


def look(*names: str) -> Choice:
    """Return the interfaces called ``names`` that can serve now. Raises no error for the others."""
    return choose(names, netlink.cards())


def find_one(name: str) -> Interface:
    """Return the first address of the interface called ``name``; for ``auto`` of the only one.

    Raises OperatorError.
    """
    found = one_of_each(find(name))
    if len(found) > 1:
        names = ", ".join(interface.name for interface in found)
        raise OperatorError(
            f"there are several network interfaces: {names}",
            hint=f"name one: --interface {found[0].name}",
        )
    return found[0]


def one_of_each(
    interfaces: Iterable[Interface], wanted: IPv4Address | None = None
) -> list[Interface]:
    """Return each interface once: with its address in the network of ``wanted``, or its first."""
    chosen: dict[int, Interface] = {}
    for interface in interfaces:
        first = chosen.setdefault(interface.index, interface)
        if wanted and wanted in interface.network and wanted not in first.network:
            chosen[interface.index] = interface
    return list(chosen.values())


def named_networks(interfaces: Sequence[Interface]) -> dict[str, IPv4Network]:
    """Return the networks of ``interfaces`` by name and, if one has several, by address too."""
    firsts = {each.address for each in one_of_each(interfaces)}
    return {
        each.name if each.address in firsts else f"{each.name} ({each.address})": each.network
        for each in interfaces
    }


def choose(names: Sequence[str], cards: Sequence[Card]) -> Choice:
    """Return the interfaces of ``cards`` that ``names`` stand for. Pure; see ``find``."""
    if AUTO in names:
        up = [card for card in cards if _is_usual(card)]
        found = tuple(each for card in up for each in _interfaces(card))
        return Choice(found, {} if found else {AUTO: _none_is_up()})
    by_name = {card.name: card for card in cards}
    interfaces: list[Interface] = []
    lacking: dict[str, OperatorError] = {}
    for name in dict.fromkeys(names):
        error = _error(name, by_name)
        if error is None:
            interfaces += _interfaces(by_name[name])
        else:
            lacking[name] = error
    return Choice(tuple(interfaces), lacking)


def _is_usual(card: Card) -> bool:
    wanted = IFF_UP | IFF_BROADCAST
    return card.flags & (wanted | IFF_LOOPBACK) == wanted


def _none_is_up() -> OperatorError:
    return OperatorError(
        "no network interface is up with an IPv4 address",
        hint="give one an address: ip addr add 10.0.0.1/24 dev NAME",
    )


def _error(name: str, cards: dict[str, Card]) -> OperatorError | None:
    """Return the reason why the interface ``name`` cannot serve; None if it can."""
    card = cards.get(name)
    if card is None:
        nearest = difflib.get_close_matches(name, cards, n=1, cutoff=0)
        return OperatorError(
            f"there is no network interface {name!r}; did you mean {nearest[0]!r}?",
            hint=f"the interfaces are {', '.join(cards)}",
        )
    if not card.flags & IFF_UP:
        return OperatorError(
            f"network interface '{name}' is down", hint=f"ip link set dev {name} up"
        )
    if not card.addresses:
        return OperatorError(
            f"network interface '{name}' has no IPv4 address",
            hint=f"ip addr add 10.0.0.1/24 dev {name}",
        )
    return None


def _interfaces(card: Card) -> list[Interface]:
    carrier = bool(card.flags & IFF_LOWER_UP)
    return [
        Interface(
            name=card.name,
            index=card.index,
            address=each.interface.ip,
            network=each.interface.network,
            mtu=card.mtu,
            mac=card.mac,
            has_carrier=carrier,
            lasts=each.lasts,
        )
        for each in card.addresses
    ]
