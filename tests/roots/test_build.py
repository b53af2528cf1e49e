"""Builds of root images, without a real one: keys, packages, progress, the scratch folder."""

import fcntl
import os
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.roots import definition, dressing
from netboot.roots.build import build, installed
from netboot.roots.installing import Installing
from netboot.roots.library import Library
from netboot.roots.running import follow
from netboot.roots.scratch import PREFIX, scratch
from tests.roots.test_format import Told


def test_packages_are_those_that_are_installed(tmp_path: Path) -> None:
    assert installed(tmp_path) == {}
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(
        "Package: surf\nStatus: install ok installed\nVersion: 2.1\n\n"
        "Package: vim\nStatus: deinstall ok config-files\nVersion: 9\n"
    )
    assert installed(tmp_path) == {"surf": "2.1"}


def test_progress_counts_packages() -> None:
    told = Told()
    installing = Installing(told, 2)
    installing.hear(
        b"Get:1 http://mirror bookworm InRelease\n"
        b"Get:2 http://mirror bookworm/main amd64 Packages [8 MB]\n"
        b"Get:3 http://mirror bookworm/main amd64 surf amd64 2.1 [40 kB]\nUnpack"
    )
    installing.hear(b"ing surf (2.1) ...\nSetting up surf (2.1) ...\n")
    assert told.steps == ["downloading packages", "installing packages"]
    assert told.shares == [(1, 2), (1, 4), (2, 4)]


def test_a_scratch_folder_goes_away_in_any_case(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch(tmp_path / "roots") as folder:
        (folder / "root").mkdir()
        raise KeyboardInterrupt
    assert list((tmp_path / "roots").glob(f"{PREFIX}*")) == []


def test_only_the_scratch_of_a_killed_build_is_removed(tmp_path: Path) -> None:
    stray, used = tmp_path / f"{PREFIX}stray", tmp_path / f"{PREFIX}used"
    stray.mkdir()
    used.mkdir()
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with scratch(tmp_path):
        assert used.is_dir() and not stray.exists()
    os.close(descriptor)


def test_files_of_ours_get_modes_of_their_own(tmp_path: Path) -> None:
    tree, root = tmp_path / "tree", tmp_path / "root"
    (tree / "usr/lib/netboot").mkdir(parents=True)
    (tree / "usr/lib/netboot/screen").write_text("#!/bin/sh\n")
    (tree / "usr/lib/netboot/text").write_text("x")
    (tree / "usr/lib/netboot/link").symlink_to("text")
    (tree / "usr/lib/netboot/text").chmod(0o600)
    root.mkdir()
    dressing.copy_tree(tree, root)
    dressing.copy_tree(tree, root)
    assert (root / "usr/lib/netboot/screen").stat().st_mode & 0o777 == 0o755
    assert (root / "usr/lib/netboot/text").stat().st_mode & 0o777 == 0o644
    assert (root / "usr/lib/netboot/link").readlink() == Path("text")


@pytest.mark.root
@pytest.mark.system
def test_a_failed_program_tells_its_errors_alone() -> None:
    script = "echo Unpacking libgpg-error0; echo E: no such package >&2; exit 1"
    with pytest.raises(OperatorError) as caught:
        follow(["sh", "-c", script], problem="no", errors="^E: ")
    assert str(caught.value) == "no: no such package"


@pytest.mark.root
@pytest.mark.system
def test_an_interrupted_program_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(chunk: bytes) -> None:
        raise KeyboardInterrupt

    script = f"mount -t tmpfs tmpfs {tmp_path}; sleep 600 & echo started; wait"
    with pytest.raises(KeyboardInterrupt):
        follow(["sh", "-c", script], interrupt, problem="no")
    assert not os.path.ismount(tmp_path)
    mounts = Path("/proc/self/mounts").read_text()
    assert str(tmp_path) not in mounts


@pytest.mark.root
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_two_builds_give_the_same_bytes_and_a_third_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "small.yaml", tmp_path / "cache"
    path.write_text("screen: none\nhardware: []\npackages: [busybox]\n")
    wanted = definition.parse(path.read_text(), path)
    made = [build(wanted, Library(tmp_path / name), cache, Told()) for name in ("one", "two")]
    assert all(each.new for each in made)
    one, two = (each.version.manifest for each in made)
    assert (one.digest, one.root_hash) == (two.digest, two.root_hash)
    assert one.packages["busybox"] and one.kernels and one.init == "/sbin/init"
    monkeypatch.setattr("netboot.roots.build.install", None)  # no package is installed again
    again = build(wanted, Library(tmp_path / "one"), cache, Told())
    assert again.version == made[0].version and not again.new


@pytest.mark.root
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_package_that_does_not_exist_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("screen: none\nhardware: []\npackages: [no-such-package]\n")
    wanted = definition.parse(path.read_text(), path)
    library = Library(tmp_path / "roots")
    with pytest.raises(OperatorError, match="Unable to locate package no-such-package"):
        build(wanted, library, tmp_path / "cache", Told())
    assert library.names() == () and not list(tmp_path.glob("roots/.making-*"))
