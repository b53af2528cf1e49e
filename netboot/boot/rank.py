"""Rank: the place of this machine among the servers of ``boot.servers``. Pure."""

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address

from netboot.errors import OperatorError


def superior(servers: Sequence[IPv4Address], own: Collection[IPv4Address]) -> IPv4Address | None:
    """Return the boot server to which this machine, with the addresses ``own``, leaves the PCs.

    Return None if there is none: this machine is the first one, or the only one.
    """
    return servers[0] if servers and servers[0] not in own else None


def check(servers: Sequence[IPv4Address], own: Collection[IPv4Address]) -> None:
    """Raise OperatorError if this machine, with the addresses ``own``, is none of ``servers``."""
    if not servers or set(servers) & set(own):
        return
    found = " and ".join(map(str, sorted(own))) or "none"
    raise OperatorError(
        f"key 'boot.servers': {' and '.join(map(str, servers))} are the boot servers, and this "
        f"machine is neither: its addresses on the served interfaces: {found}",
        hint="correct the key, or name the interface with that address",
    )


def with_other(server: IPv4Address, servers: Sequence[IPv4Address]) -> tuple[IPv4Address, ...]:
    """Return the boot server ``server``, and the other one of ``servers`` if there is one.

    A PC behind another address of ours has one server: it may have no way to the other one.
    """
    return (
        (server, *(each for each in servers if each != server)) if server in servers else (server,)
    )
