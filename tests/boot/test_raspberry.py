"""Raspberry Pis: packets of their boot ROMs, made by scapy, and the files that they request."""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from scapy.layers.tftp import TFTP, TFTP_DATA, TFTP_RRQ

from netboot.boot import raspberry
from netboot.boot.arch import RASPBERRY_PI
from netboot.boot.client import Client, Stage
from netboot.boot.events import Journal
from netboot.pages.lease import LeaseTable
from netboot.profile.profile import Profile
from netboot.serve.boot_files import BootFiles
from netboot.serve.dhcp.packet import parse
from netboot.serve.room import Room
from netboot.serve.tftp.server import TftpServer
from netboot.serve.tftp_files import TftpFiles
from tests.serve.dhcp.test_responder import FULL, PROXY, US, Seen, ask, context, refused
from tests.serve.links import FakeLinks
from tests.support.pxe_client import PxeClient

PI_3, PI_4, SERIAL = "b8:27:eb:eb:cc:6e", "dc:a6:32:01:36:c2", "76d2a334"
BY_MAC = PI_4.replace(":", "-")
# Byte for byte as in raspberrypi/firmware#764; option 97 there is 16 times D.
ROM_ASKS = [43, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135, 66]
ROM_CLASS = b"PXEClient:Arch:00000:UNDI:002001"
# 06 01 08; 09: type 0, 20 letters; 0a: no time to choose
MENU = bytes.fromhex("060108 0917 0000 14") + b"Raspberry Pi Boot   " + b"\x0a\x04\0PXE\xff"


def with_pis(profile: Profile, folder: str | None) -> Profile:
    boot = profile.boot.model_copy(update={"raspberry_pi": folder})
    return profile.model_copy(update={"boot": boot})


def discover(mac: str, arch: int = 0) -> bytes:
    """Return the DHCPDISCOVER of a Pi 3's boot ROM, or of a Pi 4's EEPROM.

    The UUID of the EEPROM begins with RPi4.
    """
    tail = bytes.fromhex(mac.replace(":", ""))[2:] + bytes.fromhex(SERIAL)
    guid = b"D" * 16 if mac == PI_3 else b"RPi4" + bytes.fromhex("1131c000") + tail
    return PxeClient(mac=mac, arch=arch).plain(
        "discover",
        ("param_req_list", ROM_ASKS),
        (93, arch.to_bytes(2, "big")),
        (94, b"\1\2\1"),
        (97, b"\0" + guid),
        ("vendor_class_id", ROM_CLASS),
        flags=0,
    )


def is_for_a_pi(seen: Seen, mac: str) -> None:
    options = parse(seen.data).options
    assert (options[60], options[43]) == (b"PXEClient", MENU)
    assert options[66] == b"10.0.0.1\0"
    assert (seen.header.siaddr, options[54]) == (str(US), US.packed)
    assert len(options[97]) == 17
    assert seen.reply.delay == (2.0 if mac == PI_3 else 0.0)
    assert len(seen.data) >= 300


@pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])
@pytest.mark.parametrize("mac", [PI_3, PI_4])
@pytest.mark.parametrize("arch", [0, 41])
def test_a_pi_is_told_by_its_own_menu_who_its_server_is(
    profile: Profile, mac: str, arch: int
) -> None:
    seen = ask(discover(mac, arch), context(profile))
    is_for_a_pi(seen, mac)
    assert (seen.header.yiaddr == "0.0.0.0") is (profile is PROXY)


@pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])
def test_without_a_folder_of_its_files_no_pi_is_answered(profile: Profile) -> None:
    assert "boot.raspberry_pi" in refused(discover(PI_4), context(with_pis(profile, None)))


def test_only_its_own_firmware_makes_a_pi_of_it() -> None:
    pc = ask(discover("52:54:00:12:34:56"), context(PROXY))
    assert parse(pc.data).options[43] == bytes.fromhex("060108ff")
    assert pc.reply.client is not None and pc.reply.client.arch.name == "bios"
    uefi = ask(PxeClient(mac=PI_4, arch=11).discover(), context(PROXY))  # UEFI from an SD card
    assert uefi.reply.client is not None and uefi.reply.client.arch.name == "uefi-arm64"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("bootcode.bin", ("bootcode.bin",)),
        (f"{SERIAL}/start4.elf", (f"{SERIAL}/start4.elf", "start4.elf")),
        (f"{BY_MAC}/config.txt", (f"{BY_MAC}/config.txt", "config.txt")),
        (f"{SERIAL}/overlays/a.dtbo", (f"{SERIAL}/overlays/a.dtbo", "overlays/a.dtbo")),
        ("overlays/a.dtbo", ("overlays/a.dtbo",)),
        (f"{SERIAL}/../../etc/passwd", ()),
        ("../x", ()),
        (f"{SERIAL}//x", ()),
        ("", ()),
        ("a\0b", ()),
    ],
)
def test_where_a_file_may_lie(path: str, names: tuple[str, ...]) -> None:
    assert raspberry.names(path) == names


class Server:
    """A room's TFTP server on loopback; ``mac`` is what the kernel knows of the client."""

    def __init__(self, folder: Path) -> None:
        self._images = folder / "images"
        self.room = self.make_room(with_pis(PROXY, str(folder / "pi")))

    def make_room(self, profile: Profile) -> Room:
        return Room(
            profile, BootFiles(self._images, profile), b"s" * 32, Journal(), LeaseTable(1 << 30)
        )

    def read(self, paths: list[str], mac: str = PI_4) -> list[bytes | None]:
        """Return the content of each path; None if it was refused."""
        self.room.identity.links = FakeLinks({"127.0.0.1": mac})

        async def run() -> list[bytes | None]:
            files = TftpFiles(self.room)
            server = TftpServer(
                files.file, files.transferred, networks=[IPv4Network("127.0.0.0/8")], port=0
            )
            await server.start([IPv4Address("127.0.0.1")])
            try:
                return [await asyncio.to_thread(rrq, path, server.port) for path in paths]
            finally:
                await server.stop()

        return asyncio.run(run())


def rrq(path: str, port: int) -> bytes | None:
    """Return the first block of a file, requested as a Pi 3's boot ROM does, without options."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(60)
        request = TFTP() / TFTP_RRQ(filename=path.encode(), mode=b"octet")
        client.sendto(bytes(request), ("127.0.0.1", port))
        data, source = client.recvfrom(2048)
        answer = TFTP(data)
        if answer.op == 5:
            return None
        client.sendto(b"\0\4\0\1", source)
        return bytes(answer[TFTP_DATA].payload)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for name in ("pi/start4.elf", "pi/overlays/a.dtbo", f"pi/{SERIAL}/fixup4.dat", "images/secret"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}!")
    (tmp_path / "pi/fixup4.dat").write_text("for the others")
    (tmp_path / "pi/out").symlink_to(tmp_path / "images/secret")
    (tmp_path / "pi/away").symlink_to(tmp_path / "images")
    yield Server(tmp_path)


def test_a_pi_gets_its_files_with_or_without_its_folder(server: Server) -> None:
    asked = [f"{SERIAL}/start4.elf", f"{BY_MAC}/overlays/a.dtbo", "start4.elf"]
    assert server.read(asked) == [b"pi/start4.elf!", b"pi/overlays/a.dtbo!", b"pi/start4.elf!"]
    asked = [f"{SERIAL}/fixup4.dat", "00000001/fixup4.dat"]
    assert server.read(asked) == [f"pi/{SERIAL}/fixup4.dat!".encode(), b"for the others"]


def test_config_and_command_line_are_made_if_the_operator_has_none(server: Server) -> None:
    config, line = server.read([f"{SERIAL}/config.txt", f"{SERIAL}/cmdline.txt"])
    assert config is not None and b"initramfs initramfs.img followkernel\n" in config
    assert line is not None
    words = line.decode().split()
    assert f"BOOTIF=01-{BY_MAC}" in words and "${" not in line.decode()
    assert f"netboot.ticket={server.room.seats.of(PI_4).session}" in words
    (Path(server.room.profile.boot.raspberry_pi or "") / "config.txt").write_text("mine")
    assert server.read([f"{SERIAL}/config.txt"]) == [b"mine"]


def test_a_pi_gets_the_images_for_arm64_if_there_are_any(server: Server, tmp_path: Path) -> None:
    asked = [f"{SERIAL}/vmlinuz", f"{SERIAL}/initramfs.img"]
    assert server.read(asked) == [None, None]
    (tmp_path / "images/arm64").mkdir()
    for name in ("vmlinuz", "initramfs.img"):
        (tmp_path / "images/arm64" / name).write_text(name)
    profile = server.room.profile
    boot = profile.boot.model_copy(update={"architectures": ("amd64", "arm64")})
    server.room = server.make_room(profile.model_copy(update={"boot": boot}))
    assert server.read(asked) == [b"vmlinuz", b"initramfs.img"]


def test_a_pi_gets_a_token_with_its_address_and_keeps_it_however_often_it_reads(
    server: Server,
) -> None:
    reply = ask(discover(PI_4), context(server.room.profile)).reply
    assert reply.client is not None
    server.room.plan(reply.client, US)
    token = server.room.keys.swap_token(server.room.seats.of(PI_4).session)
    for line in server.read([f"{SERIAL}/cmdline.txt"] * 2):
        assert line is not None and re.search(rb"netboot\.token=(\w+)", line)
        assert f"netboot.token={token} ".encode() in line
    assert token not in server.room.status(0.0)


def test_a_command_line_is_that_of_the_pi_that_asks_whatever_it_names(server: Server) -> None:
    asked = [f"{name}/cmdline.txt" for name in (SERIAL, BY_MAC)]
    lines = server.read(asked, mac=PI_3)
    server.room.plan_of(Client(PI_4, RASPBERRY_PI, Stage.FIRMWARE), US)
    for line in lines:
        assert line is not None and PI_3.replace(":", "-").encode() in line
        assert server.room.seats.of(PI_4).session.encode() not in line


def test_a_user_of_a_pi_that_runs_does_not_get_its_command_line(server: Server) -> None:
    asked = [f"{SERIAL}/cmdline.txt", "cmdline.txt", "start4.elf"]
    assert server.read(asked)[0] is not None
    server.room.seats.of(PI_4).heard(time.monotonic())
    assert server.read(asked) == [None, None, b"pi/start4.elf!"]
    server.room.plan(Client(PI_4, RASPBERRY_PI, Stage.FIRMWARE), US)
    assert server.read(asked)[0] is not None


@pytest.mark.parametrize("path", ["out", "away/secret", "../images/secret", f"{SERIAL}/../out"])
def test_nothing_outside_of_the_folder_is_served(server: Server, path: str) -> None:
    assert server.read([path]) == [None]


def test_what_a_pi_asks_for_is_for_pis(server: Server) -> None:
    asked = ["start4.elf", f"{SERIAL}/cmdline.txt", "config.txt"]
    assert server.read(asked, mac="52:54:00:12:34:56") == [None] * 3


def test_uefi_on_a_pi_gets_loaders_too(server: Server) -> None:
    (Path(server.room.files.images or "") / "snponly.efi").write_text("loader")
    assert server.read(["snponly.efi"]) == [b"loader"]


def test_only_what_a_pi_needs_is_missed(server: Server) -> None:
    server.read([f"{SERIAL}/{name}" for name in ("recovery.elf", "start.elf", "dt-blob.bin")])
    told = [(event.stage, event.data["file"]) for event in server.room.journal.history(PI_4)]
    assert told == [("missing", "start.elf")]
