"""Imports: what is unpacked, what is refused, and what is left behind then."""

import os
import subprocess
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.roots.importing import import_system
from netboot.roots.library import Library
from tests.roots.test_format import Told

pytestmark = [pytest.mark.root, pytest.mark.system]

MODULES = "usr/lib/modules/6.1.0-56-amd64"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    root = tmp_path / "system"
    for name in ("etc/shadow", "etc/resolv.conf", "sbin/init", f"{MODULES}/kernel/a.ko"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("root:$y$secret:1::::::\n")
    return root


def packed(system: Path, kind: str) -> str:
    target = system.with_name("source")
    match kind:
        case "folder":
            return str(system)
        case "tar":
            subprocess.run(["tar", "-C", system, "-cf", target, "."], check=True)
        case "tar.gz, one folder":
            subprocess.run(["tar", "-C", system.parent, "-czf", target, system.name], check=True)
        case "squashfs":
            subprocess.run(["mksquashfs", system, target], check=True, capture_output=True)
        case "ext4":
            command = ["mke2fs", "-q", "-t", "ext4", "-d", str(system), str(target), "8M"]
            subprocess.run(command, check=True)
        case _:
            raise AssertionError(kind)
    return str(target)


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz, one folder", "squashfs", "ext4"])
def test_a_system_becomes_a_version(system: Path, tmp_path: Path, kind: str) -> None:
    if kind == "ext4" and not os.path.exists("/dev/loop-control"):
        pytest.skip("no loop devices")
    library = Library(tmp_path / "roots")
    made = import_system("room", packed(system, kind), library, Told(), format="squashfs")
    assert library.current("room") == made.version
    assert made.version.manifest.kernels == ("6.1.0-56-amd64",)
    assert made.version.manifest.init == "/sbin/init"
    assert any("password hash of root" in line for line in made.told)
    listed = subprocess.run(
        ["unsquashfs", "-l", made.version.image], check=True, capture_output=True, text=True
    ).stdout
    assert "etc/resolv.conf" not in listed and f"{MODULES}/kernel/a.ko" in listed
    assert "etc/systemd/system/apt-daily.timer" in listed


@pytest.mark.parametrize(
    ("missing", "problem"),
    [("sbin/init", "no init"), (f"{MODULES}/kernel/a.ko", "no drivers"), ("etc", "no folder /etc")],
)
def test_what_no_pc_could_run_is_refused(
    system: Path, tmp_path: Path, missing: str, problem: str
) -> None:
    path = system / missing
    subprocess.run(["rm", "-r", path.parent if path.suffix == ".ko" else path], check=True)
    library = Library(tmp_path / "roots")
    with pytest.raises(OperatorError, match=problem):
        import_system("room", str(system), library, Told())
    assert library.names() == ()
    assert not list(library.folder.glob(".making-*"))


def test_what_is_no_system_is_told(system: Path, tmp_path: Path) -> None:
    library, path = Library(tmp_path / "roots"), tmp_path / "file"
    path.write_bytes(bytes(510) + b"\x55\xaa" + bytes(4096))
    for name, source, problem in (
        ("room", str(path), "a disk with partitions"),
        ("room", str(tmp_path / "none"), "there is no "),
        ("Room 1", str(system), "'Room 1' cannot be an image's name"),
        ("room", str(tmp_path), "contains the library"),
    ):
        with pytest.raises(OperatorError, match=problem):
            import_system(name, source, library, Told())
    path.write_bytes(b"text")
    with pytest.raises(OperatorError, match="neither an archive nor an image"):
        import_system("room", str(path), library, Told())
