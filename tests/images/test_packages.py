"""Files of packages are found where either release of Debian has them, and missed in one line."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from netboot.errors import OperatorError
from netboot.images import drivers, initramfs, packages, part
from netboot.images.packages import Apt, Package, file_of, unpack
from netboot.profile.processors import AMD64, I386
from tests.images.test_cache import Steps

OS_RELEASES = {
    "ID=debian\nVERSION_ID=12\nPRETTY_NAME=Twelve\n": True,
    "ID=debian\nVERSION_ID=13\nPRETTY_NAME=Thirteen\n": True,
    "ID=debian\nPRETTY_NAME=Sid\n": False,
    "ID=ubuntu\nVERSION_ID=12\nPRETTY_NAME=Other\n": False,
}


@pytest.mark.parametrize("layout", ["lib/modules/6", "usr/lib/modules/6"])
def test_a_package_is_unpacked_as_on_a_system_with_merged_usr(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dpkg_deb(*_: object, **__: object) -> None:
        (tmp_path / layout).mkdir(parents=True, exist_ok=True)
        (tmp_path / layout / "modules.builtin").touch()

    monkeypatch.setattr(packages, "run", dpkg_deb)
    for _ in range(2):  # another package in the same folder
        unpack(tmp_path / "x.deb", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["usr"]
    assert file_of("linux", tmp_path, "usr/lib/modules/6/modules.builtin").is_file()


def test_the_first_place_that_exists_counts(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/ipxe.efi").touch()
    places = ("usr/lib/ipxe/ipxe-amd64.efi", "boot/ipxe.efi")
    assert file_of("ipxe", tmp_path, *places) == tmp_path / "boot/ipxe.efi"
    with pytest.raises(OperatorError, match="ipxe has no file usr/lib/a or boot/b") as caught:
        file_of("ipxe", tmp_path, "usr/lib/a", "boot/b")
    assert "Debian 12 and 13 on amd64; this is" in caught.value.hint


@pytest.mark.parametrize(("text", "supported"), OS_RELEASES.items())
def test_other_systems_are_told(
    text: str, supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = dict(line.split("=") for line in text.splitlines())
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: fields)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert packages.is_supported() is supported
    assert packages.system() == f"{fields['PRETTY_NAME']} on x86_64"
    monkeypatch.setattr(
        "platform.machine", lambda: "aarch64"
    )  # Raspberry Pi OS calls itself Debian
    assert not packages.is_supported()


@pytest.mark.parametrize("before", [b"\0", b" ", b""])
def test_the_table_of_applets_is_found_in_either_busybox(before: bytes) -> None:
    program = b"ELF\0[\0x" + before + b"[\0[[\0ash\0busybox\0sh\0\0[\0"
    assert initramfs.applets(program) == ["[", "[[", "ash", "sh"]


class Known(Apt):
    """An apt that knows the packages ``names``."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._lists_are_ours = False

    def show(self, names: object) -> dict[str, Package]:
        return {name: Package(name, "1", "") for name in self._names}


def test_of_alternative_packages_the_first_that_exists_is_taken() -> None:
    names = ("grub-efi-ia32-unsigned", "grub-efi-ia32-bin")
    assert Known(*names).need_one(names).name == names[0]
    assert Known(names[1]).need_one(names).name == names[1]
    with pytest.raises(OperatorError, match=f"no package {names[1]}"):
        Known().need_one(names)


def test_a_processor_that_debian_dropped_is_told_with_the_remedy() -> None:
    with pytest.raises(OperatorError, match="linux-image-686-pae") as caught:
        Known().need([I386.kernel], part._without(I386))
    assert "leave i386 out of boot.architectures" in caught.value.hint
    with pytest.raises(OperatorError) as caught:
        Known().need([AMD64.kernel], part._without(AMD64))
    assert "apt-get update" in caught.value.hint


def test_firmware_that_moved_to_another_package_is_not_missed() -> None:
    file = {
        "file": "e100/d101m_ucode.bin",
        "package": " or ".join(drivers.FIRMWARE_PACKAGES["e100/"]),
    }
    lacking = {"firmware_missing": {"e100": [file]}, "packages": {}}
    assert len(part.without_firmware(lacking)) == 1
    for name in drivers.FIRMWARE_PACKAGES["e100/"]:
        assert part.without_firmware(lacking | {"packages": {name: "1"}}) == ()


DEBIAN = """\
Origin: Debian
Component: main
Release: bookworm
Repo-URI: http://127.0.0.1:9/debian/
Filename: {folder}/host/Packages
"""
# A flat repository without a Release file, and one that says who it is.
FOREIGN = "Created-By: Packages\nRepo-URI: http://127.0.0.1:9/flat/\nRelease: ./\n"
VENDOR = FOREIGN + "Origin: Vendor\nComponent: main\n"


@pytest.mark.parametrize("others", ["", f"{FOREIGN}\n{VENDOR}\n"])
@pytest.mark.parametrize("debian", ["", DEBIAN])
def test_repositories_of_others_are_no_mirrors_of_debian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: str, debian: str
) -> None:
    def apt(command: list[str], **_: object) -> CompletedProcess[str]:
        shown = others + debian.format(folder=tmp_path) if "indextargets" in command else ""
        return CompletedProcess(command, 0, shown, "")

    monkeypatch.setattr(packages, "run", apt)
    state = tmp_path / "state"
    _, complaint = packages.foreign_apt(Apt(tmp_path / "cache"), "i386", state, Steps())
    assert complaint == ("" if debian else "this machine's apt knows no mirror of Debian")
    sources = (state / "sources.list").read_text()
    assert sources.count("deb ") == bool(debian) and "flat" not in sources
