"""Which PC is at an address: on our links, behind relays, and after a restart."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from netboot.boot import limits
from netboot.profile.profile import Profile
from netboot.serve.dhcp.answer import Reply
from netboot.serve.dhcp.packet import ANY, BOOTREPLY, MessageType, Packet
from netboot.serve.identity import RELAYED_SECONDS, Identity
from tests.serve.links import FakeLinks

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:00:00:66"
HERE, FAR = IPv4Address("10.0.0.9"), IPv4Address("10.9.0.60")
RELAY = IPv4Address("10.9.0.1")
NETWORKS = {"10.9.0.0/24": {"range": "10.9.0.50-10.9.0.99"}}
FULL = {"mode": "full", "range": "10.0.0.50-10.0.0.60", "lease_time": "1h", "networks": NETWORKS}
PROXY = {"networks": NETWORKS, "lease_time": "1h"}


def identity(dhcp: Mapping[str, object], clock: list[float]) -> Identity:
    profile = Profile.model_validate({"dhcp": dhcp})
    return Identity(profile, FakeLinks({str(HERE): MAC}), lambda: clock[0])


def reply(
    kind: MessageType, address: IPv4Address = ANY, to: IPv4Address = RELAY, mac: str = MAC
) -> Reply:
    chaddr = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    giaddr = RELAY if to == RELAY else ANY
    packet = Packet(BOOTREPLY, xid=1, chaddr=chaddr, yiaddr=address, giaddr=giaddr)
    return Reply(packet, to, 67, MessageType.DHCPREQUEST, kind, None)


def test_on_a_link_the_kernel_decides() -> None:
    known = identity(FULL, [0.0])
    assert known.mac_of(HERE) == MAC
    assert known.is_at(HERE, MAC) and not known.is_at(HERE, OTHER)
    known.answered(reply(MessageType.DHCPACK, HERE, mac=OTHER))
    assert known.is_at(HERE, MAC), "no answer of ours is asked there"
    known.answered(reply(MessageType.DHCPACK, IPv4Address("10.0.0.8"), mac=OTHER))
    assert known.mac_of(IPv4Address("10.0.0.8")) is None


def test_limits_are_for_a_machine_if_the_kernel_knows_it() -> None:
    known = identity(FULL, [0.0])
    assert known.holder_of(str(HERE)) == MAC
    assert known.holder_of(str(FAR)) == str(FAR)


def test_a_machine_that_the_kernel_does_not_know_yet_is_looked_for() -> None:
    known = identity(FULL, [0.0])
    links = known.links
    assert isinstance(links, FakeLinks)
    assert not known.is_awaited(HERE) and not known.is_awaited(FAR)
    assert known.is_awaited(IPv4Address("10.0.0.8"))
    assert links.probed == [IPv4Address("10.0.0.8")]


def test_behind_a_relay_full_modes_own_answer_decides_for_its_time() -> None:
    clock = [1000.0]
    known = identity(FULL, clock)
    assert not known.is_at(FAR, MAC)
    known.answered(reply(MessageType.DHCPOFFER, FAR))
    assert known.mac_of(FAR) is None, "an offer is not an address"
    known.answered(reply(MessageType.DHCPACK, FAR))
    assert known.is_at(FAR, MAC) and not known.is_at(FAR, OTHER)
    # What the sender itself says: an INFORM, and port 4011.
    known.answered(reply(MessageType.DHCPACK, to=FAR, mac=OTHER))
    assert known.is_at(FAR, MAC)
    clock[0] += 3600
    assert known.mac_of(FAR) is None


def test_an_address_of_no_network_of_the_profile_is_nobodys() -> None:
    known, stranger = identity(PROXY, [0.0]), IPv4Address("10.77.0.5")
    known.answered(reply(MessageType.DHCPACK, to=stranger))
    assert known.mac_of(stranger) is None and not known.is_at(stranger, MAC)


def test_in_proxy_mode_port_4011_decides() -> None:
    known = identity(PROXY, [0.0])
    known.answered(reply(MessageType.DHCPACK, to=FAR))
    assert known.is_at(FAR, MAC)


def test_in_proxy_mode_the_first_who_asks_through_its_relay_is_it() -> None:
    clock = [0.0]
    known = identity(PROXY, clock)
    known.answered(reply(MessageType.DHCPOFFER))
    assert not known.is_at(FAR, OTHER)
    assert known.is_at(FAR, MAC) and known.is_at(FAR, MAC)
    assert not known.is_at(FAR + 1, MAC), "only the first"
    known.answered(reply(MessageType.DHCPOFFER, mac=OTHER))
    clock[0] += RELAYED_SECONDS
    assert not known.is_at(FAR + 1, OTHER)


def test_leases_of_an_earlier_server_are_known_again() -> None:
    known = identity(FULL, [0.0])
    known.restore(MAC, FAR, 10.0)
    known.restore("id:01525400123456", FAR + 1, 10.0)
    known.restore(OTHER, FAR + 2, -1.0)
    assert [known.mac_of(FAR + number) for number in range(3)] == [MAC, None, None]


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KNOWN_ADDRESSES", replace(limits.KNOWN_ADDRESSES, in_total=2))
    known = identity(FULL, [0.0])
    for number in (0, 1, 0, 2):
        known.answered(reply(MessageType.DHCPACK, FAR + number))
    assert [known.mac_of(FAR + number) for number in range(3)] == [MAC, None, MAC]


def test_where_another_server_answers_dhcp_a_far_address_is_the_profiles() -> None:
    client = {"address": str(FAR)}
    near = {"address": "10.0.0.7"}
    dhcp = {"mode": "none", "networks": {"10.9.0.0/24": {}}}
    profile = Profile.model_validate({"dhcp": dhcp, "clients": {MAC: client, OTHER: near}})
    known = Identity(profile, FakeLinks({}))
    assert known.mac_of(FAR) == MAC and known.is_at(FAR, MAC) and not known.is_at(FAR, OTHER)
    assert known.mac_of(FAR + 1) is None
    assert known.mac_of(IPv4Address("10.0.0.7")) is None, "there the kernel decides"
    proxy = profile.model_copy(update={"dhcp": profile.dhcp.model_copy(update={"mode": "proxy"})})
    assert Identity(proxy, FakeLinks({})).mac_of(FAR) is None
