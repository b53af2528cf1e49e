"""The interfaces of this machine as it is: the loopback always exists. And others, made up."""

import socket
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from netboot.errors import OperatorError
from netboot.host.interfaces import Interface, choose, find, find_one, one_of_each
from netboot.host.netlink import IFF_BROADCAST, IFF_LOOPBACK, IFF_LOWER_UP, IFF_UP, Address, Card

UP = IFF_UP | IFF_BROADCAST | IFF_LOWER_UP


def card(name: str, *addresses: str, flags: int = UP, index: int = 7) -> Card:
    found = tuple(Address(IPv4Interface(each)) for each in addresses)
    return Card(name, index, flags, 1400, b"\2netbo", found)


def test_an_interface_by_its_name() -> None:
    (found,) = find("lo")
    assert found == find_one("lo")
    assert (found.name, found.index) == ("lo", socket.if_nametoindex("lo"))
    assert (found.address, found.network) == (
        IPv4Address("127.0.0.1"),
        IPv4Network("127.0.0.0/8"),
    )
    assert found.lasts and found.mtu > 1500


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(OperatorError, match="no network interface 'lo0'.* 'lo'") as caught:
        find("lo0")
    assert "lo" in caught.value.hint


def test_auto_leaves_the_loopback_out() -> None:
    try:
        found = find("auto")
    except OperatorError as error:
        assert "no network interface is up" in str(error)
    else:
        assert all(not interface.address.is_loopback for interface in found)


def test_each_address_of_a_card_serves() -> None:
    found = choose(["eth0"], [card("eth0", "10.1.0.1/24", "10.2.0.1/24"), card("eth1")])
    assert not found.lacking
    assert [str(each.address) for each in found.interfaces] == ["10.1.0.1", "10.2.0.1"]
    first, second = found.interfaces
    assert (first.mtu, first.mac, first.has_carrier) == (1400, b"\2netbo", True)
    assert one_of_each(found.interfaces) == [first]
    assert one_of_each(found.interfaces, IPv4Address("10.2.0.9")) == [second]


def test_a_lack_is_told_and_the_rest_serves() -> None:
    cards = [
        card("eth0", "10.1.0.1/24"),
        card("eth1"),
        card("eth2", "10.3.0.1/24", flags=IFF_BROADCAST),
    ]
    found = choose(["eth0", "eth1", "eth2", "eth9"], cards)
    assert [each.name for each in found.interfaces] == ["eth0"]
    assert {name: str(error).partition(";")[0] for name, error in found.lacking.items()} == {
        "eth1": "network interface 'eth1' has no IPv4 address",
        "eth2": "network interface 'eth2' is down",
        "eth9": "there is no network interface 'eth9'",
    }


def test_auto_takes_what_is_up_and_can_broadcast() -> None:
    cards = [
        card("lo", "127.0.0.1/8", flags=UP | IFF_LOOPBACK),
        card("wg0", "10.9.0.1/24", flags=IFF_UP),
        card("eth0", "10.1.0.1/24"),
        card("eth1", "10.2.0.1/24", flags=IFF_BROADCAST),
    ]
    assert [each.name for each in choose(["auto"], cards).interfaces] == ["eth0"]
    assert list(choose(["auto"], cards[:2]).lacking) == ["auto"]


def test_a_pulled_cable_is_seen() -> None:
    (found,) = choose(["eth0"], [card("eth0", "10.1.0.1/24", flags=UP & ~IFF_LOWER_UP)]).interfaces
    assert found == Interface(
        "eth0",
        7,
        IPv4Address("10.1.0.1"),
        IPv4Network("10.1.0.0/24"),
        1400,
        b"\2netbo",
        has_carrier=False,
    )
