"""DHCP: parse, the answer in both modes, the journal, and what a rival's offer shows.

The first byte of an input selects mode, port and sender. The rest is a UDP payload.
"""

from ipaddress import IPv4Address, IPv4Network

from netboot.boot.client import Client
from netboot.boot.plan import BootPlan, SeatKeys, boot_plan
from netboot.errors import Ignored, ProtocolError
from netboot.profile.fields import AddressRange
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot, Dhcp
from netboot.serve.dhcp import findings, packet, record
from netboot.serve.dhcp.answer import EVERYONE, Context, Reply
from netboot.serve.dhcp.packet import FILE_BYTES, SNAME_BYTES, Packet, parse, serialize
from netboot.serve.dhcp.responder import respond
from netboot.serve.dhcp.scope import make_scopes

US = IPv4Address("10.0.0.1")
RIVAL = IPv4Address("10.0.0.2")
NETWORKS = [IPv4Network("10.0.0.0/24"), IPv4Network("10.9.0.0/24")]
BOOT = Boot(raspberry_pi="/srv/raspberry-pi", architectures=("amd64", "arm64"))
RANGE = AddressRange(first=IPv4Address("10.0.0.50"), last=IPv4Address("10.0.0.53"))
PROFILES = (
    Profile(boot=BOOT, dhcp=Dhcp(mode="proxy")),
    Profile(boot=BOOT, dhcp=Dhcp(mode="full", range=RANGE, dns=(US,), domain="school.example")),
)
TICKET = "5254" * 11
SENDERS = ("0.0.0.0", "10.0.0.60", "10.9.0.5", "192.0.2.1")
# An answer is one frame: an IP datagram of 1500 bytes, less the headers of IP and UDP.
MOST_BYTES = 1500 - 20 - 8
MOST_GROWTH = 512  # bytes that an answer may have more than its question
MOST_CHARACTERS = 200  # of an event's message


def one_input(data: bytes) -> None:
    """Run one input."""
    if not data:
        return
    choice, message = data[0], data[1:]
    try:
        question = parse(message)
    except ProtocolError:
        return
    _check_round_trip(question)
    _answer(question, message, choice)
    try:
        finding = findings.inspect(question, RIVAL, "lan0", full=bool(choice & 1))
    except ProtocolError:
        return
    assert finding is None or (finding.event + finding.advice).isprintable()


def _check_round_trip(question: Packet) -> None:
    if len(question.sname) < SNAME_BYTES and len(question.file) < FILE_BYTES:
        assert parse(serialize(question)) == question


def _answer(question: Packet, message: bytes, choice: int) -> None:
    profile, port = PROFILES[choice & 1], 4011 if choice & 2 else 67

    def plan(client: Client) -> BootPlan:
        return boot_plan(
            profile, profile.seat_of(client.mac), client, SeatKeys(TICKET, "token"), server=US
        )

    context = Context(
        profile=profile,
        server=US,
        port=port,
        source=(IPv4Address(SENDERS[choice >> 2 & 3]), (68, 4011, 67, 5000)[choice >> 4 & 3]),
        plan=plan,
        networks=NETWORKS,
        scopes=make_scopes(profile, NETWORKS[:1], [US]),
    )
    try:
        result = respond(question, context, 1000.0)
    except ProtocolError as error:
        assert str(error).isprintable()
        return
    event = record.of_request(question, port, result, 1000.0)
    if event is not None:
        assert event.message.isprintable() and len(event.message) <= MOST_CHARACTERS
    if isinstance(result, Ignored):
        assert result.reason.isprintable() and len(result.reason) <= MOST_CHARACTERS
    else:
        _check_reply(result, message)
        told = record.of_reply(result, port, 1.0, 1000.0)
        if told is not None:
            assert told.message.isprintable() and TICKET not in told.message + str(told.data)


def _check_reply(reply: Reply, message: bytes) -> None:
    """Check that an answer fits a frame, stays in our networks, and can be read."""
    sent = serialize(reply.packet)
    assert len(sent) <= MOST_BYTES, f"an answer of {len(sent)} bytes"
    assert len(sent) <= len(message) + MOST_GROWTH
    assert reply.packet.op == packet.BOOTREPLY
    assert parse(sent) == reply.packet
    near = any(reply.address in network for network in NETWORKS)
    assert reply.address == EVERYONE or near, f"an answer to {reply.address}"
