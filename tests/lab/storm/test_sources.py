"""The addresses of a storm's PCs: one for each, and all of them on this machine."""

from ipaddress import IPv4Address

import pytest

from netboot.errors import OperatorError
from netboot.lab.storm import sources
from netboot.profile.fields import AddressRange

HERE, ELSEWHERE = IPv4Address("127.0.0.1"), IPv4Address("198.51.100.1")  # RFC 5737


def _range(first: str, last: str) -> AddressRange:
    return AddressRange(first=IPv4Address(first), last=IPv4Address(last))


def test_pcs_of_a_server_of_this_machine_have_loopback_addresses() -> None:
    found = sources.choose(1000, None, HERE)
    assert len(set(found)) == 1000
    assert (str(found[0]), str(found[-1])) == ("127.83.0.1", "127.83.3.232")
    assert all(map(sources.is_here, found[:3]))


def test_pcs_of_another_server_share_one_address() -> None:
    assert sources.choose(1000, None, ELSEWHERE) == ()


def test_pcs_have_the_first_addresses_of_a_range() -> None:
    found = sources.choose(2, _range("127.9.0.7", "127.9.0.9"), ELSEWHERE)
    assert list(map(str, found)) == ["127.9.0.7", "127.9.0.8"]


def test_a_range_that_is_too_small_is_refused() -> None:
    with pytest.raises(OperatorError) as raised:
        sources.choose(4, _range("127.9.0.7", "127.9.0.9"), HERE)
    assert str(raised.value) == "--addresses: 4 PCs need 4 addresses, found 3: 127.9.0.7-127.9.0.9"
    assert raised.value.hint == "--addresses 127.9.0.7-127.9.0.10"


def test_addresses_that_are_not_on_this_machine_are_refused() -> None:
    with pytest.raises(OperatorError) as raised:
        sources.choose(5, _range("198.51.100.0", "198.51.100.127"), HERE)
    assert str(raised.value) == (
        "--addresses: 5 of 5 addresses are not on this machine: "
        "198.51.100.0, 198.51.100.1, 198.51.100.2, ..."
    )
    assert raised.value.hint == "ip route add local 198.51.100.0/25 dev lo"


def test_a_range_of_many_blocks_has_a_remedy_of_one_command() -> None:
    with pytest.raises(OperatorError) as raised:
        sources.choose(5, _range("198.51.100.1", "198.51.100.126"), HERE)
    assert raised.value.hint == (
        "ip route add local 198.51.100.0/25 dev lo, if no other machine has an address in it"
    )


@pytest.mark.parametrize(
    ("host", "source", "expected"),
    [
        (HERE, "127.83.0.1", "127.83.0.1"),
        (ELSEWHERE, "127.83.0.1", ""),
        (ELSEWHERE, "10.78.0.1", "10.78.0.1"),
        (ELSEWHERE, "", ""),
    ],
)
def test_no_address_of_this_machine_alone_leads_to_another(
    host: IPv4Address, source: str, expected: str
) -> None:
    assert sources.towards(host, source) == expected
