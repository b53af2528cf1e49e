"""Changes of the server's interfaces, and their consequences, in words for the operator. Pure."""

from collections.abc import Iterator, Sequence

from netboot.host.interfaces import Choice, Interface


def told(before: Choice, after: Choice, patience_seconds: int) -> Iterator[str]:
    """Yield a line for each interface that changed.

    ``patience_seconds`` is swap.patience: for that time PCs wait for an address that is gone.
    """
    old, new = _by_name(before.interfaces), _by_name(after.interfaces)
    wait = (
        f"PCs that booted from it wait up to {patience_seconds} s for it (swap.patience), and lose "
        "their swap after that"
    )
    for name in dict.fromkeys((*old, *new)):
        if name not in new:
            gone = _words(old[name])
            why = after.lacking.get(name)
            cause = f": {str(why).partition(';')[0]}" if why is not None else ""
            yield f"{name}: {gone} is not served any more{cause}; served again when it is back; {wait}"
        elif name not in old:
            yield f"{name}: {_words(new[name])} is served from now on{_unsteady(new[name])}"
        else:
            yield from _of_one(name, old[name], new[name], wait)


def unsteady(interfaces: Sequence[Interface]) -> Iterator[str]:
    """Yield a line for each address that may change, as one from DHCP may."""
    for interface in interfaces:
        if not interface.lasts:
            yield (
                f"{interface.name}: {interface.address} was lent to this server, as DHCP does, and "
                "may change: PCs with swap then lose it; give the server a fixed address, or "
                "reserve this one in the router"
            )


def _of_one(
    name: str, old: Sequence[Interface], new: Sequence[Interface], wait: str
) -> Iterator[str]:
    gone = [each for each in old if each.address not in {one.address for one in new}]
    come = [each for each in new if each.address not in {one.address for one in old}]
    if gone and come:
        yield f"{name}: the address is {_words(come)} now, no longer {_words(gone)}: {wait}"
    elif gone:
        yield f"{name}: {_words(gone)} is no longer an address of it: {wait}"
    elif come:
        yield f"{name}: {_words(come)} is served as well from now on{_unsteady(come)}"
    was, now = old[0], new[0]
    if now.index != was.index:
        yield f"{name}: the card was removed and made again: served again, at {_words(new)}"
    elif now.mac != was.mac:
        yield f"{name}: the MAC address is {now.mac.hex(':')} now: told to the PCs (ARP)"
    if now.mtu != was.mtu:
        yield f"{name}: the MTU is {now.mtu} now, no longer {was.mtu}: new TFTP transfers fit into it"
    if was.has_carrier and not now.has_carrier:
        yield f"{name}: no link: is the cable plugged in, and the switch on? PCs there wait"
    elif now.has_carrier and not was.has_carrier:
        yield f"{name}: the link is back"


def _by_name(interfaces: Sequence[Interface]) -> dict[str, list[Interface]]:
    found: dict[str, list[Interface]] = {}
    for each in interfaces:
        found.setdefault(each.name, []).append(each)
    return found


def _words(interfaces: Sequence[Interface]) -> str:
    return " and ".join(str(each.address) for each in interfaces)


def _unsteady(interfaces: Sequence[Interface]) -> str:
    return "" if all(each.lasts for each in interfaces) else " (it may change: from DHCP?)"
