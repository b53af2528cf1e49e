"""Questions of real firmware, from captures, and our answers: text goldens beside the captures.

UPDATE_GOLDENS=1 rewrites the goldens; look at the difference before you keep it. For the origin of
the captures see tests/captures/README.md.
"""

import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP

from netboot.boot.client import Client
from netboot.boot.plan import BootPlan, SeatKeys, boot_plan
from netboot.errors import Ignored
from netboot.profile.fields import AddressRange
from netboot.profile.profile import Profile
from netboot.profile.sections import Dhcp
from netboot.serve.dhcp import pxe
from netboot.serve.dhcp.answer import Context, Reply
from netboot.serve.dhcp.packet import Option, Packet, parse, serialize
from netboot.serve.dhcp.responder import respond
from netboot.serve.dhcp.scope import make_scopes
from netboot.serve.dhcp.sender import client_from_packet
from tests import ROOT
from tests.support.dhcp_pcap import questions

FOLDER = ROOT / "tests/captures"
CAPTURES = sorted(FOLDER.glob("*.pcap"))
US, LAN = IPv4Address("10.77.0.1"), IPv4Network("10.77.0.0/24")
PROFILES = {
    "proxy": Profile(),
    "full": Profile(dhcp=Dhcp(mode="full", range=AddressRange(first=LAN[50], last=LAN[200]))),
}
NOW = 1000.0


def _asked(packet: Packet) -> str:
    sender = client_from_packet(packet)
    kind = packet.message_type
    assert kind is not None
    if isinstance(sender, Ignored):
        return f"{kind.name} of nobody we know: {sender.reason}"
    nic = "" if sender.nic is None else " NIC {:04x}:{:04x}".format(*sender.nic)
    flags = " broadcast" if packet.flags else ""
    return f"{kind.name} of {sender.stage.value} {sender.arch.name}{nic}{flags}"


def _answered(result: Reply | Ignored) -> Iterator[str]:
    if isinstance(result, Ignored):
        yield f"nothing: {result.reason}"
        return
    packet = parse(serialize(result.packet))
    yield f"{result.answer.name} to {result.address}:{result.port}"
    yield f"yiaddr {packet.yiaddr} siaddr {packet.siaddr} file {packet.file.decode()}"
    for option in (Option.VENDOR_CLASS_IDENTIFIER, Option.VENDOR_SPECIFIC_INFORMATION):
        if option in packet.options:
            yield f"option {option} {packet.options[option]!r}"
    if Option.ETHERBOOT_ENCAPSULATED in packet.options:
        told = pxe.parse_suboptions(packet.options[Option.ETHERBOOT_ENCAPSULATED])
        yield f"option 175 {told}"


def _story(path: Path, mode: str) -> Iterator[str]:
    profile = PROFILES[mode]
    scopes = make_scopes(profile, [LAN], [US])

    def plan(client: Client) -> BootPlan:
        return boot_plan(profile, profile.seat_of(client.mac), client, SeatKeys("TOKEN"), server=US)

    for frame in questions(path):
        ip, udp = frame[IP], frame[UDP]
        where = Context(
            profile=profile,
            server=US,
            port=udp.dport,
            source=(IPv4Address(ip.src), udp.sport),
            plan=plan,
            networks=[LAN],
            scopes=scopes,
        )
        packet = parse(bytes(udp.payload))
        yield f"{ip.src}:{udp.sport} > {ip.dst}:{udp.dport} {_asked(packet)}"
        yield from (f"    {line}" for line in _answered(respond(packet, where, NOW)))


@pytest.mark.parametrize("path", CAPTURES, ids=[path.stem for path in CAPTURES])
def test_real_firmware_is_answered_as_before(path: Path) -> None:
    mode = path.stem.rpartition("-")[2]
    story = "\n".join(_story(path, mode)) + "\n"
    golden = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDENS"):
        golden.write_text(story)
    assert story == golden.read_text()
