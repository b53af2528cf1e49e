"""The image for CDs and USB sticks: the parts that firmware looks for, read here and by xorriso."""

import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.images import medium, releases
from netboot.images.build import default_cache
from netboot.images.packages import Apt, Package
from tests.images.test_cache import Steps

pytestmark = pytest.mark.system

SECTOR = 2048
BOOT_RECORD = 17 * SECTOR  # El Torito section 2.0
X86, EFI = 0, 0xEF  # platform ids


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("media") / medium.IMAGE_FILE
    medium.write(target, default_cache(), Steps())
    return target


def entries(content: bytes) -> dict[int, bytes]:
    """Return the start of each platform's boot image, from El Torito's catalog."""
    (catalog,) = struct.unpack_from("<I", content, BOOT_RECORD + 0x47)
    at = catalog * SECTOR
    found = {content[at + 1]: content[at + 32 : at + 64]}
    assert content[at + 64] == 0x91, "one more section, the last"
    found[content[at + 65]] = content[at + 96 : at + 128]
    starts = {}
    for platform, entry in found.items():
        assert entry[0] == 0x88, "bootable"
        (block,) = struct.unpack_from("<I", entry, 8)
        starts[platform] = content[block * SECTOR :]
    return starts


def test_a_cd_starts_isolinux_or_a_fat_file_system(image: Path) -> None:
    starts = entries(image.read_bytes())
    assert b"isolinux" in starts[X86][:SECTOR].lower()
    assert starts[EFI][510:512] == b"\x55\xaa" and starts[EFI][54:59] == b"FAT12"


def test_a_stick_has_a_boot_sector_and_an_efi_partition(image: Path) -> None:
    content = image.read_bytes()
    assert content[510:512] == b"\x55\xaa" and any(content[:400])
    kinds = {content[446 + 16 * number + 4] for number in range(4)}
    assert EFI in kinds
    assert content[512:520] == b"EFI PART"


def test_what_is_inside(image: Path, tmp_path: Path) -> None:
    listed = ["xorriso", "-indev", str(image), "-osirrox", "on", "-extract", "/", str(tmp_path)]
    subprocess.run(listed, check=True, capture_output=True)
    assert (tmp_path / "ipxe.krn").read_bytes()[0x202:0x206] == b"HdrS"
    script = (tmp_path / "netboot.ipx").read_text()
    assert script.startswith("#!ipxe\nset user-class netboot\n")
    for program in medium.PROGRAMS.values():
        content = on_floppy(tmp_path, program)
        assert content[:2] == b"MZ" and len(content) > 500_000
    assert on_floppy(tmp_path, "autoexec.ipxe").decode() == script


def on_floppy(folder: Path, name: str) -> bytes:
    command = ["mtype", "-i", str(folder / "efi.img"), f"::/EFI/BOOT/{name}"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_a_medium_of_a_server_has_its_address(image: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.iso"
    medium.write(own, default_cache(), Steps(), "10.0.0.5:8080")
    line = b"chain --timeout 5000 --autofree http://10.0.0.5:8080/boot/${netX/mac}/${kind}.ipxe"
    assert own.read_bytes().count(line) == 2, "for BIOS and for UEFI"
    assert line not in image.read_bytes()


def test_without_the_newest_release_the_medium_has_this_ones_ipxe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its iPXE of another processor may be missing."""

    class Empty(Apt):
        def show(self, names: Iterable[str]) -> dict[str, Package]:
            return {}

    away = (Empty(tmp_path / "apt"), "the mirror is away")
    monkeypatch.setattr(releases, "newest_apt", lambda host, state, progress: away)
    (told,) = medium.write(tmp_path / "old.iso", default_cache(), Steps())
    assert told.startswith("no iPXE of Debian") and told.endswith("the mirror is away")
    assert (tmp_path / "old.iso").stat().st_size > 1 << 20


def test_the_same_parts_give_the_same_bytes(image: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    medium.write(tmp_path / "again.iso", tmp_path / "cache", Steps())
    assert (tmp_path / "again.iso").read_bytes() == image.read_bytes()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot be written"):
        medium.write(tmp_path / "nowhere" / "x.iso", default_cache(), Steps())
