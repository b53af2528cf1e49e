"""A PC without an answer is named, with the reason and with what its screen shows."""

from ipaddress import IPv4Address

import pytest

from netboot.errors import Ignored, ProtocolError
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot
from netboot.serve.dhcp import record, refusal
from netboot.serve.dhcp.packet import parse
from netboot.serve.dhcp.responder import respond
from tests.serve.dhcp.test_responder import FULL, NOW, PROXY, context
from tests.support.pxe_client import UEFI_X64, UEFI_X64_HTTP, PxeClient

FAR = {"giaddr": "8.8.8.8"}
HERE, NOWHERE = IPv4Address("10.0.0.77"), IPv4Address(0)


def refused(data: bytes, profile: Profile, port: int = 67, source: str = "0.0.0.0") -> Ignored:
    result = respond(parse(data), context(profile, port, source), NOW)
    assert isinstance(result, Ignored)
    return result


@pytest.mark.parametrize(
    ("client", "profile", "shows"),
    [
        (PxeClient(), PROXY, "PXE-E53"),
        (PxeClient(), FULL, "PXE-E51"),
        (PxeClient(arch=UEFI_X64), PROXY, "PXE-E16"),
        (PxeClient(arch=UEFI_X64), FULL, "PXE-E16"),
        (PxeClient(arch=2), PROXY, "PXE-E16"),
        (PxeClient(ipxe=True), PROXY, "Nothing to boot"),
        (PxeClient(ipxe=True), FULL, "No configuration methods succeeded"),
        (PxeClient(arch=UEFI_X64_HTTP), PROXY, "next boot entry"),
    ],
)
def test_a_refusal_says_what_the_pc_shows(client: PxeClient, profile: Profile, shows: str) -> None:
    result = refused(client.discover(**FAR), profile)
    assert result.serious and shows in result.shows
    event = record.of_request(parse(client.discover(**FAR)), 67, result, NOW)
    assert event is not None and event.seat == client.mac
    assert event.message == f"DISCOVER: {result.reason}; the PC shows: {result.shows}"


@pytest.mark.parametrize(
    ("data", "port", "source"),
    [
        (PxeClient(arch=27).discover(), 67, "0.0.0.0"),
        (PxeClient(arch=15, vendor=b"HTTPClient").discover(), 67, "0.0.0.0"),
        (PxeClient().discover(hlen=16, chaddr=bytes(range(16))), 67, "0.0.0.0"),
        (PxeClient(mac="b8:27:eb:00:00:01").discover(), 67, "0.0.0.0"),
        (PxeClient().request(ciaddr="8.8.8.8"), 4011, "8.8.8.8"),
    ],
)
def test_every_boot_client_that_is_refused_is_worth_a_line(
    data: bytes, port: int, source: str
) -> None:
    profile = Profile(boot=Boot(architectures=("amd64",)))
    assert refused(data, profile, port, source).serious


@pytest.mark.parametrize(
    "data",
    [
        PxeClient().plain("discover"),
        PxeClient().request(),
        PxeClient().discover(op=2),
        PxeClient().plain("release", ciaddr="10.0.0.5"),
    ],
)
def test_traffic_of_others_is_worth_no_line(data: bytes) -> None:
    assert not refused(data, PROXY).serious


def test_a_pc_is_named_with_its_place() -> None:
    mac = PxeClient().mac
    assert refusal.sender(parse(PxeClient().discover()), NOWHERE) == f"{mac} without an address"
    assert refusal.sender(parse(PxeClient().discover()), HERE) == f"{mac} at 10.0.0.77"
    relayed = parse(PxeClient().discover(giaddr="10.9.0.1"))
    assert refusal.sender(relayed, HERE) == f"{mac} behind the relay 10.9.0.1"
    nobody = parse(PxeClient().discover(hlen=16, chaddr=bytes(range(16))))
    assert refusal.sender(nobody, NOWHERE).startswith("chaddr 000102030405")


def test_a_message_that_cannot_be_parsed_is_an_event_of_its_seat() -> None:
    damaged = bytearray(PxeClient().discover())
    damaged[236:240] = b"abcd"
    with pytest.raises(ProtocolError) as raised:
        parse(bytes(damaged))
    event = record.of_damage(bytes(damaged), 67, raised.value, NOW)
    assert event is not None
    assert (event.seat, event.stage) == (PxeClient().mac, "dhcp")
    assert event.message.startswith("a damaged packet got no answer: magic cookie is 61626364")
    assert record.of_damage(bytes(236), 67, raised.value, NOW) is None
    assert record.of_damage(b"short", 67, raised.value, NOW) is None


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (PxeClient().discover(), "DISCOVER from PXEClient bios"),
        (PxeClient(arch=16, vendor=b"PXEClient").discover(), "uefi-x64 (option 93: 16)"),
        (
            PxeClient().plain("discover", ("vendor_class_id", b"PXEClient")),
            "DISCOVER from PXEClient bios (names no architecture)",
        ),
    ],
)
def test_an_odd_architecture_is_named_in_the_timeline(data: bytes, note: str) -> None:
    packet = parse(data)
    event = record.of_request(packet, 67, respond(packet, context(), NOW), NOW)
    assert event is not None and event.message.endswith(note)
