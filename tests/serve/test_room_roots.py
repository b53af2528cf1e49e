"""Root images in a room: the version that a PC boots, and the line for one that cannot."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.boot import ticket
from netboot.boot.arch import BY_NAME
from netboot.boot.client import Client, Stage, played_mac
from netboot.boot.events import Journal
from netboot.boot.ipxe import Boot, Chain, read
from netboot.pages.lease import LeaseTable
from netboot.profile.profile import Profile
from netboot.roots.library import Library
from netboot.roots.shelf import Shelf
from netboot.serve.boot_files import BootFiles
from netboot.serve.room import Room
from netboot.serve.tftp_files import TftpFiles
from tests.roots.making import KERNEL, make_version
from tests.serve.links import FakeLinks

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:12:34:57"
SERVER = IPv4Address("10.0.0.1")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "roots")


@pytest.fixture
def room(tmp_path: Path, library: Library) -> Room:
    clients = {OTHER: {"root": {"image": "thin"}}}
    profile = Profile.model_validate(
        {"root": {"kind": "image", "image": "kiosk"}, "clients": clients}
    )
    files = BootFiles(tmp_path, profile)
    shelf = Shelf(library, {"amd64": KERNEL})
    room = Room(profile, files, b"s" * 32, Journal(), LeaseTable(1 << 30), shelf=shelf)
    room.identity.links = FakeLinks({"10.0.0.9": MAC, "10.0.0.10": OTHER})
    return room


def script(room: Room, mac: str = MAC, *, begins: bool = True) -> str:
    text = room.script(mac, "bios.ipxe", SERVER, begins=begins)
    assert text is not None
    return text


def image(room: Room, mac: str = MAC) -> str:
    """Return the export that a boot of the PC reads now."""
    boot = read(script(room, mac), mac)
    assert isinstance(boot, Boot)
    return boot.arguments["netboot.image"].partition("/")[2]


def test_each_boot_gets_the_version_that_is_current_then(room: Room, library: Library) -> None:
    old, thin = make_version(library), make_version(library, "thin", b"thin")
    assert image(room) == f"image-{old.manifest.short}-verified"
    new = make_version(library, content=b"new")
    assert image(room) == f"image-{new.manifest.short}-verified"
    library.use(old)
    assert image(room) == f"image-{old.manifest.short}-verified"
    assert image(room, OTHER) == f"image-{thin.manifest.short}-verified", "two in one room"


def test_dhcp_does_not_ask_for_versions(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelf, "boots", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(Shelf, "obstacle", lambda *_: pytest.fail("asked"))
    for arch, stage in (("bios", Stage.FIRMWARE), ("uefi-x64", Stage.IPXE)):
        assert room.plan(Client(MAC, BY_NAME[arch], stage), SERVER).bootfile


def test_a_pc_that_cannot_boot_shows_why_until_it_can(room: Room, library: Library) -> None:
    made = make_version(library, kernels=("6.1.0-50-amd64",))
    line = (
        f"root image {made.label}: it has modules for 6.1.0-50-amd64 only, and the PCs' kernel is "
        f"{KERNEL} (netboot build); sudo netboot image update kiosk"
    )
    text = script(room)
    assert f"echo netboot: pc-123456 cannot boot: {line}\n" in text
    assert read(text, MAC) == Chain(f"http://{SERVER}:8080/boot/{MAC}/bios.ipxe", 30)
    events = room.journal.history(MAC)
    assert [(each.stage, each.message) for each in events] == [("failed:version", line)]
    assert script(room) == text == script(room, begins=False)
    assert len(room.journal.history(MAC)) == 1, "once a minute"
    make_version(library, content=b"new")
    assert image(room), "without a restart"
    assert "there is none in" in script(room, OTHER)


def test_grub_shows_it_too_and_reads_its_file_again(room: Room, library: Library) -> None:
    path = f"boot/{MAC}/x86_64-efi.cfg"
    text = TftpFiles(room).file(path, SERVER)
    assert isinstance(text, bytes)
    assert b"cannot boot: 'root image '" in text and b"sleep 30\n" in text and b"linux" not in text
    assert f"source (tftp,{SERVER})/{path}\n".encode() in text
    made = make_version(library)
    text = TftpFiles(room).file(path, SERVER)
    assert isinstance(text, bytes) and f"image-{made.manifest.short}-verified".encode() in text


def test_firmware_that_shows_nothing_has_an_event(room: Room) -> None:
    room.files = replace(room.files, lacks=frozenset({"ipxe-arm64.efi"}))
    room.plan(Client(MAC, BY_NAME["uefi-arm64-http"], Stage.FIRMWARE), SERVER)
    assert [each.stage for each in room.journal.history(MAC)] == ["failed:version"]


def test_the_session_of_a_seat_opens_its_image_and_no_other(room: Room) -> None:
    session, other = room.doors.begin(MAC), room.doors.begin(OTHER)
    assert (
        room.root_of(session, "10.0.0.9") == "kiosk" and room.root_of(other, "10.0.0.10") == "thin"
    )
    assert room.image_of(session, "10.0.0.9") is None, "no path"
    assert room.root_of(session, "10.0.0.10") is None, "another seat's address"
    played = (room.doors.begin(played_mac(3)), ticket.issue(room.keys.current, played_mac(3)))
    for text in ("", MAC, "guess", session[:-1], *played):
        assert room.root_of(text, "10.0.0.9") is None


def test_a_room_with_a_path_has_no_root_image(room: Room) -> None:
    profile = Profile.model_validate({"root": {"kind": "nbd", "image": "/srv/root.img"}})
    other = Room(profile, room.files, room.keys.current, room.journal, room.table)
    assert other.root_of(other.doors.begin(MAC), "10.0.0.9") is None
    assert "image-" in (other.script(MAC, "bios.ipxe", SERVER) or "")
