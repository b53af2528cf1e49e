"""The addresses from which a storm's PCs ask: each has its own, as in a real room.

A server bounds what it holds for one machine (boot/limits.py). PCs that all ask from one address
meet those bounds, and a room does not.
"""

import errno
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, summarize_address_range

from netboot.boot.client import STORM_NETWORK
from netboot.errors import OperatorError
from netboot.profile.fields import AddressRange

LOOPBACK = AddressRange(first=STORM_NETWORK[1], last=STORM_NETWORK[-2])
SHOWN = 3  # addresses of a message


def is_here(address: IPv4Address) -> bool:
    """Return whether ``address`` is on this machine: programs may ask from it."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return False
    return True


def towards(host: IPv4Address, source: str) -> str:
    """Return the address from which a PC with ``source`` asks ``host``; empty: the usual one.

    No packet from a loopback address leaves this machine (Linux: EINVAL), so another server of the
    room is asked from one address by all.
    """
    is_inside = bool(source) and IPv4Address(source).is_loopback
    return "" if is_inside and not is_here(host) else source


def choose(count: int, given: AddressRange | None, server: IPv4Address) -> Sequence[IPv4Address]:
    """Return ``count`` addresses of this machine, or none if the PCs have to share one.

    They are the first ones of the range ``given``. Without one they are of the loopback interface
    if the ``server`` is this machine. Raises OperatorError if the range has fewer, or if they are
    not on this machine.
    """
    if given is None and not is_here(server):
        return ()
    pool = LOOPBACK if given is None else given
    size = int(pool.last) - int(pool.first) + 1
    if size < count:
        raise OperatorError(
            f"--addresses: {count} PCs need {count} addresses, found {size}: "
            f"{pool.first}-{pool.last}",
            hint=f"--addresses {pool.first}-{pool.first + count - 1}",
        )
    found = [pool.first + number for number in range(count)]
    absent = [each for each in found if not is_here(each)]
    if absent:
        some = ", ".join(map(str, absent[:SHOWN])) + (", ..." if len(absent) > SHOWN else "")
        raise OperatorError(
            f"--addresses: {len(absent)} of {count} addresses are not on this machine: {some}",
            hint=_routes(pool),
        )
    return found


def _routes(pool: AddressRange) -> str:
    """Return commands that give this machine the addresses."""
    blocks = list(summarize_address_range(pool.first, pool.last))
    if len(blocks) <= SHOWN:
        return "; ".join(f"ip route add local {block} dev lo" for block in blocks)
    whole = blocks[0]
    while pool.last not in whole:
        whole = whole.supernet()
    return f"ip route add local {whole} dev lo, if no other machine has an address in it"
