"""Scope: the addresses and the settings that full mode gives to PCs of one network. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from netboot.boot import rank
from netboot.profile.fields import AddressRange
from netboot.profile.profile import Profile
from netboot.profile.sections import Dhcp
from netboot.serve.dhcp import relay
from netboot.serve.dhcp.lease import LeasePool
from netboot.serve.dhcp.packet import ANY, Option, Packet


@dataclass(frozen=True, slots=True)
class Scope:
    """One network: that of an interface of ours, or one behind a relay.

    ``options`` are the settings that all its PCs get, in the order of an answer.
    """

    network: IPv4Network
    pool: LeasePool
    router: IPv4Address | None
    dns: tuple[IPv4Address, ...]
    options: Mapping[int, bytes]


def make_scopes(
    profile: Profile,
    served: Collection[IPv4Network],
    servers: Collection[IPv4Address],
    before: Sequence[Scope] = (),
) -> tuple[Scope, ...]:
    """Return the profile's networks, none in proxy mode.

    ``served`` are the networks of our interfaces. The one that contains dhcp.range may come later.
    ``servers`` are our own addresses, which no PC may get. ``before`` are the scopes until now,
    whose leases stay.
    """
    if profile.dhcp.mode != "full":
        return ()
    pools = {scope.network: scope.pool for scope in before}
    return tuple(_scopes(profile, served, servers, before, pools))


def _scopes(
    profile: Profile,
    served: Collection[IPv4Network],
    servers: Collection[IPv4Address],
    before: Sequence[Scope],
    pools: Mapping[IPv4Network, LeasePool],
) -> Iterator[Scope]:
    dhcp = profile.dhcp
    reservations = {f"id:{name}": address for name, address in dhcp.client_ids.items()} | {
        mac: settings.address
        for mac, settings in profile.clients.items()
        if settings.address is not None
    }

    first_before_us = rank.superior(profile.boot.servers, servers)
    half = int(first_before_us is not None) if profile.boot.servers else None

    def scope(
        network: IPv4Network,
        pool: LeasePool | None,
        addresses: AddressRange,
        router: IPv4Address | None,
        dns: tuple[IPv4Address, ...],
        owners: Mapping[str, IPv4Address],
    ) -> Scope:
        # The other boot server answers no ARP while it is off.
        taken = {*servers, *profile.boot.servers, *dns, *([] if router is None else [router])}
        if pool is None:
            pool = LeasePool(addresses, dhcp.lease_time, owners, taken)
        pool.avoid(taken)
        pool.half = half
        return Scope(network, pool, router, dns, _options(network, router, dns, dhcp))

    if dhcp.range is not None:
        first = dhcp.range.first
        old = next((each for each in before if each.network not in dhcp.networks), None)
        known = _smallest(dhcp.range) if old is None else old.network
        home = next((network for network in served if first in network), known)
        far = {
            owner
            for owner, address in reservations.items()
            if any(address in network for network in dhcp.networks)
        }
        near = {owner: reservations[owner] for owner in reservations.keys() - far}
        pool = None if old is None else old.pool
        yield scope(home, pool, dhcp.range, dhcp.router, dhcp.dns, near)
    for network, settings in dhcp.networks.items():
        assert settings.range is not None, "full mode has one"
        local = {owner: each for owner, each in reservations.items() if each in network}
        dns = settings.dns or dhcp.dns
        yield scope(network, pools.get(network), settings.range, settings.router, dns, local)


def _options(
    network: IPv4Network, router: IPv4Address | None, dns: Sequence[IPv4Address], dhcp: Dhcp
) -> Mapping[int, bytes]:
    options: dict[int, bytes] = {Option.SUBNET_MASK: network.netmask.packed}
    if router is not None:
        options[Option.ROUTER] = router.packed
    for option, servers in ((Option.DOMAIN_NAME_SERVER, dns), (Option.NTP_SERVERS, dhcp.ntp)):
        if servers:
            options[option] = b"".join(server.packed for server in servers)
    if dhcp.domain is not None:
        options[Option.DOMAIN_NAME] = dhcp.domain.encode()
    return options


def _smallest(addresses: AddressRange) -> IPv4Network:
    """Return the smallest network with all of the addresses: no interface is in theirs yet."""
    differing = (int(addresses.first) ^ int(addresses.last)).bit_length()
    return IPv4Network((int(addresses.first), 32 - differing), strict=False)


def scope_of(packet: Packet, server: IPv4Address, scopes: Sequence[Scope]) -> Scope | None:
    """Return the scope of the sender, or None if none contains it.

    The relay's address decides, or the network that the relay names; else the sender's own address,
    because a PC with an address bypasses the relay; else ``server``, our address on the interface
    that received the packet.
    """
    if packet.relayed:
        return _containing(relay.network_of(packet), scopes)
    own = _containing(packet.ciaddr, scopes) if packet.ciaddr != ANY else None
    return own or _containing(server, scopes)


def owner_of(packet: Packet, mac: str, profile: Profile) -> str:
    """Return the owner of a lease: ``mac``, or ``id:HEX`` for a reserved client identifier.

    Other client identifiers are ignored: firmware, iPXE and Linux send three different ones from
    one PC, which must keep its address.
    """
    client_id = packet.first(Option.CLIENT_IDENTIFIER).hex()
    return f"id:{client_id}" if client_id in profile.dhcp.client_ids else mac


def _containing(address: IPv4Address, scopes: Sequence[Scope]) -> Scope | None:
    for scope in scopes:
        if address in scope.network:
            return scope
    return None
