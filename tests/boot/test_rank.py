"""The rank of a boot server: by its own addresses."""

from ipaddress import IPv4Address

import pytest

from netboot.boot import rank
from netboot.errors import OperatorError

FIRST, SECOND, STRANGER = (IPv4Address(f"10.0.0.{last}") for last in (1, 2, 9))
SERVERS = (FIRST, SECOND)


def test_the_second_server_leaves_the_pcs_to_the_first() -> None:
    assert rank.superior(SERVERS, [STRANGER, FIRST]) is None
    assert rank.superior(SERVERS, [SECOND]) == FIRST
    assert rank.superior(SERVERS, []) == FIRST, "it has lost its address"
    assert rank.superior((), [SECOND]) is None


def test_a_pc_knows_the_server_of_its_boot_first_and_then_the_other_one() -> None:
    assert rank.with_other(FIRST, SERVERS) == (FIRST, SECOND)
    assert rank.with_other(SECOND, SERVERS) == (SECOND, FIRST)
    assert rank.with_other(STRANGER, SERVERS) == (STRANGER,), "in another network of the first one"
    assert rank.with_other(FIRST, ()) == (FIRST,)


def test_a_machine_that_is_no_boot_server_is_told_so() -> None:
    for own in ([FIRST], [STRANGER, SECOND]):
        rank.check(SERVERS, own)
    rank.check((), [STRANGER])
    with pytest.raises(OperatorError) as caught:
        rank.check(SERVERS, [STRANGER])
    assert str(caught.value) == (
        "key 'boot.servers': 10.0.0.1 and 10.0.0.2 are the boot servers, and this machine is "
        "neither: its addresses on the served interfaces: 10.0.0.9"
    )
