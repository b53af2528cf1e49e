"""Relays that say more than their address: RFC 5107 (boot 8), RFC 3527."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from netboot.errors import Ignored
from netboot.serve.dhcp import relay
from netboot.serve.dhcp.answer import Reply
from netboot.serve.dhcp.packet import Packet, parse, serialize
from netboot.serve.dhcp.responder import respond
from tests.serve.dhcp.test_responder import CAMPUS, NOW, PROXY, US, ask, context, kind, refused
from tests.support.pxe_client import PxeClient

RELAY = IPv4Address("10.9.0.1")
PORT = bytes.fromhex("0104 67653031")
OVERRIDE = PORT + b"\x0b\x04" + RELAY.packed


def relayed(kind: str, added: bytes, *options: object, giaddr: str = str(RELAY)) -> bytes:
    return PxeClient().message(kind, *options, (82, added), giaddr=giaddr)


def test_a_relay_that_names_itself_as_the_server_is_named_in_each_answer() -> None:
    """RFC 5107 section 4: the value of the sub-option must be that of option 54."""
    where = context(CAMPUS)
    offer = ask(relayed("discover", OVERRIDE), where)
    assert offer.options["server_id"] == str(RELAY)
    assert (offer.header.siaddr, offer.sname) == (str(US), str(US).encode())  # the files are ours
    address = ("requested_addr", offer.header.yiaddr)
    for chosen in (str(RELAY), str(US)):
        ack = ask(relayed("request", OVERRIDE, ("server_id", chosen), address), where)
        assert (kind(ack), ack.options["server_id"]) == ("DHCPACK", str(RELAY))
        assert parse(ack.data).options[82] == OVERRIDE
    nak = ask(relayed("request", OVERRIDE, ("requested_addr", "10.0.0.52")), where)
    assert (kind(nak), nak.options["server_id"]) == ("DHCPNAK", str(RELAY))


def test_the_relays_name_is_believed_with_that_suboption_only() -> None:
    where = context(CAMPUS)
    address = ("requested_addr", ask(relayed("discover", OVERRIDE), where).header.yiaddr)
    told = refused(relayed("request", PORT, ("server_id", str(RELAY)), address), where)
    assert f"chose the DHCP server {RELAY}" in told


def test_a_proxy_keeps_its_own_name() -> None:
    """The relay hands unicast REQUESTs to the server that gives addresses, which is not us."""
    where = replace(context(PROXY), networks=context(CAMPUS).networks)
    assert ask(relayed("discover", OVERRIDE), where).options["server_id"] == str(US)


def test_the_network_that_a_relay_selects_decides_on_the_address() -> None:
    """RFC 3527: the relay's own address is in another network, to which the answer goes."""
    where = context(CAMPUS)
    seen = ask(relayed("discover", b"\x05\x04\x0a\x09\0\0", giaddr="10.0.0.9"), where)
    assert (seen.header.yiaddr, seen.target) == ("10.9.0.50", ("10.0.0.9", 67))
    assert seen.options["router"] == "10.9.0.1"
    unknown = refused(relayed("discover", b"\x05\x04\x0a\x0c\0\0", giaddr="10.0.0.9"), where)
    assert unknown == "no addresses for the network of 10.12.0.0: not a network of the profile"


def test_no_answer_goes_to_a_far_relay_that_selects_a_near_network() -> None:
    data = relayed("discover", b"\x05\x04\x0a\x09\0\0", giaddr="8.8.8.8")
    result = respond(parse(data), context(CAMPUS), NOW)
    assert isinstance(result, Ignored) and result.serious
    assert result.reason.startswith("the relay 8.8.8.8 is in no network of this server")


@pytest.mark.parametrize(
    ("added", "found"),
    [
        (OVERRIDE, RELAY),
        (b"\x0b\x04\0\0\0\0", None),
        (b"\x0b\x03\x0a\x09\0", None),
        (b"\x0b\x04\x0a\x09", None),
        (b"\x01\xff" + OVERRIDE, None),
        (b"\0\0\xff\0" + OVERRIDE, RELAY),
        (b"\x0b", None),
        (b"", None),
    ],
)
def test_a_suboption_is_found_or_is_as_good_as_none(added: bytes, found: object) -> None:
    packet = Packet(op=1, xid=0, chaddr=bytes(16), options={82: added})
    assert relay.server_override(packet) == found


def test_a_damaged_option_82_is_answered_and_echoed() -> None:
    added = OVERRIDE[:-1]
    result = respond(parse(relayed("discover", added)), context(CAMPUS), NOW)
    assert isinstance(result, Reply)
    options = parse(serialize(result.packet)).options
    assert (options[82], options[54]) == (added, US.packed)
