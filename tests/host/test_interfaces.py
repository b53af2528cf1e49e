"""The interfaces of this machine as it is: the loopback always exists."""

import socket
from ipaddress import IPv4Address, IPv4Network

import pytest

from netboot.errors import OperatorError
from netboot.host.interfaces import Interface, find


def test_an_interface_by_its_name() -> None:
    expected = Interface(
        "lo", socket.if_nametoindex("lo"), IPv4Address("127.0.0.1"), IPv4Network("127.0.0.0/8")
    )
    assert find("lo") == [expected]


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
        assert len({interface.index for interface in found}) == len(found)
