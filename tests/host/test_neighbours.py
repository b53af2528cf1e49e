"""The kernel's neighbour table: its answers, and the kernel itself."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.host.neighbours import NEIGHBOUR, RTM_NEWNEIGH, parse
from netboot.host.netlink import ATTRIBUTE, HEADER
from tests import ROOT

MAC = "52:54:00:12:34:56"
NETWORK = """
ip link add lan0 type veth peer name end; ip link set end up
ip address add 10.99.0.1/24 dev lan0; ip link set lan0 up
ip neigh add 10.99.0.9 lladdr 52:54:00:12:34:56 dev lan0 nud stale
exec "$@"
"""
PROGRAM = """
from ipaddress import IPv4Address as A
from netboot.host.interfaces import find
from netboot.host.neighbours import Neighbours
links = Neighbours(find("lan0"))
print(links.mac_of(A("10.99.0.9")), links.mac_of(A("10.99.0.8")), links.mac_of(A("10.1.0.1")))
links.probe(A("10.99.0.8"))
print(links.mac_of(A("10.99.0.8")), links.mac_of(A("10.99.0.9")))
print(*[links.is_on_link(A(a)) for a in ("10.99.0.9", "10.99.0.1", "10.1.0.1")])
links.close()
"""


def answer(value: bytes, kind: int = RTM_NEWNEIGH, sequence: int = 7) -> bytes:
    body = NEIGHBOUR.pack(2, 3, 2, 0, 1) + ATTRIBUTE.pack(8, 1) + b"\x0a\0\0\x09"
    body += ATTRIBUTE.pack(4 + len(value), 2) + value + bytes(-len(value) % 4)
    return HEADER.pack(HEADER.size + len(body), kind, 0, sequence, 0) + body


def test_an_answer_has_the_address_of_the_card() -> None:
    card = bytes.fromhex(MAC.replace(":", ""))
    assert parse(answer(card), 7) == MAC
    assert parse(answer(card), 8) is None, "of an earlier question"
    assert parse(answer(card, kind=2), 7) is None, "an error"
    assert parse(answer(bytes(20)), 7) is None, "no Ethernet"
    assert parse(answer(b""), 7) is None, "not resolved"


@given(st.binary(max_size=80), st.integers(0, 80))
def test_no_answer_is_too_strange(tail: bytes, length: int) -> None:
    assert parse(tail, 7) is None or tail
    head = HEADER.pack(length, RTM_NEWNEIGH, 0, 7, 0)
    found = parse(head + tail, 7)
    assert found is None or len(found) == len(MAC)


@pytest.mark.root
def test_the_kernel_is_asked() -> None:
    words = ["unshare", "--net", "sh", "-c", NETWORK, "sh", sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout == f"{MAC} None None\nNone {MAC}\nTrue False False\n"
