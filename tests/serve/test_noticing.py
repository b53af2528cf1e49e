"""Noticing in a room: events and log lines of PCs that fall silent, and of files that are missing."""

import json
import logging
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.boot.arch import BY_NAME
from netboot.boot.client import PROBE_MAC, Client, Stage
from netboot.boot.events import BootEvent, Journal
from netboot.boot.flapping import ROUNDS
from netboot.boot.plan import swap_export
from netboot.pages.lease import LeaseTable
from netboot.profile.profile import Profile
from netboot.serve.boot_files import BootFiles
from netboot.serve.identity import Identity
from netboot.serve.noticing import Noticing
from netboot.serve.room import Room
from netboot.serve.tftp.content import NO_SUCH_FILE
from netboot.serve.tftp.server import Transfer
from netboot.serve.tftp.transfer import Outcome
from netboot.serve.tftp_files import TftpFiles
from tests.serve.links import FakeLinks

MAC, PC, HERE = "52:54:00:12:34:56", IPv4Address("10.0.0.7"), IPv4Address("10.0.0.1")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    profile = Profile()
    identity = Identity(profile, FakeLinks({str(PC): MAC}))
    return Room(
        profile,
        BootFiles(tmp_path, profile),
        b"s" * 32,
        Journal(),
        LeaseTable(1 << 30),
        identity=identity,
    )


def dhcp(room: Room, kind: str, **data: str) -> None:
    room.journal.record(BootEvent(time.time(), MAC, "dhcp", kind, {"type": kind, **data}))


def last(room: Room) -> BootEvent:
    return room.journal.history(MAC)[-1]


def test_a_silent_pc_has_an_event_and_one_warning(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    noticing = Noticing(room)
    dhcp(room, "DISCOVER", arch="bios", stage="firmware")
    dhcp(room, "OFFER", file="undionly.kpxe")
    dhcp(room, "REQUEST")
    begin = time.monotonic()
    with caplog.at_level(logging.INFO):
        for second in range(60):
            noticing.look(begin + second)
    (line,) = caplog.records
    assert line.levelno == logging.WARNING and MAC in line.message
    assert "was offered a boot file and has asked for nothing for 20 s" in line.message
    assert last(room).stage == "silent" and last(room).message in line.message


def test_a_request_over_tftp_ends_the_silence(room: Room) -> None:
    dhcp(room, "DISCOVER", arch="bios", stage="firmware")
    dhcp(room, "OFFER", file="undionly.kpxe")
    dhcp(room, "REQUEST")
    TftpFiles(room).file("undionly.kpxe", HERE, PC)
    Noticing(room).look(time.monotonic() + 60)
    assert last(room).stage == "dhcp"


def test_a_script_begins_a_wait_unless_it_says_wait(room: Room) -> None:
    room.plan(Client(MAC, BY_NAME["bios"], Stage.IPXE, ours=True), HERE)
    assert room.script(MAC, "bios.ipxe", HERE) is not None
    Noticing(room).look(time.monotonic() + 21)
    assert last(room).stage == "silent" and "fetched no kernel" in last(room).message


def test_a_file_that_is_missing_is_told_once_a_minute_with_the_remedy(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        refused = Transfer(str(PC), "undionly.kpxe", None, 0, 0, Outcome.REFUSED, NO_SUCH_FILE)
        TftpFiles(room).transferred(refused)
    (line,) = caplog.records
    assert f"{MAC} at {PC}: undionly.kpxe: refused: there is no such file" in line.message
    assert "(run 'netboot build'); the PC shows: a TFTP error, PXE-E3B" in line.message
    told = [event for event in room.journal.history(MAC) if event.stage == "missing"]
    assert len(told) == 1 and told[0].data == {"file": "undionly.kpxe", "bytes": 0}


def test_a_name_of_another_server_has_another_remedy(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    room.missing("", "pxelinux.0\x1b[2J" + "x" * 200, PC)
    room.missing(PROBE_MAC, "x", PC)
    (line,) = caplog.records
    assert "option 67" in line.message and "\x1b" not in line.message and len(line.message) < 300


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("no answer", "a firewall, or a smaller MTU on the way?"),
        ("Operation not permitted", "this machine's firewall lets out no answer"),
    ],
)
@pytest.mark.parametrize("address", [str(PC), "10.8.0.60"])
def test_a_transfer_that_nobody_acknowledges_is_told_also_from_behind_a_router(
    room: Room, caplog: pytest.LogCaptureFixture, reason: str, cause: str, address: str
) -> None:
    """Boot 5: behind a router nobody knew, so nobody was told."""
    for _ in range(2):
        broken = Transfer(address, "undionly.kpxe", 70000, 0, 30.0, Outcome.BROKEN, reason)
        TftpFiles(room).transferred(broken)
    (line,) = caplog.records
    text = f"acknowledged nothing of undionly.kpxe ({reason}: {cause})"
    assert line.message == f"TFTP: {address} {text}"
    if address == str(PC):
        assert last(room).message.endswith(f": broken ({reason}: {cause})")
    caplog.clear()
    half = Transfer(address, "undionly.kpxe", 70000, 512, 30.0, Outcome.BROKEN, reason)
    TftpFiles(room).transferred(half)
    assert not caplog.records


def test_a_pc_whose_transfer_breaks_off_in_the_middle_is_told(room: Room) -> None:
    room.asked_file(PC)
    half = Transfer(str(PC), "undionly.kpxe", 70000, 512, 0.1, Outcome.BROKEN, "no answer")
    TftpFiles(room).transferred(half)
    Noticing(room).look(time.monotonic() + 21)
    assert last(room).stage == "silent" and "only a part of a boot file" in last(room).message


def test_the_status_of_a_seat_that_flaps_is_the_summary(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    data = {"export": swap_export(MAC), "connections": 0}
    for _ in range(ROUNDS):
        room.record(MAC, "pages:detach", "timed out", **data)
        room.record(MAC, "pages:attach", "attached", **(data | {"connections": 1}))
    Noticing(room).look(time.monotonic())
    room.record(MAC, "pages:attach", "attached", **(data | {"connections": 1}))
    (seat,) = json.loads(room.status(0.0))["seats"]
    assert [event["stage"] for event in seat["events"]] == ["pages:flapping"]
    assert "5 times in 60 s" in caplog.records[0].message


def test_a_missing_file_is_told_also_if_nobody_knows_the_pc(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    far = Transfer("10.8.0.60", "snponly.efi", None, 0, 0, Outcome.REFUSED, NO_SUCH_FILE)
    TftpFiles(room).transferred(far)
    (line,) = caplog.records
    assert (
        "10.8.0.60: snponly.efi: refused: there is no such file (run 'netboot build')"
        in line.message
    )


@pytest.mark.parametrize("layout", ["spread", "any"])
def test_swap_that_another_server_of_the_pool_may_have_is_not_away(room: Room, layout: str) -> None:
    servers = {"servers": ["10.0.0.1", "10.0.0.2"], "store": "rbd:swap", "layout": layout}
    room.profile = Profile.model_validate({"swap": servers})
    data = {"export": swap_export(MAC), "connections": 0}
    for kind in ("attach", "detach"):
        room.journal.record(BootEvent(time.time(), MAC, f"pages:{kind}", kind, data))
    Noticing(room).look(time.monotonic() + 60)
    assert (last(room).stage == "pages:away") == (layout == "spread")
