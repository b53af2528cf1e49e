"""A broadcast that two cards of ours hear is one question."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from netboot.boot.limits import DHCP_WAITING
from netboot.host.interfaces import Interface
from netboot.serve.dhcp.doubles import TOGETHER_SECONDS, Doubles
from netboot.serve.dhcp.packet import BOOTREQUEST, Option, Packet

LAN = IPv4Network("10.9.0.0/24")
ETH0 = Interface("eth0", 2, IPv4Address("10.9.0.1"), LAN)
ETH1 = Interface("eth1", 3, IPv4Address("10.9.0.2"), LAN)
OTHER = Interface("eth2", 4, IPv4Address("10.8.0.1"), IPv4Network("10.8.0.0/24"))
DISCOVER = Packet(BOOTREQUEST, 7, b"\x52" * 16, options={int(Option.DHCP_MESSAGE_TYPE): b"\1"})
REQUEST = replace(DISCOVER, options={int(Option.DHCP_MESSAGE_TYPE): b"\3"})


def test_the_card_that_hears_it_first_answers() -> None:
    seen = Doubles()
    assert seen.first(DISCOVER, ETH0, 0.0) is None
    assert seen.first(DISCOVER, ETH1, 0.1) is ETH0
    assert seen.first(DISCOVER, ETH0, 0.2) is None, "the PC asks again"
    assert seen.first(REQUEST, ETH1, 0.3) is None, "another question"
    assert seen.first(replace(DISCOVER, xid=8), ETH1, 0.3) is None
    relayed = replace(DISCOVER, giaddr=IPv4Address("10.8.0.9"))
    for each in (ETH0, OTHER):
        assert seen.first(relayed, each, 0.3) is None, "a relay's copy says nothing of the wire"
    assert (seen.beside(2), seen.beside(3), seen.beside(4)) == ({3}, {2}, set())


def test_cards_of_different_networks_on_one_wire_are_doubles() -> None:
    seen = Doubles()
    assert seen.first(DISCOVER, ETH0, 0.0) is None
    assert seen.first(DISCOVER, OTHER, 0.1) is ETH0
    padded = replace(DISCOVER, htype=1, hlen=6, chaddr=DISCOVER.chaddr[:6] + b"otherjunk!")
    assert seen.first(padded, OTHER, 0.1) is ETH0, "what follows the MAC address does not count"


def test_another_card_answers_when_the_first_one_is_deaf() -> None:
    seen = Doubles()
    assert seen.first(DISCOVER, ETH0, 0.0) is None
    assert seen.first(DISCOVER, ETH1, TOGETHER_SECONDS + 0.1) is None


def test_made_up_packets_do_not_fill_the_memory() -> None:
    seen, most = Doubles(), DHCP_WAITING.in_total or 0
    for number in range(most + 10):
        seen.first(replace(DISCOVER, xid=number), ETH0, 0.0)
    assert len(seen._first) == most
    seen.first(DISCOVER, ETH0, 2.0)
    assert len(seen._first) == 1
