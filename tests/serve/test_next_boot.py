"""Another image or loader at the next boot: for that boot, and for no other one."""

import asyncio
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.boot.arch import BY_NAME
from netboot.boot.client import Client, Stage
from netboot.boot.events import Journal
from netboot.boot.ipxe import Boot, read
from netboot.pages.lease import LeaseTable
from netboot.profile.profile import Profile
from netboot.roots.library import Library
from netboot.roots.shelf import Shelf
from netboot.serve.boot_files import BootFiles
from netboot.serve.next_boot import APART_SECONDS, FILE, MOST_TRIES, NextBoots
from netboot.serve.room import Room
from tests.roots.making import KERNEL, make_version
from tests.serve.links import FakeLinks

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:12:34:57"
SERVER, PC = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")


class Ticks:
    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    found = Ticks()
    monkeypatch.setattr("netboot.serve.room.time.monotonic", lambda: found.now)
    return found


def room_of(folder: Path, profile: Profile, boots: NextBoots | None = None) -> Room:
    room = Room(
        profile,
        BootFiles(folder, profile),
        b"s" * 32,
        Journal(),
        LeaseTable(1 << 30),
        shelf=Shelf(Library(folder / "roots"), {"amd64": KERNEL}),
        next_boots=boots or NextBoots(),
    )
    room.identity.links = FakeLinks({str(PC): MAC})
    return room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    make_version(Library(tmp_path / "roots"))
    make_version(Library(tmp_path / "roots"), "thin", b"thin")
    return room_of(tmp_path, Profile.model_validate({"root": {"kind": "image", "image": "kiosk"}}))


def boot(room: Room, mac: str = MAC) -> str:
    """Boot a PC until it has its script; return the name of the image that it may read then."""
    text = room.script(mac, "bios.ipxe", SERVER)
    assert text is not None and isinstance(read(text, mac), Boot)
    return name_of(room, room.seats.of(mac).session)


def name_of(room: Room, session: str) -> str:
    return room.root_of(session, str(PC)) or ""


def linux(room: Room, session: str = "") -> None:
    """Have the PC's Linux ask for something."""
    assert room.admit(session or room.seats.of(MAC).session, PC) is not None


def test_an_image_is_for_one_boot_and_a_pc_that_runs_keeps_its_own(
    room: Room, ticks: Ticks
) -> None:
    assert boot(room) == "kiosk"
    old = room.seats.of(MAC).session
    linux(room)
    room.next_boots.order(MAC, image="thin")
    linux(room, old)
    assert name_of(room, old) == "kiosk", "it runs"
    ticks.now += 1000
    assert boot(room) == "thin" and boot(room, OTHER) == "kiosk"
    ordered = room.seats.of(MAC).session
    linux(room)
    linux(room, old)
    assert (name_of(room, ordered), name_of(room, old)) == ("thin", "kiosk")
    ticks.now += 1000
    assert boot(room) == "kiosk"
    assert name_of(room, ordered) == "kiosk", "that boot is over"


def test_an_order_is_taken_back(room: Room) -> None:
    room.next_boots.order(MAC, image="thin")
    room.next_boots.order(MAC, loader="ipxe")
    settings = room.next_boots.before(room.seats.of(MAC).settings)
    assert (settings.root.image, settings.boot.loader) == ("thin", "ipxe")
    room.next_boots.order(MAC, image="")
    assert boot(room) == "kiosk"
    room.next_boots.order(MAC, loader="")
    assert room.next_boots.before(room.seats.of(MAC).settings) is room.seats.of(MAC).settings


def test_a_boot_that_fails_is_tried_again_but_not_for_ever(room: Room, ticks: Ticks) -> None:
    room.next_boots.order(MAC, image="thin")
    for _ in range(MOST_TRIES):
        assert boot(room) == boot(room) == "thin", "a loader may ask twice"
        ticks.now += APART_SECONDS
    assert boot(room) == "kiosk", "the fourth boot is the profile's from its first answer on"
    assert boot(room) == "kiosk"
    (event,) = (each for each in room.journal.history(MAC) if each.stage == "ordered")
    assert event.message == "no Linux after 3 boots as ordered; the profile counts again"


def test_a_loader_is_ordered_and_given_up_if_it_does_not_start(tmp_path: Path) -> None:
    room = room_of(tmp_path, Profile())
    firmware = Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE)
    usual = room.plan(firmware, SERVER).bootfile
    room.next_boots.order(MAC, loader="native")
    ordered = room.plan(firmware, SERVER).bootfile
    assert ordered != usual and room.plan(firmware, SERVER).bootfile == ordered
    room.fetched(MAC, ordered.rpartition("/")[2])
    room.seats.of(MAC).attempts.loaded(-1000.0)
    for _ in range(3):
        room.plan(firmware, SERVER)
    told = [event.message for event in room.journal.history(MAC) if event.stage == "ordered"]
    assert told == ["the ordered loader 'native' did not start"]
    assert room.next_boots.before(room.seats.of(MAC).settings).boot.loader == "auto"


@pytest.mark.parametrize("mode", ["proxy", "none"])
def test_a_pc_without_scripts_is_not_told_of_an_order_for_ever(
    tmp_path: Path, ticks: Ticks, mode: str
) -> None:
    """A loader that reads one file of ours, or none: each answer of a boot follows the same order."""
    make_version(Library(tmp_path / "roots"), "thin", b"thin")
    room = room_of(tmp_path, Profile.model_validate({"dhcp": {"mode": mode}}))
    pc = Client(MAC, BY_NAME["uefi-ia32"], Stage.FIRMWARE)

    def image() -> str | None:
        if mode == "none":
            room.seats.of(MAC).has_run = True
            return room.plan_of(pc, SERVER).seat.root.image
        return room.plan(pc, SERVER).seat.root.image

    room.next_boots.order(MAC, image="thin")
    for _ in range(MOST_TRIES):
        assert image() == image() == "thin"
        ticks.now += APART_SECONDS
    assert image() is None and image() is None


def test_a_next_server_goes_on(tmp_path: Path) -> None:
    make_version(Library(tmp_path / "roots"), "thin", b"thin")

    async def work() -> None:
        first = NextBoots(tmp_path)
        room = room_of(tmp_path, Profile(), first)
        first.order(MAC, image="thin")
        first.order(OTHER, image="thin")
        boot(room)
        session = room.seats.of(MAC).session
        linux(room)
        await first.keeper.stop()
        content = (tmp_path / FILE).read_text()
        assert session not in content and (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
        second = NextBoots(tmp_path)
        room = room_of(tmp_path, Profile(), second)
        assert name_of(room, session) == "thin" and boot(room, OTHER)
        await second.keeper.stop()
        (tmp_path / FILE).write_text("damaged")
        (tmp_path / f".{FILE}.spare").unlink(missing_ok=True)
        assert NextBoots(tmp_path).before(room.seats.of(OTHER).settings).root.kind == "ram"

    asyncio.run(work())
