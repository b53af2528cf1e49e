"""The operator is told each change of an interface in a line, with its consequence."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from netboot.errors import OperatorError
from netboot.host.interfaces import Choice, Interface
from netboot.serve import changes

ETH = Interface("eth0", 2, IPv4Address("10.9.0.1"), IPv4Network("10.9.0.0/24"), mac=b"\2netbo")
OTHER = replace(ETH, address=IPv4Address("10.9.0.2"))
BRIDGE = replace(ETH, name="br0", index=5)
GONE = OperatorError("there is no network interface 'eth0'; did you mean 'eth1'?")


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ([ETH], [OTHER], "eth0: the address is 10.9.0.2 now, no longer 10.9.0.1: PCs that booted"),
        ([ETH, OTHER], [OTHER], "eth0: 10.9.0.1 is no longer an address of it: PCs"),
        ([ETH], [ETH, OTHER], "eth0: 10.9.0.2 is served as well from now on"),
        ([], [ETH], "eth0: 10.9.0.1 is served from now on"),
        ([], [replace(ETH, lasts=False)], "eth0: 10.9.0.1 is served from now on (it may change"),
        ([], [ETH, OTHER], "eth0: 10.9.0.1 and 10.9.0.2 are served from now on"),
        ([ETH], [BRIDGE], "br0: the card instead of eth0: 10.9.0.1 is served on, and PCs lose"),
        ([ETH], [replace(ETH, name="lan")], "lan: the new name of eth0: 10.9.0.1 is served on"),
        (
            [ETH],
            [replace(ETH, network=IPv4Network("10.9.0.0/16"))],
            "eth0: the network of 10.9.0.1 is 10.9.0.0/16 now, no longer 10.9.0.0/24: its PCs",
        ),
        ([ETH], [replace(ETH, lasts=False)], "eth0: 10.9.0.1 was lent to this server, as DHCP"),
        ([replace(ETH, lasts=False)], [ETH], "eth0: 10.9.0.1 is a fixed address now"),
        ([ETH], [], "eth0: 10.9.0.1 is not served any more: there is no network interface 'eth0';"),
        ([ETH], [replace(ETH, index=9)], "eth0: the card was removed and made again: served again"),
        ([ETH], [replace(ETH, mac=b"\2other")], "eth0: the MAC address is 02:6f:74:68:65:72 now"),
        ([ETH], [replace(ETH, mtu=1400)], "eth0: the MTU is 1400 now, no longer 1500"),
        ([ETH], [replace(ETH, has_carrier=False)], "eth0: no link: is the cable plugged in"),
        ([replace(ETH, has_carrier=False)], [ETH], "eth0: the link is back"),
    ],
)
def test_each_change_is_a_line(before: list[Interface], after: list[Interface], line: str) -> None:
    lacking = {} if after else {"eth0": GONE}
    (found,) = changes.told(Choice(tuple(before)), Choice(tuple(after), lacking), 600)
    assert found.startswith(line)
    assert ("600 s" in found) == ("swap.patience" in found)


def test_what_stays_is_not_told() -> None:
    both = Choice((ETH, OTHER))
    assert list(changes.told(both, both, 600)) == []


def test_an_address_that_is_lent_is_told_at_the_start() -> None:
    (found,) = changes.at_start([ETH, replace(OTHER, lasts=False)])
    assert found.startswith("eth0: 10.9.0.2 was lent to this server")


def test_a_card_without_a_link_is_told_at_the_start_once() -> None:
    deaf = [replace(each, has_carrier=False) for each in (ETH, OTHER)]
    (found,) = changes.at_start(deaf)
    assert found.startswith("eth0: no link: is the cable plugged in")


def test_of_two_addresses_the_one_that_moves_is_not_lost() -> None:
    moved = replace(OTHER, name="br0", index=5)
    (found,) = changes.told(Choice((ETH, OTHER)), Choice((ETH, moved)), 600)
    assert found == "br0: the card instead of eth0: 10.9.0.2 is served on, and PCs lose nothing"


def test_a_cable_that_flaps_has_two_lines_in_a_minute() -> None:
    """Services limits equal lines."""
    up, down = Choice((ETH,)), Choice((replace(ETH, has_carrier=False),))
    found = [*changes.told(up, down, 600), *changes.told(down, up, 600)] * 100
    assert len(set(found)) == 2
