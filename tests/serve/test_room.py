"""The room: its answers to each server about a seat, and the time when a boot gets its keys."""

import json
import os
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.boot import memory, ticket
from netboot.boot.arch import BY_NAME
from netboot.boot.client import PROBE_MAC, Client, Stage, played_mac
from netboot.boot.events import Journal
from netboot.boot.grub import OWN_SCRIPT
from netboot.boot.ipxe import Boot, Chain, read
from netboot.boot.plan import image_export
from netboot.boot.slices import BASE, Catalogue, Slice
from netboot.boot.ticket import Key
from netboot.errors import DeniedError
from netboot.feed.records import Report
from netboot.pages.lease import Attached, LeaseTable
from netboot.pages.nbd.name import WireName
from netboot.profile.fields import SwapSize
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot as BootSettings
from netboot.profile.sections import Http, Swap
from netboot.serve.boot_files import BootFiles
from netboot.serve.doors import SHOWS
from netboot.serve.http.beacon import parse_beacon
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.room import DAMAGED, Room
from netboot.serve.seat_content import read_files
from netboot.serve.tftp.server import Transfer
from netboot.serve.tftp.transfer import Outcome
from netboot.serve.tftp_files import NOT_YET, TftpFiles
from tests.serve.links import FakeLinks
from tests.support import newc

MAC = "52:54:00:12:34:56"
SERVER = IPv4Address("10.0.0.1")
GIB = 1 << 30


@pytest.fixture
def room(tmp_path: Path) -> Room:
    (tmp_path / "snponly.efi").write_bytes(b"loader")
    return Room(Profile(), BootFiles(tmp_path, Profile()), b"s" * 32, Journal(), LeaseTable(GIB))


def other_room(room: Room, profile: Profile) -> Room:
    return Room(
        profile, BootFiles(room.files.images, profile), room.keys.current, room.journal, room.table
    )


def token_of(room: Room) -> str:
    """Return the token of the seat's boot."""
    return room.keys.swap_token(room.seats.of(MAC).session)


def ask_for_lease(room: Room, ram_bytes: int, mac: str = MAC) -> str:
    return room.lease(mac, LeaseRequest(ram_bytes, session=room.seats.of(mac).session))


def stages(room: Room) -> list[tuple[str, str]]:
    return [(event.stage, event.message) for event in room.journal.history(MAC)]


def test_dhcp_tftp_and_http_lead_from_one_to_the_next(room: Room, tmp_path: Path) -> None:
    firmware = room.plan(Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE), SERVER)
    assert TftpFiles(room).file(firmware.bootfile, SERVER) == tmp_path / "snponly.efi"
    ipxe = room.plan(Client(MAC, BY_NAME["uefi-x64"], Stage.IPXE), SERVER)
    chain = (TftpFiles(room).script(ipxe.bootfile, SERVER) or b"").decode()
    first = read(chain, MAC)
    assert first == Chain(f"{room.base_url(SERVER)}/{ipxe.script_path}")
    script = room.script(MAC, "uefi-x64.ipxe", SERVER)
    assert script is not None and token_of(room) in script


def test_http_boot_leads_to_a_loader(room: Room) -> None:
    firmware = room.plan(Client(MAC, BY_NAME["uefi-x64-http"], Stage.FIRMWARE), SERVER)
    folder, _, name = firmware.bootfile.rpartition("/")
    assert folder == f"{room.base_url(SERVER)}/boot"
    loader = room.file(name)
    assert loader is not None and loader.read_bytes() == b"loader"


def files(room: Room, stage: Stage, times: int = 2, *, able: bool = True) -> set[str]:
    """Return DHCP's files in one boot: DISCOVER, REQUEST and repetitions get the same one."""
    client = Client(MAC, BY_NAME["bios"], stage, able=able)
    return {room.plan(client, SERVER).bootfile for _ in range(times)}


@pytest.mark.parametrize(("loader", "able"), [("auto", False), ("ipxe", True), ("ipxe", False)])
def test_a_cards_ipxe_makes_way_for_ours_and_ours_gets_the_script(
    room: Room, loader: str, able: bool
) -> None:
    room = other_room(room, Profile.model_validate({"boot": {"loader": loader}}))
    for _ in range(2):  # boots
        assert files(room, Stage.IPXE, able=able) == {"undionly.kpxe"}
        room.fetched(MAC, "undionly.kpxe")
        assert files(room, Stage.IPXE) == {"bios.ipxe"}
        assert TftpFiles(room).file("bios.ipxe", SERVER) is not None
        assert room.script(MAC, "bios.ipxe", SERVER) is not None
    assert stages(room) == []


def test_an_able_ipxe_of_a_card_goes_straight_to_its_script(room: Room) -> None:
    assert files(room, Stage.IPXE) == {"bios.ipxe"}


def test_the_ipxe_of_our_medium_goes_straight_to_its_script(room: Room) -> None:
    room = other_room(room, Profile.model_validate({"boot": {"loader": "signed"}}))
    client = Client(MAC, BY_NAME["bios"], Stage.IPXE, ours=True)
    assert room.plan(client, SERVER).bootfile == "bios.ipxe"


def test_grub_is_led_to_its_seats_files(room: Room, tmp_path: Path) -> None:
    room = other_room(room, Profile.model_validate({"boot": {"loader": "signed"}}))
    first = room.plan(Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE), SERVER)
    folder, _, name = first.bootfile.rpartition("/")
    assert (folder, name) == ("boot", "shimx64.efi")
    token = token_of(room)
    for loader in (name, "grubx64.efi"):
        assert TftpFiles(room).file(f"{folder}/{loader}", SERVER) == tmp_path / loader
        room.fetched(MAC, loader)
    first_file = TftpFiles(room).file("grub/grub.cfg", SERVER)
    assert isinstance(first_file, bytes) and b"source" in first_file
    folder = f"boot/{MAC}"
    for _ in range(2):  # as for a repeated request
        text = TftpFiles(room).file(f"{folder}/x86_64-efi.cfg", SERVER)
        assert isinstance(text, bytes) and token.encode() in text
    assert TftpFiles(room).file(f"{folder}/amd64/vmlinuz", SERVER) == tmp_path / "amd64/vmlinuz"
    assert TftpFiles(room).file(f"{folder}/sparc64-ieee1275.cfg", SERVER) is None
    assert TftpFiles(room).file("boot/guess/amd64/vmlinuz", SERVER) is None
    again = room.plan(Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE), SERVER)
    assert again.bootfile == first.bootfile, "it came through"
    assert token_of(room) != token, "another boot"


def test_a_grub_that_may_be_changed_is_led_there_by_itself(room: Room, tmp_path: Path) -> None:
    (tmp_path / "grubia32.efi").write_bytes(OWN_SCRIPT.replace("PLATFORM", "i386-efi").encode())
    plan = room.plan(Client(MAC, BY_NAME["uefi-ia32"], Stage.FIRMWARE), SERVER)
    image = TftpFiles(room).file(plan.bootfile, SERVER)
    assert isinstance(image, bytes)
    file = image.decode().strip().removeprefix(f"source (tftp,{SERVER})/")
    file = file.replace("$net_default_mac", MAC)
    text = TftpFiles(room).file(file, SERVER)
    assert isinstance(text, bytes) and token_of(room).encode() in text


def test_a_kernel_that_grub_refuses_is_heard_of(room: Room) -> None:
    content = TftpFiles(room).file(f"boot/{MAC}/failed.cfg", SERVER)
    assert isinstance(content, bytes) and content.startswith(b"echo ")
    assert stages(room)[-1][0] == "failed:loader"


def test_what_begins_a_boot_is_given_to_its_seat_alone(room: Room) -> None:
    room = other_room(room, Profile.model_validate({"boot": {"loader": "signed"}}))
    room.identity.links = links = FakeLinks({"10.0.0.9": MAC, "10.0.0.66": "52:54:00:00:00:66"})
    files, old = TftpFiles(room), ticket.issue(room.keys.current, MAC)
    seat, stranger, new = (IPv4Address(f"10.0.0.{last}") for last in (9, 66, 67))
    for name in ("x86_64-efi.cfg", "failed.cfg", "amd64/vmlinuz"):
        for own in (f"boot/{MAC}", f"boot/{old}"):  # a ticket is of a PC that 0.1.0 booted
            with pytest.raises(DeniedError, match=f"this is for {MAC}"):
                files.file(f"{own}/{name}", SERVER, stranger)
        assert files.file(f"{own}/{name}", SERVER, new) == NOT_YET
        assert files.file(f"{own}/{name}", SERVER, seat) is not None
        assert files.file(f"boot/{name}", SERVER, seat) is not None
    assert links.probed == [new] * 3
    assert {stage for stage, _ in stages(room)} == {"identity", "failed:loader"}
    # Loaders hold no secret: a PC gets its first one before the kernel knows it.
    for folder in ("boot", f"boot/{old}"):
        assert files.file(f"{folder}/grubx64.efi", SERVER, new) is not None
    with pytest.raises(DeniedError, match=r"a router that is not in dhcp\.networks"):
        files.file("boot/x86_64-efi.cfg", SERVER, IPv4Address("10.77.0.1"))
    fixed = files.file("boot/x86_64-efi.cfg", SERVER, stranger)
    assert isinstance(fixed, bytes) and token_of(room).encode() not in fixed, "its own"


def test_a_pc_that_runs_begins_no_boot_unless_its_firmware_asks_dhcp(room: Room) -> None:
    """Users of a seat can ask for its files from its address, but not send DHCP as firmware does."""
    room.identity.links = FakeLinks({"10.0.0.9": MAC})
    seat, session = IPv4Address("10.0.0.9"), room.doors.begin(MAC)
    names = ("", MAC, session, ticket.issue(room.keys.current, MAC))
    assert all(room.open(who, seat, begins=True) for who in names), "as far as we know, it is off"
    room.plan(Client(MAC, BY_NAME["bios"], Stage.IPXE), SERVER)
    assert room.admit(session, seat), "Linux asks"
    room.plan(Client(MAC, BY_NAME["bios"], Stage.IPXE), SERVER, privileged=False)
    for who in names:
        assert room.open(who, seat) is not None
        with pytest.raises(DeniedError, match="this PC runs, and its firmware did not ask DHCP"):
            room.open(who, seat, begins=True)
    room.plan(Client(MAC, BY_NAME["bios"], Stage.FIRMWARE), SERVER)
    assert all(room.open(who, seat, begins=True) for who in names)
    assert room.admit(session, seat)
    room.seats.of(MAC).heard_at -= 121  # it was switched off
    assert all(room.open(who, seat, begins=True) for who in names)
    assert room.lease(MAC, LeaseRequest(1 << 20, session=session)).startswith("size=")
    token = room.keys.swap_token(session)
    attached = room.table.attach(WireName.parse(f"seat-525400123456@{token}.1"), 0.0)
    assert isinstance(attached, Attached)
    with pytest.raises(DeniedError, match="this PC runs"):
        room.open("", seat, begins=True)


@pytest.mark.parametrize("path", ["/grub/i386-efi/fs.lst", "autoexec.ipxe"])
def test_what_a_loader_looks_for_in_vain_is_no_news(
    room: Room, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    room.identity.links = FakeLinks({"10.0.0.9": MAC})
    TftpFiles(room).transferred(Transfer("10.0.0.9", path, None, 0, 0.1, Outcome.REFUSED))
    assert stages(room) == [] and caplog.messages == []


def test_a_refused_file_is_told_with_its_reason_and_without_a_secret(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    """boot 12: the event had no reason. One line a minute for each machine."""
    room.identity.links = FakeLinks({"10.0.0.9": MAC})
    session = room.doors.begin(MAC).upper()
    for client in ("10.0.0.9", "10.0.0.77"):
        for name in (session + "/x\x1b[2J", "gone.efi"):
            told = Transfer(client, name, None, 0, 0.1, Outcome.REFUSED, "unknown mode")
            TftpFiles(room).transferred(told)
    shows = f"...x?[2J: refused: unknown mode; the PC shows: {SHOWS['tftp']}"
    assert stages(room) == [("tftp", shows)]
    assert caplog.messages == [
        f"TFTP: {MAC} at 10.0.0.9: {shows}",
        f"TFTP: 10.0.0.77: {shows}",
    ]


def test_the_length_of_a_script_can_be_asked_for_without_a_boot(room: Room) -> None:
    """boot 12: HEAD of a script counted as a boot."""
    asked = room.script(MAC, "bios.ipxe", SERVER, begins=False)
    assert room.seats.of(MAC).session == "" and stages(room) == []
    got = room.script(MAC, "bios.ipxe", SERVER)
    assert asked is not None and got is not None and len(asked) == len(got)


def test_a_loader_that_is_not_heard_of_is_followed_by_the_other_one(room: Room) -> None:
    assert files(room, Stage.FIRMWARE) == {"undionly.kpxe"}
    room.fetched(MAC, "undionly.kpxe")
    assert files(room, Stage.FIRMWARE) == {"ipxe.pxe"}
    assert stages(room) == [("loader", "the last loader did not start; sending ipxe.pxe")]
    room.fetched(MAC, "ipxe.pxe")
    assert files(room, Stage.IPXE) == {"bios.ipxe"}
    assert files(room, Stage.FIRMWARE) == {"ipxe.pxe"}, "at the next boot, as it works"
    assert len(stages(room)) == 1


@pytest.mark.parametrize("loader", ["auto", "ipxe", "native"])
def test_a_false_question_between_loader_and_script_changes_no_boot(
    room: Room, loader: str
) -> None:
    room = other_room(room, Profile.model_validate({"boot": {"loader": loader}}))
    (first,) = files(room, Stage.FIRMWARE)
    for _ in range(2):  # boots
        assert files(room, Stage.FIRMWARE) == {first}
        room.fetched(MAC, first)
        files(room, Stage.FIRMWARE)  # of another machine
        assert files(room, Stage.IPXE, times=1) == {"bios.ipxe"}
        files(room, Stage.FIRMWARE)
        assert files(room, Stage.IPXE, times=1) == {"bios.ipxe"}, "its REQUEST"
        assert room.script(MAC, "bios.ipxe", SERVER) is not None


def test_drivers_of_its_own_first_if_the_profile_says_so(room: Room) -> None:
    room = other_room(room, Profile.model_validate({"boot": {"loader": "native"}}))
    assert files(room, Stage.FIRMWARE) == {"ipxe.pxe"}
    room.fetched(MAC, "ipxe.pxe")
    assert files(room, Stage.FIRMWARE) == {"undionly.kpxe"}


def test_what_is_no_loader_tells_nothing_of_one(room: Room) -> None:
    room.fetched(MAC, "vmlinuz")
    assert files(room, Stage.FIRMWARE) == {"undionly.kpxe"}


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ("4000...", "this PC has 64 MiB of RAM, and needs 128 MiB to boot"),
        ("8000...", ""),
        ("...", ""),  # no SMBIOS
        ("", ""),
    ],
)
def test_a_pc_with_too_little_ram_is_told_and_boots(room: Room, modules: str, told: str) -> None:
    script = room.script(MAC, "bios.ipxe", SERVER, modules) or ""
    assert (told in script) and "\nboot || " in script
    assert stages(room) == ([("failed:memory", told)] if told else [])


def words_of_kernel(room: Room, script: str, modules: str) -> list[str]:
    lines = (room.script(MAC, script, SERVER, modules) or "").splitlines()
    (line,) = (line for line in lines if line.startswith("kernel "))
    return line.removesuffix(" || goto failed").split()


def test_a_pc_with_little_ram_is_spared_what_its_kernel_can_do_without(
    room: Room, tmp_path: Path
) -> None:
    (tmp_path / "amd64").mkdir()
    (tmp_path / "amd64/vmlinuz").write_bytes(bytes(8 << 20))
    room = other_room(room, Profile.model_validate({"boot": {"arguments": "mine=1"}}))
    little = words_of_kernel(room, "bios.ipxe", "5000...")
    assert little[-3:] == ["mine=1", "--", "mem=16M"], "Linux reads nothing after --, iPXE does"
    assert set(memory.SPARED) < set(little)
    (tmp_path / "amd64/initramfs.img").write_bytes(bytes(7 << 20))
    assert words_of_kernel(room, "bios.ipxe", "5000...")[-1] == "mine=1", "no room below 16 MiB"
    assert words_of_kernel(room, "uefi-x64.ipxe", "5000...")[-1] == "mine=1"
    for modules in ("8000...", "...", ""):
        assert not set(memory.SPARED) & set(words_of_kernel(room, "bios.ipxe", modules))


def test_a_known_card_gets_slices_until_a_boot_is_not_heard_of(room: Room, tmp_path: Path) -> None:
    room.files.catalogues = {"amd64": Catalogue({BASE: Slice(), "e1000": Slice(("8086:100e",))})}
    bios = BY_NAME["bios"]

    def initrds() -> list[str]:
        lines = (room.script(MAC, "bios.ipxe", SERVER) or "").splitlines()
        paths = [line.split()[1] for line in lines if line.startswith("initrd ")]
        return [path.partition("amd64/")[2] for path in paths]

    room.plan(Client(MAC, bios, Stage.FIRMWARE), SERVER)
    assert initrds() == ["initramfs.img"], "no card was told"
    room.plan(Client(MAC, bios, Stage.IPXE, nic=(0x8086, 0x100E)), SERVER)
    sliced = ["initramfs-base.img", "initramfs-e1000.img"]
    assert initrds() == sliced
    for name in sliced:
        assert room.file(f"amd64/{name}") == tmp_path / "amd64" / name
    for name in ("initramfs-base.img", "amd64/initramfs-other.img", "i386/vmlinuz", "amd64/"):
        assert room.file(name) is None
    assert initrds() == ["initramfs.img"]
    assert stages(room)[-1] == ("initramfs", "the last boot did not finish; sending all drivers")
    assert initrds() == sliced
    room.beacon(MAC, "init:start", parse_beacon("hello", "1.0", "1.0"))
    assert initrds() == sliced
    room.beacon(MAC, "init:start", parse_beacon("hello", "1.0", "1.0"))
    room.beacon(MAC, DAMAGED, parse_beacon("damaged", "2.0", "2.0"))
    assert initrds() == ["initramfs.img"]
    assert initrds() == sliced
    room.beacon(MAC, "init:start", parse_beacon("hello", "1.0", "1.0"))
    room.plan(Client(MAC, bios, Stage.IPXE, nic=(0x8086, 0xFFFF)), SERVER)
    assert initrds() == ["initramfs.img"]


def test_a_false_card_costs_a_pc_no_driver(room: Room) -> None:
    """Anybody can send DHCP in a seat's name. For ten minutes the PC gets all drivers."""
    slices = {BASE: Slice(), "e1000": Slice(("8086:100e",)), "r8169": Slice(("10ec:8168",))}
    room.files.catalogues = {"amd64": Catalogue(slices)}
    for nic in ((0x8086, 0x100E), (0x10EC, 0x8168), (0x8086, 0x100E)):
        room.plan(Client(MAC, BY_NAME["bios"], Stage.IPXE, nic=nic), SERVER)
    for _ in range(2):
        assert "initramfs.img" in (room.script(MAC, "bios.ipxe", SERVER) or "")
    room.seats.of(MAC).other_nic_until = time.monotonic()
    assert "initramfs-e1000.img" in (room.script(MAC, "bios.ipxe", SERVER) or "")


def test_a_card_that_the_images_do_not_serve_is_told_before_the_pc_finds_out(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    lacks = (("rtl_nic/rtl8168h-2.fw", "firmware-realtek"),)
    served = Catalogue({BASE: Slice(), "r8169": Slice(("10ec:8168",), lacks=lacks)})
    room.files.catalogues = {
        "amd64": served,
        "another": Catalogue({"all": Slice(("10ec:*", "8086:*"))}),
    }
    for nic, message in (
        ((0x10EC, 0x8168), "firmware-realtek"),
        ((0x8086, 0xFFFF), "no driver is known"),
    ):
        room.plan(Client(MAC, BY_NAME["bios"], Stage.IPXE, nic=nic), SERVER)
        room.script(MAC, "bios.ipxe", SERVER)
        told = next(e for e in room.journal.history(MAC) if message in e.message)
        assert (told.stage, told.data["card"]) == ("initramfs", f"{nic[0]:04x}:{nic[1]:04x}")
        assert told.message in caplog.text


def test_a_server_without_images_boots_nobody(room: Room) -> None:
    room.files.images = None
    assert room.script(MAC, "bios.ipxe", SERVER) is None
    assert room.file("amd64/vmlinuz") is None
    assert TftpFiles(room).file("snponly.efi", SERVER) is None


@pytest.mark.parametrize(
    "path", ["", "x", "../snponly.efi", "guess/bios.ipxe", "manifest.json", "amd64/vmlinuz"]
)
def test_tftp_has_nothing_else(room: Room, path: str) -> None:
    assert TftpFiles(room).file(path, SERVER) is None


def test_only_names_of_boot_files_are_served(room: Room) -> None:
    assert TftpFiles(room).file("other.ipxe", SERVER) is None
    assert room.script(MAC, "other.ipxe", SERVER) is None
    assert room.file("manifest.json") is None
    assert room.file("../secret") is None


def test_a_server_that_booted_nobody_grants_a_lease_of_its_own_for_the_same_session(
    room: Room,
) -> None:
    servers = (SERVER, IPv4Address("10.0.0.2"))
    profile = Profile(swap=Swap(servers=servers, layout="stripe"))
    first = Room(
        profile,
        BootFiles(room.files.images, profile),
        room.keys.current,
        Journal(),
        LeaseTable(GIB),
    )
    other = Room(
        profile,
        BootFiles(room.files.images, profile),
        room.keys.current,
        Journal(),
        LeaseTable(GIB),
    )
    mac = other.seat_of(first.doors.begin(MAC), SERVER)
    assert mac == MAC
    text, _, token = other.lease(mac, LeaseRequest(GIB // 4, fresh=True)).partition(" token=")
    assert text == f"size={GIB // 4}", "half of twice the RAM"
    assert isinstance(
        other.table.attach(WireName.parse(f"seat-525400123456@{token}"), 0.0), Attached
    )
    assert not first.seats.of(MAC).session


def test_a_lease_needs_a_boot_and_every_boot_has_a_token_of_its_own(room: Room) -> None:
    assert room.lease(MAC, LeaseRequest(GIB // 4)).startswith("refused=")
    room.script(MAC, "bios.ipxe", SERVER)
    first = token_of(room)
    assert ask_for_lease(room, GIB // 4) == f"size={GIB // 2}"
    assert isinstance(
        room.table.attach(WireName.parse(f"seat-525400123456@{first}"), 0.0), Attached
    )
    room.script(MAC, "bios.ipxe", SERVER)
    assert token_of(room) != first
    assert isinstance(
        room.table.attach(WireName.parse(f"seat-525400123456@{first}"), 0.0), Attached
    ), "still running"


def test_a_server_that_was_restarted_takes_the_session_of_a_boot_before(room: Room) -> None:
    script = room.script(MAC, "bios.ipxe", SERVER)
    boot = read(script or "", MAC)
    assert isinstance(boot, Boot)
    session, token = (boot.arguments[f"netboot.{name}"] for name in ("ticket", "token"))
    after = Room(
        room.profile,
        BootFiles(room.files.images, room.profile),
        room.keys.current,
        Journal(),
        LeaseTable(GIB),
    )
    assert after.lease(MAC, LeaseRequest(GIB // 4, session=session)) == f"size={GIB // 2}"
    assert after.lease(MAC, LeaseRequest(GIB // 4, session=session)) == f"size={GIB // 2}", (
        "asked again"
    )
    assert isinstance(
        after.table.attach(WireName.parse(f"seat-525400123456@{token}"), 0.0), Attached
    )
    assert after.seat_of(session, SERVER) == MAC


def test_a_seat_that_lost_its_pages_gets_a_fresh_lease_even_after_a_restart(room: Room) -> None:
    size, token = room.lease(MAC, LeaseRequest(GIB // 4, fresh=True)).split(" token=")
    assert size == f"size={GIB // 2}" and token != token_of(room)
    old = room.table.attach(WireName.parse(f"seat-525400123456@{token}"), 0.0)
    _, token = room.lease(MAC, LeaseRequest(GIB // 4, fresh=True)).split(" token=")
    new = room.table.attach(WireName.parse(f"seat-525400123456@{token}"), 0.0)
    assert isinstance(old, Attached) and isinstance(new, Attached)
    assert room.table.take_ended() == [old.lease]
    assert token not in room.status(0.0)


def test_a_seat_may_have_as_many_further_areas_as_its_profile_says(tmp_path: Path) -> None:
    profile = Profile(swap=Swap(size=SwapSize(bytes=GIB // 4), grow=2))
    room = Room(profile, BootFiles(tmp_path, profile), b"s" * 32, Journal(), LeaseTable(GIB // 2))
    room.script(MAC, "bios.ipxe", SERVER)
    boot_token = token_of(room)
    assert ask_for_lease(room, GIB) == f"size={GIB // 4}"
    size, token = room.lease(MAC, LeaseRequest(GIB, area=2)).split(" token=")
    assert (size, token_of(room)) == (f"size={GIB // 4}", boot_token)
    second = room.table.attach(WireName.parse(f"seat-525400123456-2@{token}"), 0.0)
    assert isinstance(second, Attached)
    refused = "refused=no room: 256 MiB asked, 0.0 MiB of 512 MiB left"
    assert room.lease(MAC, LeaseRequest(GIB, area=3)) == refused
    assert room.lease(MAC, LeaseRequest(GIB, area=4)) == "refused=no area 4: swap.grow is 2"
    assert room.end_lease(MAC, 2) == "refused=seat-525400123456-2 is in use"
    room.table.let_go(second.lease.generation, 1.0)
    assert room.end_lease(MAC, 2) == "ended"
    assert room.lease(MAC, LeaseRequest(GIB, area=3)).startswith("size=")
    assert stages(room) == [  # a seat reports a refusal itself, and once
        ("lease", "swap of 256 MiB granted"),
        ("lease", "area 2: swap of 256 MiB granted"),
        ("lease", "area 2: given back"),
        ("lease", "area 3: swap of 256 MiB granted"),
    ]


def test_a_seat_waits_for_its_turn_and_nothing_of_its_boot_has_begun(tmp_path: Path) -> None:
    (tmp_path / "amd64").mkdir()
    for name in ("vmlinuz", "initramfs.img"):
        (tmp_path / "amd64" / name).write_bytes(bytes(1_000_000))
    profile = Profile(http=Http(rate=125_000))  # 1Mbit
    room = Room(profile, BootFiles(tmp_path, profile), b"s" * 32, Journal(), LeaseTable(GIB))
    first, second = "52:54:00:00:00:01", "52:54:00:00:00:02"
    assert isinstance(read(room.script(first, "bios.ipxe", SERVER) or "", first), Boot)
    waits = read(room.script(second, "bios.ipxe", SERVER) or "", second)
    # 2 MB at 1 Mbit/s take 16 s; 3 s before that the next one begins.
    assert isinstance(waits, Chain) and waits.wait == 13
    assert not room.seats.of(second).session
    assert room.journal.history(second)[-1].message == "13 s, PCs in front: 1"
    assert isinstance(read(room.script(PROBE_MAC, "bios.ipxe", SERVER) or "", PROBE_MAC), Boot)
    room.fetched(first, "amd64/vmlinuz")
    assert isinstance(read(room.script(second, "bios.ipxe", SERVER) or "", second), Chain)
    room.beacon(first, "init:start", parse_beacon("256 MiB", "1.0", "1.0"))
    assert isinstance(read(room.script(second, "bios.ipxe", SERVER) or "", second), Boot)


def test_firmware_that_takes_no_script_waits_for_its_turn_unanswered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An arm64 PC loads all in one file. It asks every 4 s, and a busy link delays it by 16 s."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    profile = Profile(http=Http(rate=1000), boot=BootSettings(architectures=("arm64",)))
    room = Room(profile, BootFiles(tmp_path, profile), b"s" * 32, Journal(), LeaseTable(GIB))
    (template := tmp_path / "arm64-linux.efi").write_bytes(bytes(100_000))
    room.files.templates["arm64"] = template
    first, second = "52:54:00:12:34:01", MAC
    assert room.may_download(first, "arm64/linux.efi", 15.0)
    answers = []
    for _ in range(5):
        answers.append(room.may_download(second, "arm64/linux.efi", 15.0))
        now[0] += 4.0
    assert answers == [False, False, False, False, True]
    assert [stage for stage, _ in stages(room)] == ["wait"]
    assert room.may_download(second, "arm64/linux.efi", 15.0), "it is admitted"
    for mac in (first, second):
        room.fetched(mac, "arm64/linux.efi")
    assert room.may_download("52:54:00:12:34:03", "arm64/linux.efi", 15.0)


def test_the_swap_of_a_played_pc_is_a_page_and_ends_when_it_says_so(room: Room) -> None:
    for mac, size in ((MAC, GIB // 2), (PROBE_MAC, 4096), (played_mac(300), 4096)):
        room.script(mac, "bios.ipxe", SERVER)
        assert ask_for_lease(room, GIB // 4, mac) == f"size={size}"
    assert (
        room.end_lease(MAC, 1)
        == "refused=area 1 cannot end: a seat keeps its first area while it is on"
    )
    assert room.end_lease(played_mac(300), 1) == "ended"
    assert [seat["mac"] for seat in json.loads(room.status(0.0))["seats"]] == [MAC]


def test_a_server_that_is_full_says_so(room: Room) -> None:
    room.script(MAC, "bios.ipxe", SERVER)
    assert ask_for_lease(room, GIB) == "refused=no room: 2 GiB asked, 1 GiB of 1 GiB left"
    assert stages(room) == [("lease", "refused: no room: 2 GiB asked, 1 GiB of 1 GiB left")]


def test_the_last_report_of_a_seat_is_kept(room: Room) -> None:
    assert room.seats.of(MAC).report is None
    for when in (1.0, 2.0):
        room.report(MAC, Report(when, users=1))
    assert room.seats.of(MAC).report == Report(2.0, users=1)


def test_a_late_beacon_is_placed_where_it_belongs(room: Room) -> None:
    room.beacon(MAC, "init:start", parse_beacon("256 MiB", "2.5", "10"))
    kernel, start = room.journal.history(MAC)
    assert (kernel.stage, start.stage) == ("kernel", "init:start")
    assert start.when - kernel.when == pytest.approx(2.5)


def test_a_beacon_may_be_the_first_that_a_restarted_server_hears(room: Room) -> None:
    room.beacon(MAC, "agent:lost", parse_beacon("closed", "90", "91"))
    assert stages(room) == [("agent:lost", "closed")]


def test_beacons_keep_their_order_and_their_age(room: Room) -> None:
    room.record(MAC, "lease", "granted")
    room.beacon(MAC, "init:network", parse_beacon("up", "5", "7"))
    room.beacon(MAC, "init:lease", parse_beacon("granted", "6.5", "9"))  # it took longer to arrive
    room.beacon(MAC, "init:zswap", parse_beacon("lzo", "4", "9"))  # made earlier, arrives later
    lease, network, granted, zswap = room.journal.history(MAC)
    assert network.when == pytest.approx(lease.when - 2, abs=0.5)
    assert granted.when == network.when
    assert zswap.when < network.when


def test_a_beacon_that_was_sent_again_is_told_once(room: Room) -> None:
    for sent, uptime in (("7", "5"), ("9", "5"), ("9", "8")):
        room.beacon(MAC, "agent:lost", parse_beacon("closed", uptime, sent))
    room.beacon(MAC, "agent:lost", parse_beacon("closed\ndevice=/dev/nbd1", "8", "9"))
    assert [event.data["uptime"] for event in room.journal.history(MAC)] == [5, 8, 8]
    room.record(MAC, "http", "bios.ipxe")  # the next boot may report the same at the same uptime
    room.beacon(MAC, "agent:lost", parse_beacon("closed", "8", "8"))
    assert stages(room)[-1] == ("agent:lost", "closed")


def test_transfers_are_the_seats_whose_key_they_name_and_probes_are_no_news(room: Room) -> None:
    path = f"boot/{room.doors.begin(MAC)}/bios.ipxe"
    room.identity.links = FakeLinks({"10.0.0.9": MAC, "10.0.0.66": "52:54:00:00:00:66"})
    TftpFiles(room).transferred(Transfer("10.0.0.66", path, 200, 200, 0.5, Outcome.DONE))
    TftpFiles(room).transferred(Transfer("10.0.0.9", path, 200, 200, 0.5, Outcome.DONE))
    TftpFiles(room).transferred(Transfer("10.0.0.9", path, 200, 0, 0.1, Outcome.PROBE))
    reason = "mode: expected octet"
    for client in ("10.0.0.9", "10.0.0.66"):
        told = Transfer(client, "/" + path, None, 0, 0.1, Outcome.REFUSED, reason)
        TftpFiles(room).transferred(told)
    assert stages(room) == [
        ("tftp", "bios.ipxe 0.2 kB in 0.50 s"),
        ("tftp", f"bios.ipxe: refused: {reason}; the PC shows: {SHOWS['tftp']}"),
    ]
    for client, named, seat, events in (
        ("10.0.0.9", "", MAC, 1),
        ("10.0.0.66", f"boot/{MAC}/", "52:54:00:00:00:66", 1),
        ("10.9.0.1", f"boot/{played_mac(3)}/", played_mac(3), 0),  # it has no history
    ):
        before = len(room.journal.history(seat))
        TftpFiles(room).transferred(
            Transfer(client, f"{named}undionly.kpxe", 9, 9, 0.1, Outcome.DONE)
        )
        found = len(room.journal.history(seat))
        assert found == before + events, "a MAC address alone is no proof"


def test_a_root_image_opens_for_a_boot_but_not_for_a_played_one(room: Room) -> None:
    profile = Profile.model_validate({"root": {"kind": "nbd", "image": "/srv/root.squashfs"}})
    room = other_room(room, profile)
    session, old = room.doors.begin(MAC), ticket.issue(room.keys.current, MAC)
    stranger = "52:54:00:00:00:66"
    room.identity.links = FakeLinks({"10.0.0.9": MAC, "10.0.0.66": stranger})
    export = image_export("/srv/root.squashfs")
    assert room.image_of(session, "10.0.0.9") == room.image_of(session, "10.0.0.66") == export
    assert room.image_of(old, "10.0.0.9") == export, "of a PC that 0.1.0 booted"
    assert room.image_of(old, "10.0.0.66") is room.image_of(old, "10.77.0.1") is None
    assert room.open("", IPv4Address("10.0.0.66"), begins=True), "so it is a seat"
    assert room.image_of(session, "10.0.0.66") is None
    played = (room.doors.begin(played_mac(3)), ticket.issue(room.keys.current, PROBE_MAC))
    for text in ("", MAC, "guess", session[:-1], *played):
        assert room.image_of(text, "10.0.0.9") is None


def test_the_files_of_a_seat_are_for_its_boot_alone(room: Room, tmp_path: Path) -> None:
    (tmp_path / "logo").write_bytes(b"a picture")
    seat = {"files": {"/opt/logo": str(tmp_path / "logo"), "/opt/gone": str(tmp_path / "gone")}}
    root = {"kind": "nbd", "image": "/srv/root.squashfs"}
    room = other_room(room, Profile.model_validate({"root": root, "seat": seat}))
    session, old = room.doors.begin(MAC), ticket.issue(room.keys.current, MAC)
    home = IPv4Address("10.0.0.9")
    room.identity.links = FakeLinks({str(home): MAC})
    key = room.admit(session, home)
    assert key is not None
    files = {each.name: each for each in newc.members(room.own_files(key, SERVER, home))}
    assert files["opt/logo"].content == b"a picture" and "opt/gone" not in files
    assert b"PRIVATE KEY" in files["etc/ssh/ssh_host_ed25519_key"].content
    # A user of the running seat has its address, and may make a ticket of its MAC address.
    ticket_of_a_user = room.admit(old, home)
    assert ticket_of_a_user is not None
    with pytest.raises(DeniedError, match="need the session of its boot"):
        room.own_files(ticket_of_a_user, SERVER, home)
    played = Key(played_mac(3), room.doors.begin(played_mac(3)))
    with pytest.raises(DeniedError, match="no files of its own"):
        room.own_files(played, SERVER, home)
    with pytest.raises(DeniedError, match="no files of its own"):
        other_room(room, Profile()).own_files(key, SERVER, home)


def test_the_words_for_a_seats_own_files_are_for_kinds_with_users(room: Room) -> None:
    assert "netboot.seat" not in (room.script(MAC, "bios.ipxe", SERVER) or "")
    root = {"kind": "nbd", "image": "/srv/root.squashfs"}
    room = other_room(room, Profile.model_validate({"root": root}))
    script = room.script(MAC, "bios.ipxe", SERVER) or ""
    words = " netboot.dns=${dns} netboot.domain=${domain:uristring} "
    assert words in script and " netboot.seat=1 " in script


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to("/dev/null"), "expected a file, found a folder or a device"),
        (lambda path: os.mkfifo(path), "expected a file, found a folder or a device"),
        (lambda path: path.write_bytes(bytes((1 << 20) + 1)), "have at most 1048576 bytes"),
        (lambda path: None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_sent_is_one_line(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    (tmp_path / "good").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "good").chmod(0o755)
    make(tmp_path / "bad")
    wanted = {"/opt/bad": str(tmp_path / "bad"), "/opt/good": str(tmp_path / "good")}
    found, (line,) = read_files(wanted)
    assert found == {"/opt/good": (b"#!/bin/sh\n", True)}
    assert why in line and line.endswith("; the PC gets no /opt/bad")


def test_status_holds_no_secret(room: Room) -> None:
    room.script(MAC, "bios.ipxe", SERVER)
    ask_for_lease(room, 4096)
    TftpFiles(room).transferred(
        Transfer("10.0.0.9", f"boot/{room.doors.begin(MAC)}/bios.ipxe", 9, 9, 0.1, Outcome.DONE)
    )
    status = room.status(0.0) + str(room.history(MAC))
    text = status + repr(room)
    assert MAC in text
    assert token_of(room) not in text and room.seats.of(MAC).session not in text
    assert json.loads(room.count(0.5)) == {"count": 1, "cpu_seconds": 0.5}
