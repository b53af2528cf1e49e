"""A card with several addresses answers with the right one."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from netboot.host.interfaces import Interface
from netboot.profile.fields import AddressRange
from netboot.profile.profile import ClientSettings, Profile
from netboot.profile.sections import Dhcp, DhcpNetwork
from netboot.serve.dhcp.addresses import Route, choose
from netboot.serve.dhcp.packet import ANY, BOOTREQUEST, Option, Packet
from netboot.serve.dhcp.scope import Scope, make_scopes

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
EVERYONE = IPv4Address("255.255.255.255")
FIRST, SECOND, SAME_NET, ALONE = own = [
    Interface("eth0", 2, IPv4Address(address), IPv4Network(f"{address}/{bits}", strict=False))
    for address, bits in (("10.1.0.1", 24), ("10.2.0.1", 24), ("10.2.0.9", 24), ("10.9.9.9", 32))
]


def addresses(first: str, last: str) -> AddressRange:
    return AddressRange(first=IPv4Address(first), last=IPv4Address(last))


FULL = Profile(
    dhcp=Dhcp(
        mode="full",
        range=addresses("10.2.0.50", "10.2.0.60"),
        networks={
            IPv4Network("10.1.0.0/24"): DhcpNetwork(range=addresses("10.1.0.50", "10.1.0.60"))
        },
    ),
    clients={OTHER: ClientSettings(address=IPv4Address("10.1.0.99"))},
)
NETWORKS, ADDRESSES = [each.network for each in own], [each.address for each in own]
SCOPES = make_scopes(FULL, NETWORKS, ADDRESSES)


def packet(*, giaddr: str = "0.0.0.0", ciaddr: str = "0.0.0.0", **options: str) -> Packet:
    codes = {"named": Option.SERVER_IDENTIFIER, "wanted": Option.REQUESTED_IP_ADDRESS}
    return Packet(
        op=BOOTREQUEST,
        xid=1,
        chaddr=bytes.fromhex(MAC.replace(":", "")).ljust(16, b"\0"),
        giaddr=IPv4Address(giaddr),
        ciaddr=IPv4Address(ciaddr),
        options={int(codes[name]): IPv4Address(text).packed for name, text in options.items()},
    )


@pytest.mark.parametrize(
    ("asked", "source", "to", "lent", "expected"),
    [
        (packet(), "0.0.0.0", EVERYONE, None, FIRST),
        (packet(named="10.2.0.9"), "0.0.0.0", EVERYONE, None, SAME_NET),
        (packet(giaddr="10.8.0.1"), "10.8.0.1", SECOND.address, None, SECOND),
        (packet(giaddr="10.2.0.7"), "10.2.0.7", EVERYONE, None, SECOND),
        (packet(ciaddr="10.2.0.77"), "10.2.0.77", EVERYONE, None, SECOND),
        (packet(), "10.2.0.77", EVERYONE, None, SECOND),
        (packet(), "0.0.0.0", EVERYONE, "10.2.0.200", SECOND),
        (packet(wanted="10.2.0.77"), "0.0.0.0", EVERYONE, None, SECOND),
        (packet(wanted="10.1.0.77"), "0.0.0.0", EVERYONE, "10.2.0.200", SECOND),
        (packet(named="10.7.0.1"), "0.0.0.0", EVERYONE, "10.7.0.2", FIRST),
    ],
)
def test_proxy_mode_answers_from_the_network_of_the_pc(
    asked: Packet, source: str, to: IPv4Address, lent: str | None, expected: Interface
) -> None:
    route = Route(IPv4Address(source), to, None if lent is None else IPv4Address(lent))
    assert choose(asked, MAC, route, own, ()) is expected


def test_a_doubled_address_is_its_first_copy() -> None:
    """54 and 50 are read in one way everywhere: full mode read the first four bytes."""
    for asked, expected in (
        (packet(named="10.2.0.9"), SAME_NET),
        (packet(wanted="10.2.0.7"), SECOND),
    ):
        twice = replace(asked, options={code: value * 2 for code, value in asked.options.items()})
        assert choose(twice, MAC, Route(ANY, EVERYONE), own, ()) is expected


def test_full_mode_answers_from_the_network_that_has_an_address_for_the_pc() -> None:
    route = Route(FIRST.address, EVERYONE, IPv4Address("10.1.0.3"))
    assert choose(packet(), MAC, route, own, SCOPES) is SECOND, "the network of dhcp.range"
    assert choose(packet(), OTHER, route, own, SCOPES) is FIRST, "the network of its reservation"
    assert choose(packet(), MAC, route, [ALONE], SCOPES) is ALONE


def leases(scopes: tuple[Scope, ...]) -> list[str]:
    return [row["address"] for scope in scopes for row in scope.pool.as_json()["leases"]]


def test_leases_outlive_a_change_of_addresses() -> None:
    scopes = make_scopes(FULL, NETWORKS, ADDRESSES)
    home = scopes[0]
    assert home.pool.commit(MAC, IPv4Address("10.2.0.50"), 0.0)
    gone = make_scopes(FULL, [], [], scopes)
    assert leases(gone) == ["10.2.0.50"] and gone[0].network == home.network
    wider, now = IPv4Network("10.2.0.0/16"), IPv4Address("10.2.0.51")
    back = make_scopes(FULL, [wider], [now], gone)
    assert leases(back) == ["10.2.0.50"] and back[0].network == wider
    assert back[0].pool.offer(OTHER, 1.0, now) != now, "it is our own address"


def test_leases_wait_for_an_interface_that_is_not_there_at_the_start() -> None:
    before = make_scopes(FULL, [], [])
    assert before[0].network == IPv4Network("10.2.0.48/28")
    before[0].pool.restore({"leases": [{"client": MAC, "address": "10.2.0.51", "expires": 9}]})
    assert leases(make_scopes(FULL, NETWORKS, ADDRESSES, before)) == ["10.2.0.51"]
