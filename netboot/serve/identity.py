"""Identity: the MAC address of the PC that asks from an IPv4 address.

On our links the kernel knows it (its neighbour table). Behind a router the kernel knows the router
only; there a PC is known by what our own DHCP answers said, and only in networks of the profile
(``dhcp.networks``). If another server answers DHCP (``dhcp.mode: none``), a PC there is known by the
address that the profile gives it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol, TypeVar

from netboot.boot import limits
from netboot.profile.profile import Profile
from netboot.serve.dhcp.answer import Reply
from netboot.serve.dhcp.packet import ANY, MessageType

K = TypeVar("K")
V = TypeVar("V")

# From the offer through a relay to the script: PXE's retries (PXE 2.1, 60 s) and a loader or two.
RELAYED_SECONDS = 600.0


class Links(Protocol):
    """The kernel's knowledge of the machines on our links (netboot.host.neighbours)."""

    def mac_of(self, address: IPv4Address) -> str | None:
        """Return the MAC address that the kernel knows for ``address``, or None."""

    def is_on_link(self, address: IPv4Address) -> bool:
        """Return True if ``address`` is in the network of an interface."""

    def probe(self, address: IPv4Address) -> None:
        """Have the kernel look for ``address``."""


class NoLinks:
    """The links of a server without interfaces, as in a rehearsal: nobody is on them."""

    def mac_of(self, address: IPv4Address) -> str | None:
        """Return None."""
        return None

    def is_on_link(self, address: IPv4Address) -> bool:
        """Return False."""
        return False

    def probe(self, address: IPv4Address) -> None:
        """Do nothing."""


@dataclass(slots=True)
class Identity:
    """The PCs of ``profile`` by address.

    ``now`` is seconds since the epoch, by a clock that nobody sets (netboot.host.clock).
    """

    profile: Profile
    links: Links = field(default_factory=NoLinks)
    now: Callable[[], float] = time.time
    _servers: frozenset[IPv4Address] = field(init=False, repr=False)
    _fixed: dict[IPv4Address, str] = field(default_factory=dict, repr=False)
    _told: dict[IPv4Address, tuple[str, float]] = field(default_factory=dict, repr=False)
    _relayed: dict[tuple[IPv4Network, str], float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._servers = frozenset((*self.profile.boot.servers, *self.profile.swap.servers))
        if self.profile.dhcp.mode == "none":
            clients = self.profile.clients.items()
            self._fixed = {each.address: mac for mac, each in clients if each.address}

    def earliest(self) -> float:
        """Return the time by which sessions end: the earlier one of this clock and the wall clock.

        A session names its end by the wall clock, because another server may read it. So a wall
        clock that jumps ends no boot that is under way.
        """
        return min(self.now(), time.time())

    def mac_of(self, address: IPv4Address) -> str | None:
        """Return the MAC address of the PC at ``address``; None if it is not known."""
        found = self.links.mac_of(address)
        if found is not None or self._network(address) is None:
            return found
        if address in self._fixed and not self.links.is_on_link(address):
            return self._fixed[address]
        mac, until = self._told.get(address, ("", 0.0))
        return mac if self.now() < until else None

    def seat_at(self, address: IPv4Address) -> str | None:
        """Return the MAC address of the PC at ``address``; None if it is not known, or a server's.

        A server of the profile asks too, to look whether another one is healthy.
        """
        return None if address in self._servers else self.mac_of(address)

    def holder_of(self, address: str) -> str:
        """Return the machine that ``address`` counts for: a MAC address if the kernel knows it.

        A PC can have as many addresses as its network has, and limits are for a machine.
        """
        return self.links.mac_of(IPv4Address(address)) or address

    def is_at(self, address: IPv4Address, mac: str) -> bool:
        """Return True if ``mac`` is the PC at ``address``.

        In proxy mode another server gave the address. So the first one in the relay's network that
        asks for ``mac``, after ``mac`` asked through that relay, is taken for it.
        """
        known = self.mac_of(address)
        if known is not None:
            return known == mac
        network = self._network(address)
        if network is None or self.now() >= self._relayed.pop((network, mac), 0.0):
            return False
        self._tell(address, mac, self.profile.dhcp.lease_time)
        return True

    def is_awaited(self, address: IPv4Address) -> bool:
        """Return True if the kernel does not know a machine on our links yet. Have it look.

        A PC that knew our MAC address from before may ask without an ARP request.
        """
        if self.links.mac_of(address) is not None or not self.links.is_on_link(address):
            return False
        self.links.probe(address)
        return True

    def answered(self, reply: Reply) -> None:
        """Note what a DHCP answer says about a PC behind a relay or a router."""
        packet, mac = reply.packet, reply.packet.mac
        if mac is None:
            return
        if self.profile.dhcp.mode == "full":
            # On port 4011 and in an INFORM the sender itself says which address it has.
            if reply.answer is MessageType.DHCPACK and packet.yiaddr != ANY:
                self._tell(packet.yiaddr, mac, self.profile.dhcp.lease_time)
        elif reply.answer is MessageType.DHCPACK:
            self._tell(reply.address, mac, self.profile.dhcp.lease_time)
        elif packet.giaddr != ANY:
            network = self._network(packet.giaddr)
            if network is not None:
                _put(self._relayed, (network, mac), self.now() + RELAYED_SECONDS)

    def restore(self, owner: str, address: IPv4Address, expires: float) -> None:
        """Note a lease that an earlier server gave. ``expires`` is seconds since the epoch."""
        if not owner.startswith("id:"):  # of a client identifier, which names no MAC address
            self._tell(address, owner, expires - self.now())

    def _tell(self, address: IPv4Address, mac: str, seconds: float) -> None:
        if self._network(address) is not None and not self.links.is_on_link(address):
            _put(self._told, address, (mac, self.now() + seconds))

    def _network(self, address: IPv4Address) -> IPv4Network | None:
        return next((each for each in self.profile.dhcp.networks if address in each), None)


def _put(table: dict[K, V], key: K, value: V) -> None:
    """Put a value at the end of ``table``, which keeps its size."""
    table.pop(key, None)
    table[key] = value
    assert limits.KNOWN_ADDRESSES.in_total is not None
    if len(table) > limits.KNOWN_ADDRESSES.in_total:
        del table[next(iter(table))]
