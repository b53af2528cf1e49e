"""Changes of the server's interfaces, and their consequences, in words for the operator. Pure."""

from collections.abc import Collection, Iterator, Sequence
from ipaddress import IPv4Address

from netboot.host.interfaces import Choice, Interface, one_of_each


def told(before: Choice, after: Choice, patience_seconds: int) -> Iterator[str]:
    """Yield a line for each interface that changed.

    ``patience_seconds`` is swap.patience: for that time PCs wait for an address that is gone.
    """
    old, new = _by_name(before.interfaces), _by_name(after.interfaces)
    wait = (
        f"PCs that booted from it wait up to {patience_seconds} s for it (swap.patience), and lose "
        "their swap after that"
    )
    moved = _moved(before.interfaces, after.interfaces)
    yield from _of_moves(old, new, moved)
    for name in dict.fromkeys((*old, *new)):
        gone = _without(old.get(name, []), {*moved, *_addresses(new.get(name, []))})
        come = _without(new.get(name, []), {*moved, *_addresses(old.get(name, []))})
        if name in old and name in new:
            yield from _of_addresses(name, gone, come, wait)
            yield from _of_networks(name, old[name], new[name])
            yield from _of_card(name, old[name][0], new[name])
        elif gone:
            why = after.lacking.get(name)
            cause = f": {str(why).partition(';')[0]}" if why is not None else ""
            text = f"{_are(gone)} not served any more{cause}; served again when it is back; {wait}"
            yield f"{name}: {text}"
        elif come:
            yield f"{name}: {_are(come)} served from now on{_unsteady(come)}"


def at_start(interfaces: Sequence[Interface]) -> Iterator[str]:
    """Yield a line for each card without a link, and for each address that may change."""
    for card in one_of_each(interfaces):
        if not card.has_carrier:
            yield _no_link(card.name)
    for interface in interfaces:
        if not interface.lasts:
            yield _lent(interface)


def _of_moves(
    old: dict[str, list[Interface]],
    new: dict[str, list[Interface]],
    moved: Collection[IPv4Address],
) -> Iterator[str]:
    """Yield the addresses that another card has now: a bridge was made, or a card got a new name."""
    for name, cards in new.items():
        for was, before in old.items():
            same = set(_addresses(before)) & set(moved) if was != name else set()
            here = [each for each in cards if each.address in same]
            if not here:
                continue
            is_renamed = here[0].index == before[0].index
            how = f"the new name of {was}" if is_renamed else f"the card instead of {was}"
            yield f"{name}: {how}: {_are(here)} served on, and PCs lose nothing"


def _of_addresses(
    name: str, gone: Sequence[Interface], come: Sequence[Interface], wait: str
) -> Iterator[str]:
    if gone and come:
        text = f"the address is {_words(come)} now, no longer {_words(gone)}: {wait}"
        yield f"{name}: {text}"
    elif gone:
        yield f"{name}: {_are(gone)} no longer an address of it: {wait}"
    elif come:
        text = f"{_are(come)} served as well from now on{_unsteady(come)}"
        yield f"{name}: {text}"


def _of_networks(name: str, old: Sequence[Interface], new: Sequence[Interface]) -> Iterator[str]:
    """Yield the addresses that stay, with another network or another end."""
    before = {each.address: each for each in old}
    for now in new:
        was = before.get(now.address, now)
        if now.network != was.network:
            text = f"the network of {now.address} is {now.network} now, no longer {was.network}"
            yield f"{name}: {text}: its PCs are served"
        if was.lasts and not now.lasts:
            yield _lent(now)
        elif now.lasts and not was.lasts:
            yield f"{name}: {now.address} is a fixed address now"


def _of_card(name: str, was: Interface, new: Sequence[Interface]) -> Iterator[str]:
    now = new[0]
    if now.index != was.index:
        text = f"the card was removed and made again: served again, at {_words(new)}"
        yield f"{name}: {text}"
    elif now.mac != was.mac:
        text = f"the MAC address is {now.mac.hex(':')} now: told to the PCs (ARP)"
        yield f"{name}: {text}"
    if now.mtu != was.mtu:
        text = f"the MTU is {now.mtu} now, no longer {was.mtu}: new TFTP transfers fit into it"
        yield f"{name}: {text}"
    if was.has_carrier and not now.has_carrier:
        yield _no_link(name)
    elif now.has_carrier and not was.has_carrier:
        yield f"{name}: the link is back"


def _no_link(name: str) -> str:
    return f"{name}: no link: is the cable plugged in, and the switch on? PCs there wait"


def _lent(interface: Interface) -> str:
    return (
        f"{interface.name}: {interface.address} was lent to this server, as DHCP does, and may "
        "change: PCs with swap then lose it; give the server a fixed address, or reserve this one "
        "in the router"
    )


def _moved(before: Sequence[Interface], after: Sequence[Interface]) -> set[IPv4Address]:
    """Return the addresses that only another card than before has."""
    was = {(each.address, each.name) for each in before}
    now = {(each.address, each.name) for each in after}
    return {address for address, _ in was - now} & {address for address, _ in now - was}


def _by_name(interfaces: Sequence[Interface]) -> dict[str, list[Interface]]:
    found: dict[str, list[Interface]] = {}
    for each in interfaces:
        found.setdefault(each.name, []).append(each)
    return found


def _addresses(interfaces: Sequence[Interface]) -> list[IPv4Address]:
    return [each.address for each in interfaces]


def _without(
    interfaces: Sequence[Interface], addresses: Collection[IPv4Address]
) -> list[Interface]:
    return [each for each in interfaces if each.address not in addresses]


def _words(interfaces: Sequence[Interface]) -> str:
    return " and ".join(str(each.address) for each in interfaces)


def _are(interfaces: Sequence[Interface]) -> str:
    return _words(interfaces) + (" is" if len(interfaces) == 1 else " are")


def _unsteady(interfaces: Sequence[Interface]) -> str:
    return "" if all(each.lasts for each in interfaces) else " (it may change: from DHCP?)"
