"""Unified kernel images, inspected with objdump and objcopy of binutils."""

import subprocess
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import pytest

from netboot.boot import ticket, unified
from netboot.boot.arch import BY_NAME
from netboot.boot.client import Client, Stage
from netboot.boot.events import Journal
from netboot.errors import DeniedError, OperatorError
from netboot.pages.lease import LeaseTable
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot
from netboot.serve.boot_files import BootFiles, lacking
from netboot.serve.room import Room
from netboot.serve.tftp.server import WithEnd
from netboot.serve.tftp_files import TftpFiles
from tests.serve.links import FakeLinks

MAC = "52:54:00:12:34:56"
SERVER, HERE = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")
KERNEL, INITRAMFS, MORE = b"kernel" * 1001, b"initramfs" * 333, b"more!"


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return an EFI program with room for more sections, as systemd's stub, made by binutils."""
    folder = tmp_path_factory.mktemp("stub")
    (folder / "stub.c").write_text("int data = 1; int efi_main(void) { return data; }\n")
    compile_it = ["gcc", "-c", "-fpic", "-ffreestanding", "-o", "stub.o", "stub.c"]
    link = [
        "ld",
        "-m",
        "i386pep",
        "--subsystem",
        "10",
        "-e",
        "efi_main",
        "-o",
        "stub.efi",
        "stub.o",
    ]
    for command in (compile_it, link):
        subprocess.run(command, cwd=folder, check=True)
    return (folder / "stub.efi").read_bytes()


def sections(image: bytes, folder: Path) -> dict[str, bytes]:
    """Return the contents by name as binutils reads them; all of each must be in the image."""
    (path := folder / "image.efi").write_bytes(image)
    done = subprocess.run(["objdump", "-h", path], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()[:1].isdigit()]
    spans = sorted((int(row[3], 16), int(row[2], 16)) for row in rows)
    for (at, size), (following, _) in pairwise(spans):
        assert at + size <= following, "sections lie apart in memory"
    names = [row[1] for row in rows]
    dumps = [word for name in names for word in ("--dump-section", f"{name}={folder / name[1:]}")]
    subprocess.run(["objcopy", *dumps, path, folder / "copy"], check=True)
    return {name: (folder / name[1:]).read_bytes() for name in names}


def test_a_seats_image_has_its_kernel_initramfs_and_words(stub: bytes, tmp_path: Path) -> None:
    template = unified.make_template(stub, KERNEL, (INITRAMFS, MORE))
    image = template[:-2048] + unified.end_of("quiet netboot.ticket=x").encode()
    found = sections(image, tmp_path)
    assert found[".linux"] == KERNEL
    padded = INITRAMFS + bytes(-len(INITRAMFS) % 4)
    assert found[".initrd"] == padded + MORE + bytes(3), "each archive begins at a multiple of 4"
    assert found[".cmdline"] == b"quiet netboot.ticket=x".ljust(2048)
    theirs = sections(stub, tmp_path)
    assert found[".text"] == theirs[".text"] and found[".data"] == theirs[".data"]
    assert len(unified.end_of("x" * 5000)) == 2048


@pytest.mark.parametrize("stub", [b"", b"MZ" * 100, b"\0" * 4096])
def test_what_is_no_program_is_refused(stub: bytes) -> None:
    with pytest.raises(OperatorError, match="no EFI program"):
        unified.unified(stub, {".linux": KERNEL})


@pytest.fixture
def room(stub: bytes, tmp_path: Path) -> Room:
    (tmp_path / "arm64").mkdir()
    for name, content in (("stub.efi", stub), ("vmlinuz", KERNEL), ("initramfs.img", INITRAMFS)):
        (tmp_path / "arm64" / name).write_bytes(content)
    profile = Profile(boot=Boot(architectures=("arm64",)))
    files = BootFiles(tmp_path, profile, lacks=lacking(tmp_path))
    room = Room(profile, files, b"s" * 32, Journal(), LeaseTable(1 << 30))
    room.files.make_templates(tmp_path)
    return room


def content(found: object) -> bytes:
    assert isinstance(found, WithEnd)
    return found.path.read_bytes()[: -len(found.end)] + found.end.encode()


def test_with_ipxe_the_image_is_only_for_a_pc_on_which_that_does_not_start(
    room: Room, tmp_path: Path
) -> None:
    """A build of an older netboot, or of Debian 12's packages, has no iPXE for arm64."""
    client = Client(MAC, BY_NAME["uefi-arm64"], Stage.FIRMWARE)
    assert room.plan(client, SERVER).bootfile == "boot/arm64/linux.efi"
    (tmp_path / "ipxe-arm64.efi").write_bytes(b"iPXE")
    room.files.lacks = lacking(tmp_path)
    assert room.plan(client, SERVER).bootfile == "ipxe-arm64.efi"
    assert TftpFiles(room).file("ipxe-arm64.efi", SERVER, HERE) == tmp_path / "ipxe-arm64.efi"
    room.fetched(MAC, "ipxe-arm64.efi")
    assert room.plan(client, SERVER).bootfile == "boot/arm64/linux.efi", "it did not start"
    room.fetched(MAC, "arm64/linux.efi")
    assert room.plan(client, SERVER).bootfile == "boot/arm64/linux.efi", "what works stays"


@pytest.mark.parametrize("arch", ["uefi-arm64", "uefi-arm64-http"])
def test_dhcp_leads_to_the_image_and_every_boot_has_a_session_of_its_own(
    room: Room, tmp_path: Path, arch: str
) -> None:
    client = Client(MAC, BY_NAME[arch], Stage.FIRMWARE)
    path = room.plan(client, SERVER).bootfile
    path = path.removeprefix(f"{room.base_url(SERVER)}/")
    room.identity.links = FakeLinks({str(HERE): MAC})
    image = TftpFiles(room).file(path, SERVER, HERE)
    words = sections(content(image), tmp_path)[".cmdline"].decode().split()
    assert (
        f"netboot.ticket={room.seats.of(MAC).session}" in words
        and "BOOTIF=01-52-54-00-12-34-56" in words
    )
    assert not [word for word in words if "$" in word]
    assert TftpFiles(room).file(path, SERVER, HERE) == image, "a request may come twice"
    before = room.seats.of(MAC).session
    room.plan(client, SERVER)
    assert room.seats.of(MAC).session != before
    name = path.removeprefix("boot/")
    assert WithEnd(*room.unified(MAC, name, SERVER) or ()) == TftpFiles(room).file(
        path, SERVER, HERE
    )


def test_an_image_with_the_words_of_a_seat_is_for_its_address(room: Room) -> None:
    stranger = IPv4Address("10.0.0.66")
    room.identity.links = FakeLinks({str(HERE): MAC, str(stranger): "52:54:00:00:00:66"})
    files = TftpFiles(room)
    for who in (MAC, ticket.issue(room.keys.current, MAC), room.doors.begin(MAC)):
        path = f"boot/{who}/arm64/linux.efi"
        with pytest.raises(DeniedError, match=f"this is for {MAC}"):
            files.file(path, SERVER, stranger)
        assert isinstance(files.file(path, SERVER, HERE), WithEnd)
    own = files.file("boot/arm64/linux.efi", SERVER, stranger)
    assert isinstance(own, WithEnd) and "BOOTIF=01-52-54-00-00-00-66 " in own.end
    assert room.seats.of(MAC).session not in own.end
    with pytest.raises(DeniedError, match=r"not in dhcp\.networks"):
        files.file("boot/arm64/linux.efi", SERVER, IPv4Address("10.77.0.1"))


@pytest.mark.parametrize("name", ["amd64/linux.efi", "arm64/other.efi", "linux.efi", "arm64/", ""])
def test_nothing_else_is_made(room: Room, name: str) -> None:
    assert room.unified(MAC, name, SERVER) is None
    assert TftpFiles(room).file(f"boot/{MAC}/{name}", SERVER) is None
    assert TftpFiles(room).file("boot/guess/arm64/linux.efi", SERVER) is None


def test_images_without_their_stub_are_said_and_the_server_starts(
    room: Room, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "arm64/stub.efi").unlink()
    room.files.templates.clear()
    room.files.make_templates(tmp_path)
    assert "stub.efi: No such file or directory; PCs with Secure Boot get no" in caplog.text
    assert room.unified(MAC, "arm64/linux.efi", SERVER) is None
