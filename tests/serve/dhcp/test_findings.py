"""Findings about other DHCP servers on the LAN."""

from ipaddress import IPv4Address

import pytest
from scapy.layers.dhcp import BOOTP, DHCP

from netboot.serve.dhcp.findings import inspect
from netboot.serve.dhcp.packet import parse

OTHER = IPv4Address("10.0.0.9")
OPTION_60 = ("vendor_class_id", b"PXEClient")
PROXY, ADDRESS = "0.0.0.0", "10.0.0.77"


def told(yiaddr: str, *options: object, full: bool = False, kind: str = "offer") -> str:
    head = BOOTP(op=2, yiaddr=yiaddr, chaddr=bytes(6))
    packet = parse(bytes(head / DHCP(options=[("message-type", kind), *options, "end"])))
    finding = inspect(packet, OTHER, "eth0", full=full)
    if finding is None:
        return ""
    return f"{finding.advice}|{finding.event}" + ("|rival" if finding.rival else "")


@pytest.mark.parametrize("full", [False, True])
def test_a_second_proxy(full: bool) -> None:
    text = told(PROXY, OPTION_60, full=full)
    assert "second proxyDHCP server, 10.0.0.9, answers PXE clients on eth0" in text
    assert "stop one of the two" in text and text.endswith("|rival")


def test_the_trap_of_option_60() -> None:
    text = told(ADDRESS, OPTION_60)
    for words in ("10.0.0.9 sends option 60", "port 4011 of 10.0.0.9", "remove option 60"):
        assert words in text
    assert not text.endswith("|rival")
    assert told(ADDRESS, OPTION_60, ("vendor_specific", b"\x2b")) == text  # no sub-option at all


def test_a_second_server_of_addresses() -> None:
    text = told(ADDRESS, full=True)
    assert "gives out addresses on eth0" in text and text.endswith("|rival")


def test_what_is_as_it_should_be() -> None:
    assert told(ADDRESS) == ""
    assert told(PROXY) == ""
    assert told(PROXY, ("vendor_class_id", b"HTTPClient")) == ""
    assert told(ADDRESS, OPTION_60, kind="ack") == ""
    # A PXE server that also gives out addresses, and says how to boot: the site's own choice.
    assert told(ADDRESS, OPTION_60, ("vendor_specific", bytes.fromhex("060108ff"))) == ""
