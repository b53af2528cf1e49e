"""The kernel's list of cards: its messages, and the kernel itself."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.host.netlink import ATTRIBUTE, HEADER, attributes, messages
from tests import ROOT

NETWORK = """
ip link add lan0 type veth peer name end
ip link set lan0 address 52:54:00:12:34:56 mtu 1400 up; ip link set end up
ip address add 169.254.7.1/16 dev lan0
ip address add 10.99.0.1/24 dev lan0
ip address add 10.98.0.1/24 valid_lft 600 preferred_lft 300 dev lan0
ip address add 10.97.0.1 peer 10.97.0.2/32 dev lan0
exec "$@"
"""
PROGRAM = """
import json
from netboot.host.netlink import cards
print(json.dumps([
    (each.name, each.mac.hex(":"), each.mtu, each.flags & 1,
     [(str(address.interface), address.lasts) for address in each.addresses])
    for each in cards() if each.name in ("lo", "lan0")
]))
"""


@pytest.mark.root
def test_cards_and_addresses_are_the_kernels() -> None:
    words = ["unshare", "--net", "sh", "-ec", NETWORK, "sh", sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT)
    own = [["10.99.0.1/24", True], ["10.98.0.1/24", False], ["10.97.0.1/32", True]]
    assert sorted(json.loads(done.stdout)) == [
        # The address that the card gave itself serves last.
        ["lan0", "52:54:00:12:34:56", 1400, 1, [*own, ["169.254.7.1/16", True]]],
        ["lo", "00:00:00:00:00:00", 65536, 0, []],
    ]


def test_messages_and_attributes_are_aligned_to_four_bytes() -> None:
    name = ATTRIBUTE.pack(ATTRIBUTE.size + 3, 3) + b"lo\0\0"
    mtu = ATTRIBUTE.pack(ATTRIBUTE.size + 4, 4 | 0x4000) + b"mtu4"
    whole = HEADER.pack(HEADER.size + len(name + mtu), 16, 2, 0, 0) + name + mtu
    short = HEADER.pack(HEADER.size + 1, 3, 0, 0, 0) + b"x\0\0\0"
    assert list(messages(short + whole)) == [(3, 0, b"x"), (16, 2, name + mtu)]
    assert attributes(name + mtu, 0) == {3: b"lo\0", 4: b"mtu4"}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_their_end(data: bytes) -> None:
    assert len(list(messages(data))) <= len(data) // HEADER.size
    assert all(len(value) < len(data) for value in attributes(data, 0).values())
