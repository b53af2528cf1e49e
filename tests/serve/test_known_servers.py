"""A server of the profile that asks here, to look whether this one is healthy, becomes no seat."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from netboot.boot.events import Journal
from netboot.pages.lease import LeaseTable
from netboot.pages.telling import PageEvent
from netboot.profile.profile import Profile
from netboot.serve.boot_files import BootFiles
from netboot.serve.identity import Identity
from netboot.serve.page_events import PageEvents
from netboot.serve.room import Room
from netboot.serve.tftp.content import NO_SUCH_FILE
from netboot.serve.tftp.server import Transfer
from netboot.serve.tftp.transfer import Outcome
from netboot.serve.tftp_files import TftpFiles
from tests.serve.links import FakeLinks

PC, SERVER = "10.0.0.7", "10.0.0.2"
MACS = {PC: "52:54:00:12:34:56", SERVER: "52:54:00:00:00:02"}
SERVERS = ["10.0.0.1", SERVER]
PROFILES = {
    "swap.servers": {"swap": {"servers": SERVERS}},
    "boot.servers": {"dhcp": {"mode": "proxy"}, "boot": {"servers": SERVERS}},
}


@pytest.fixture(params=PROFILES.values(), ids=list(PROFILES))
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Room:
    profile = Profile.model_validate(request.param)
    return Room(
        profile,
        BootFiles(tmp_path, profile),
        b"s" * 32,
        Journal(),
        LeaseTable(1 << 30),
        identity=Identity(profile, FakeLinks(MACS)),
    )


def told(room: Room, address: str) -> list[tuple[str, Any]]:
    return [(event.stage, event.message) for event in room.journal.history(MACS[address])]


def test_a_handshake_that_is_refused_is_an_event_of_a_pc_alone(room: Room) -> None:
    events = PageEvents(room, room.identity, room.journal)
    for address in MACS:
        events.note(PageEvent("refused", "", "", "no such export", {"address": address}))
    assert told(room, PC) == [("pages:refused", "no such export")]
    assert told(room, SERVER) == []


@pytest.mark.parametrize(
    ("size", "outcome", "reason"),
    [(None, Outcome.REFUSED, NO_SUCH_FILE), (None, Outcome.REFUSED, "busy"), (9, Outcome.DONE, "")],
)
def test_a_file_over_tftp_is_one_too(
    room: Room, size: int | None, outcome: Outcome, reason: str
) -> None:
    files = TftpFiles(room)
    for address in MACS:
        room.asked_file(IPv4Address(address))
        files.transferred(Transfer(address, "snponly.efi", size, size or 0, 0.1, outcome, reason))
    assert len(told(room, PC)) == 1
    assert told(room, SERVER) == []
    assert room.seat_of("", IPv4Address(SERVER)) is None
