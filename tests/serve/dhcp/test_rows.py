"""Every row of arch.py, asked for by packets of scapy: sound, relayed and hostile ones."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.boot.arch import ARCHITECTURES, Architecture, Firmware
from netboot.boot.client import Client, Stage
from netboot.errors import Ignored, ProtocolError
from netboot.profile.profile import Profile
from netboot.serve.dhcp.answer import Reply
from netboot.serve.dhcp.packet import parse, serialize
from netboot.serve.dhcp.responder import respond
from tests.serve.dhcp.test_responder import CAMPUS, FULL, NOW, PROXY, US, ask, context, plan
from tests.support.pxe_client import MACHINE, PxeClient

PC, RELAY = "10.0.0.77", "10.0.0.9"
EVERY = [(row, stage) for row in ARCHITECTURES for stage in Stage]
every_client = pytest.mark.parametrize(
    ("row", "stage"), EVERY, ids=[f"{row.name}-{stage.value}" for row, stage in EVERY]
)
modes = pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])


def client_of(row: Architecture, stage: Stage) -> PxeClient:
    vendor = b"HTTPClient" if row.firmware is Firmware.UEFI_HTTP else b"PXEClient"
    return PxeClient(arch=row.code, ipxe=stage is Stage.IPXE, vendor=vendor)


def bootfile(row: Architecture, stage: Stage, mac: str = PxeClient().mac) -> bytes:
    return plan(Client(mac, row, stage)).bootfile.encode()


@modes
@every_client
@pytest.mark.parametrize("relay", ["0.0.0.0", RELAY])
def test_a_discover_is_answered_with_the_rows_file(
    row: Architecture, stage: Stage, profile: Profile, relay: str
) -> None:
    client = client_of(row, stage)
    seen = ask(client.discover(giaddr=relay), context(profile))
    assert seen.target == (("255.255.255.255", 68) if relay == "0.0.0.0" else (relay, 67))
    assert (seen.header.op, seen.header.xid, seen.header.giaddr) == (2, client.xid, relay)
    assert bytes(seen.header.chaddr)[:6].hex(":") == client.mac
    assert (seen.file, seen.sname, seen.header.siaddr) == (
        bootfile(row, stage),
        str(US).encode(),
        str(US),
    )
    assert seen.options["server_id"] == str(US)
    assert parse(seen.data).options[97] == b"\0" + MACHINE.bytes
    assert (seen.header.yiaddr == "0.0.0.0") is (profile is PROXY)
    assert len(seen.data) >= 300


@modes
@every_client
@pytest.mark.parametrize("port", [4011, 68])
def test_the_boot_server_answers_the_port_that_asks(
    row: Architecture, stage: Stage, profile: Profile, port: int
) -> None:
    """iPXE asks from port 68, EDK2 from 4011. Any program can ask from another port."""
    where = replace(context(profile, 4011, PC), source=(IPv4Address(PC), port))
    reply = respond(parse(client_of(row, stage).request(ciaddr=PC, flags=0)), where, NOW)
    assert isinstance(reply, Reply)
    assert (str(reply.address), reply.port) == (PC, port)
    assert reply.packet.file == bootfile(row, stage)
    other = replace(where, source=(IPv4Address(PC), 2070))
    refused = respond(parse(client_of(row, stage).request(ciaddr=PC, flags=0)), other, NOW)
    assert isinstance(refused, Ignored) and "from port 2070" in refused.reason


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
@pytest.mark.parametrize("profile", [PROXY, FULL, CAMPUS], ids=["proxy", "full", "campus"])
@given(
    kind=st.sampled_from(["discover", "request", "inform", "decline", "release"]),
    port=st.sampled_from([67, 4011]),
    stage=st.sampled_from(Stage),
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    length=st.integers(200, 600),
)
def test_a_damaged_packet_gets_a_sound_answer_or_none(
    row: Architecture,
    profile: Profile,
    kind: str,
    port: int,
    stage: Stage,
    damage: list[tuple[int, int]],
    length: int,
) -> None:
    data = bytearray(client_of(row, stage).message(kind, ciaddr=PC if port == 4011 else "0.0.0.0"))
    for at, value in damage:
        if at < len(data):
            data[at] = value
    try:
        packet = parse(bytes(data[:length]))
        result = respond(packet, context(profile, port, PC if port == 4011 else "0.0.0.0"), NOW)
    except ProtocolError:
        return
    if isinstance(result, Ignored):
        assert result.reason.isprintable()
        return
    sent = parse(serialize(result.packet))
    assert (sent.op, sent.xid, sent.chaddr) == (2, packet.xid, packet.chaddr)
    client = result.client
    assert client is None or sent.file in (b"", bootfile(client.arch, client.stage, client.mac))
