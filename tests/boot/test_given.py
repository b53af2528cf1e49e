"""boot.loader_files: the operator's own signed loaders come first, and the kernel by Debian's shim."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.boot.arch import BY_NAME
from netboot.boot.client import Client, Stage
from netboot.boot.events import Journal
from netboot.boot.given import shim_of
from netboot.cli.checks import check_paths
from netboot.errors import OperatorError
from netboot.pages.lease import LeaseTable
from netboot.profile.file import parse
from netboot.serve.boot_files import BootFiles, lacking
from netboot.serve.room import Room
from netboot.serve.tftp_files import TftpFiles
from tests.serve.links import FakeLinks

MAC = "52:54:00:12:34:56"
SERVER, HERE = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")
SHIM = "loader/snponly-shimx64.efi"


@pytest.mark.parametrize(
    ("names", "shim"),
    [
        (["ipxe-shimx64.efi", "ipxe.efi", "README"], "ipxe-shimx64.efi"),
        (["ipxe-shim.efi", "ipxe.efi", "snponly-shim.efi", "snponly.efi"], "snponly-shim.efi"),
        (["snponly-shim.efi", "ipxe-shim.efi", "ipxe.efi"], "ipxe-shim.efi"),
        (["snponly-shimx64.efi", "snponly-shim.efi", "snponly.efi"], "snponly-shimx64.efi"),
        (["ipxe-shimaa64.efi", "ipxe.efi"], ""),
        (["ipxe.efi", "snponly.efi", "shimx64.efi"], ""),
        ([], ""),
    ],
)
def test_a_shim_has_its_ipxe_beside_it(names: list[str], shim: str) -> None:
    assert shim_of(names) == shim


@pytest.fixture
def room(tmp_path: Path) -> Room:
    folder, images = tmp_path / "mine", tmp_path / "images"
    folder.mkdir()
    images.mkdir()
    for name in ("snponly-shimx64.efi", "snponly.efi", "secret.txt"):
        (folder / name).write_text(name)
    (images / "shimx64.efi").write_text("Debian's")
    profile = parse(f"boot: {{loader_files: {folder}}}", "room.yaml")
    files = BootFiles(images, profile, lacks=lacking(images))
    room = Room(profile, files, b"s" * 32, Journal(), LeaseTable(1 << 30))
    room.identity.links = FakeLinks({str(HERE): MAC})
    return room


def test_every_uefi_pc_gets_it_first_and_then_what_it_got(room: Room) -> None:
    client = Client(MAC, BY_NAME["uefi-x64"], Stage.FIRMWARE)
    assert room.plan(client, SERVER).bootfile == SHIM
    room.fetched(MAC, SHIM)
    assert room.plan(client, SERVER).bootfile == "snponly.efi", "it did not start"
    for name, bootfile in (
        ("uefi-x64-http", f"http://{SERVER}:8080/boot/{SHIM}"),
        ("uefi-ia32", "boot/grubia32.efi"),
        ("bios", "undionly.kpxe"),
    ):
        other = Client("52:54:00:12:34:57", BY_NAME[name], Stage.FIRMWARE)
        assert room.plan(other, SERVER).bootfile == bootfile


def test_its_folder_has_loaders_and_our_script_and_nothing_else(room: Room, tmp_path: Path) -> None:
    tftp = TftpFiles(room)
    assert tftp.file(SHIM, SERVER, HERE) == tmp_path / "mine/snponly-shimx64.efi"
    assert tftp.file("loader/snponly.efi", SERVER, HERE) == tmp_path / "mine/snponly.efi"
    for name in ("secret.txt", "../images/shimx64.efi", "none.efi", "", "a\0.efi"):
        assert tftp.file(f"loader/{name}", SERVER, HERE) is None, name
    script = tftp.file("loader/autoexec.ipxe", SERVER, HERE)
    assert isinstance(script, bytes) and script.startswith(b"#!ipxe\n:dhcp\ndhcp || goto dhcp\n")
    assert b"chain --autofree http://10.0.0.1:8080/boot/${netX/mac}/${kind}.ipxe" in script
    assert room.script(MAC, "loader/autoexec.ipxe", SERVER) == script.decode()


def test_the_kernel_is_started_by_debians_shim_where_there_may_be_secure_boot(room: Room) -> None:
    script = room.script(MAC, "uefi-x64.ipxe", SERVER) or ""
    *_, shim, boot = script[: script.index(":failed")].strip().splitlines()
    assert shim == f"shim http://{SERVER}:8080/boot/kernel-shim.efi ||"
    assert boot == "boot || goto failed"
    path = room.file("kernel-shim.efi", SERVER)
    assert path is not None and path.read_text() == "Debian's"
    assert "shim " not in (room.script(MAC, "bios.ipxe", SERVER) or "shim ")


def test_files_of_the_archive_as_they_come(tmp_path: Path) -> None:
    """Stand-ins with the names and the links of x86_64-sb in iPXE's ipxeboot.tar.gz."""
    folder = tmp_path / "x86_64-sb"
    folder.mkdir()
    for name in ("ipxe.efi", "shimx64.efi", "snponly.efi"):
        (folder / name).write_text(name)
    for name in ("ipxe-shim.efi", "snponly-shim.efi"):
        (folder / name).symlink_to("shimx64.efi")
    profile = parse(f"boot: {{loader_files: {folder}}}", "room.yaml")
    check_paths(Path("room.yaml"), profile)
    files = BootFiles(tmp_path, profile, lacks=lacking(tmp_path))
    assert files.given == "loader/snponly-shim.efi"
    path = files.path(files.given)
    assert path is not None and path.read_text() == "shimx64.efi"
    (folder / "shimx64.efi").unlink()  # the links alone were copied
    assert BootFiles(tmp_path, profile, lacks=lacking(tmp_path)).given == ""
    with pytest.raises(OperatorError, match="; found ipxe.efi, snponly.efi"):
        check_paths(Path("room.yaml"), profile)


def test_without_the_key_nothing_changes(tmp_path: Path) -> None:
    profile = parse("{}", "room.yaml")
    files = BootFiles(tmp_path, profile, lacks=lacking(tmp_path))
    room = Room(profile, files, b"s" * 32, Journal(), LeaseTable(1 << 30))
    assert "shim" not in (room.script(MAC, "uefi-x64.ipxe", SERVER) or "shim")
    assert TftpFiles(room).file("loader/autoexec.ipxe", SERVER, HERE) is None
    assert TftpFiles(room).file(SHIM, SERVER, HERE) is None


def test_a_folder_without_them_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "ipxe.efi").touch()
    profile = parse(f"boot: {{loader_files: {tmp_path}}}", "room.yaml")
    with pytest.raises(
        OperatorError, match=r"key 'boot.loader_files': expected iPXE's shim"
    ) as told:
        check_paths(Path("room.yaml"), profile)
    assert "; found ipxe.efi" in str(told.value) and "x86_64-sb" in told.value.hint
