"""The operator is told each change of an interface in a line, with its consequence."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from netboot.errors import OperatorError
from netboot.host.interfaces import Choice, Interface
from netboot.serve import changes

ETH = Interface("eth0", 2, IPv4Address("10.9.0.1"), IPv4Network("10.9.0.0/24"), mac=b"\2netbo")
OTHER = replace(ETH, address=IPv4Address("10.9.0.2"))
GONE = OperatorError("there is no network interface 'eth0'; did you mean 'eth1'?")


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ([ETH], [OTHER], "eth0: the address is 10.9.0.2 now, no longer 10.9.0.1: PCs that booted"),
        ([ETH, OTHER], [OTHER], "eth0: 10.9.0.1 is no longer an address of it: PCs"),
        ([ETH], [ETH, OTHER], "eth0: 10.9.0.2 is served as well from now on"),
        ([], [ETH], "eth0: 10.9.0.1 is served from now on"),
        ([], [replace(ETH, lasts=False)], "eth0: 10.9.0.1 is served from now on (it may change"),
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
    (line,) = changes.unsteady([ETH, replace(OTHER, lasts=False)])
    assert line.startswith("eth0: 10.9.0.2 was lent to this server")
