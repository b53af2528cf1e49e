"""What a root image must not or need not have, and links that lead out of it."""

import subprocess
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.roots import tidy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name in (
        "etc/resolv.conf",
        "etc/shadow-",
        "etc/ssh/ssh_host_rsa_key",
        "boot/vmlinuz-6.1",
        "var/log/dpkg.log",
        "var/log/wtmp",
        "usr/share/doc/bash/README",
        "usr/share/doc/bash/copyright",
        "usr/share/man/man1/bash.1.gz",
        "usr/share/locale/de/LC_MESSAGES/bash.mo",
        "usr/share/locale/de_AT/LC_MESSAGES/bash.mo",
        "usr/share/locale/fr/LC_MESSAGES/bash.mo",
        "usr/share/locale/locale.alias",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_leftovers_of_the_build_are_removed(root: Path) -> None:
    tidy.remove_leftovers(root)
    left = names(root)
    assert not left & {"etc/resolv.conf", "etc/shadow-", "boot/vmlinuz-6.1", "var/log/dpkg.log"}
    assert {"var/log/wtmp", "etc/.updated", "var/.updated", "etc/hosts"} <= left


def test_documents_are_removed_and_licences_stay(root: Path) -> None:
    tidy.remove_documentation(root)
    left = names(root)
    assert "usr/share/doc/bash/copyright" in left
    assert not left & {"usr/share/doc/bash/README", "usr/share/man/man1/bash.1.gz"}


def test_translations_of_the_locales_stay(root: Path) -> None:
    tidy.remove_translations(root, ["de_AT.UTF-8"])
    left = {name for name in names(root) if name.startswith("usr/share/locale")}
    assert left == {
        "usr/share/locale/de/LC_MESSAGES/bash.mo",
        "usr/share/locale/de_AT/LC_MESSAGES/bash.mo",
        "usr/share/locale/locale.alias",
    }


def test_secrets_are_removed_and_told(root: Path) -> None:
    assert any("ssh_host_rsa_key" in line for line in tidy.strip_secrets(root))
    assert "etc/ssh/ssh_host_rsa_key" not in names(root)


def test_a_link_out_of_the_image_is_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "man1").mkdir(parents=True)
    (outside / "host.log").write_text("x")
    subprocess.run(["rm", "-r", root / "usr/share/man", root / "var/log"], check=True)
    (root / "usr/share/man").symlink_to(outside)
    (root / "var/log").symlink_to(outside)
    tidy.remove_documentation(root)
    tidy.remove_leftovers(root)
    assert (outside / "man1").is_dir() and (outside / "host.log").is_file()


@pytest.mark.parametrize("name", ["etc", "etc/ssh"])
def test_secrets_are_not_looked_for_outside_of_the_image(
    root: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "outside").mkdir()
    subprocess.run(["rm", "-r", root / name], check=True)
    (root / name).symlink_to(tmp_path / "outside")
    with pytest.raises(OperatorError, match=r"no folder /etc|leads out of the image"):
        tidy.strip_secrets(root)


def test_kernels_are_those_with_drivers(root: Path) -> None:
    assert tidy.kernels(root) == ()
    (root / "usr/lib/modules/6.1.0-56-amd64/kernel").mkdir(parents=True)
    (root / "usr/lib/modules/old").mkdir()
    (root / "lib").symlink_to("usr/lib")
    assert tidy.kernels(root) == ("6.1.0-56-amd64",)


def test_a_driver_is_a_module_or_built_in_for_each_kernel(root: Path) -> None:
    first, second = (root / "usr/lib/modules" / name for name in ("6.1", "6.12"))
    (first / "kernel/fs/nfs").mkdir(parents=True)
    assert not tidy.has_driver(root, "fs/nfs/nfsv4")
    (first / "kernel/fs/nfs/nfsv4.ko.xz").touch()
    assert tidy.has_driver(root, "fs/nfs/nfsv4") and not tidy.has_driver(root, "fs/nfs/nfs")
    (second / "kernel").mkdir(parents=True)
    assert not tidy.has_driver(root, "fs/nfs/nfsv4")
    (second / "modules.builtin").write_text("kernel/fs/fuse.ko\nkernel/fs/nfs/nfsv4.ko\n")
    assert tidy.has_driver(root, "fs/nfs/nfsv4")
