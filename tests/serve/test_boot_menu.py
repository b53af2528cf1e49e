"""The boot menu of a room: its password, and choices that are for one boot alone."""

import asyncio
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.boot.events import Journal
from netboot.boot.ipxe import Boot, read
from netboot.boot.limits import MENU_PASSWORDS
from netboot.errors import DeniedError
from netboot.pages.lease import LeaseTable
from netboot.profile.profile import Profile
from netboot.serve.boot_files import BootFiles
from netboot.serve.boot_menu import BootMenu
from netboot.serve.next_boot import APART_SECONDS, NextBoots
from netboot.serve.room import Room
from tests.serve.links import FakeLinks

MAC = "52:54:00:12:34:56"
SERVER, PC = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")
# Of "hello" (tests/host/test_passwords.py); bcrypt with few rounds is quick.
HASH = "$2b$05$abcdefghijklmnopqrstuuWHxnxkyNt6AHCwFMQaY6auyqJA8E98a"
LOCAL, RESCUE = "sanboot --no-describe --drive 0x80", "netboot.rescue=1"


class Ticks:
    now = 1000.0


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    found = Ticks()
    monkeypatch.setattr("netboot.serve.room.time.monotonic", lambda: found.now)
    return found


def room_of(folder: Path, boots: NextBoots | None = None, **keys: object) -> Room:
    menu = {"entries": ["rescue", "local", "memtest"], **keys}
    profile = Profile.model_validate({"boot": {"menu": menu}})
    files = BootFiles(folder, profile)
    table = LeaseTable(1 << 30)
    room = Room(profile, files, b"s" * 32, Journal(), table, next_boots=boots or NextBoots())
    room.identity.links = FakeLinks({str(PC): MAC})
    return room


@pytest.fixture
def room(tmp_path: Path, ticks: Ticks) -> Room:
    return room_of(tmp_path)


def boot(room: Room) -> str:
    text = room.script(MAC, "bios.ipxe", SERVER)
    assert text is not None
    return text


def choose(room: Room, entry: str) -> str:
    text = room.menu_script(MAC, "bios.ipxe", SERVER, entry)
    assert text is not None
    return text


def told(room: Room) -> list[str]:
    return [event.message for event in room.journal.history(MAC) if event.stage == "menu"]


def test_the_local_disk_is_for_one_boot_however_often_that_boot_asks(
    room: Room, ticks: Ticks
) -> None:
    boot(room)
    assert LOCAL in choose(room, "local")
    ticks.now += 5
    assert LOCAL in choose(room, "local"), "iPXE asks twice"
    assert LOCAL in boot(room), "its DHCP and its script are repeated"
    ticks.now += APART_SECONDS
    assert isinstance(read(boot(room), MAC), Boot) and LOCAL not in boot(room)
    assert told(room) == ["starts: Local disk"] * 3


def test_a_rescue_shell_is_for_one_boot_and_its_linux_keeps_it(room: Room, ticks: Ticks) -> None:
    assert RESCUE in choose(room, "rescue") and RESCUE in boot(room)
    assert room.admit(room.seats.of(MAC).session, PC) is not None
    ticks.now += APART_SECONDS
    assert RESCUE not in boot(room)


def test_a_rescue_shell_that_did_not_start_is_not_tried_again(room: Room, ticks: Ticks) -> None:
    assert RESCUE in choose(room, "rescue")
    ticks.now += APART_SECONDS
    assert RESCUE not in boot(room)


def test_an_order_for_the_next_boot_waits_for_it_and_is_used_once(room: Room, ticks: Ticks) -> None:
    room.next_boots.order(MAC, entry="memtest", once=True)
    ticks.now += 100_000
    assert "memtest86.bin" in boot(room) and "memtest86.bin" in boot(room)
    ticks.now += APART_SECONDS
    assert "memtest86.bin" not in boot(room)


def test_a_choice_takes_the_place_of_an_order(room: Room, ticks: Ticks) -> None:
    room.next_boots.order(MAC, entry="memtest", once=True)
    assert LOCAL in choose(room, "local")
    ticks.now += APART_SECONDS
    assert isinstance(read(boot(room), MAC), Boot)


def test_as_usual_ends_what_was_chosen(room: Room) -> None:
    assert LOCAL in choose(room, "local")
    assert isinstance(read(choose(room, "boot"), MAC), Boot)
    assert isinstance(read(boot(room), MAC), Boot)


def test_a_menu_that_is_open_is_no_silent_pc(room: Room) -> None:
    boot(room)
    assert len(room.silence.overdue(ticks_after(room))) == 1
    boot(room)
    choose(room, "")
    assert room.silence.overdue(ticks_after(room)) == []


def ticks_after(room: Room) -> float:
    return 1000.0 + 600


def test_what_is_not_in_the_menu_is_no_entry(room: Room, tmp_path: Path) -> None:
    for entry in ("image-kiosk", "windows", "../boot"):
        assert room.menu_script(MAC, "bios.ipxe", SERVER, entry) is None
    assert room.menu_script(MAC, "none.ipxe", SERVER, "local") is None
    off = room_of(tmp_path, entries=[])
    assert off.menu_script(MAC, "bios.ipxe", SERVER, "") is None
    assert "prompt" not in boot(off)


def test_an_entry_that_a_pc_cannot_start_is_not_offered_and_not_started(room: Room) -> None:
    def ask(entry: str) -> str | None:
        return room.menu_script(MAC, "uefi-arm64.ipxe", SERVER, entry)

    assert "item memtest" in choose(room, "")
    offered = ask("")
    assert offered is not None and "item memtest" not in offered and "item local" in offered
    assert ask("memtest") is None
    room.next_boots.order(MAC, entry="memtest", once=True)
    text = room.script(MAC, "uefi-arm64.ipxe", SERVER)
    assert text is not None and "memtest" not in text
    assert told(room)[-1] == "does not run on this PC: Memory test (Memtest86+)"


def test_an_order_outlives_the_server(tmp_path: Path) -> None:
    async def work() -> None:
        first = NextBoots(tmp_path)
        room = room_of(tmp_path, first)
        first.order(MAC, entry="local", once=True)
        await first.keeper.stop()
        second = NextBoots(tmp_path)
        room = room_of(tmp_path, second)
        assert LOCAL in boot(room)
        await second.keeper.stop()

    asyncio.run(work())


def test_a_password_opens_the_menu_and_wrong_ones_are_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events: list[str] = []
    now = Ticks()

    async def work() -> None:
        menu = Profile.model_validate(
            {"boot": {"menu": {"entries": ["local"], "password": HASH}}}
        ).boot.menu
        door = BootMenu(menu, lambda mac, stage, text: events.append(text), lambda: now.now)
        for _ in range(3 * (MENU_PASSWORDS.per_address or 0)):
            await door.admit(MAC, "10.0.0.9", "hello")
        for _ in range(MENU_PASSWORDS.per_address or 0):
            with pytest.raises(DeniedError, match="wrong password"):
                await door.admit(MAC, "10.0.0.9", "guess")
        with pytest.raises(DeniedError, match="too many wrong passwords"):
            await door.admit(MAC, "10.0.0.9", "hello")
        await door.admit(MAC, "10.0.0.8", "hello")
        now.now += MENU_PASSWORDS.seconds or 0
        await door.admit(MAC, "10.0.0.9", "hello")

    asyncio.run(work())
    assert len(caplog.records) == len(events) == 1, "one line in a minute"
    assert "guess" not in caplog.text


def test_all_addresses_together_are_bounded() -> None:
    async def work() -> None:
        menu = Profile.model_validate(
            {"boot": {"menu": {"entries": ["local"], "password": HASH}}}
        ).boot.menu
        door = BootMenu(menu, lambda mac, stage, text: None, lambda: 1000.0)
        for number in range(MENU_PASSWORDS.in_total or 0):
            with pytest.raises(DeniedError, match="wrong password"):
                await door.admit(MAC, f"10.0.1.{number}", "")
        with pytest.raises(DeniedError, match="too many"):
            await door.admit(MAC, "10.0.2.1", "hello")

    asyncio.run(work())
