"""Builds for another processor: programs that run here, and the remedy if they do not."""

import os
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.roots import foreign
from netboot.roots.foreign import check_runs


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with all programs of an amd64 that runs those of i386, too."""
    program(tmp_path, "dpkg", "echo amd64")
    program(tmp_path, "arch-test", '[ "$1" = i386 ]')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("netboot.host.programs.SYSTEM_FOLDERS", str(tmp_path))
    monkeypatch.setattr(foreign, "BINFMT", tmp_path / "binfmt_misc")
    return tmp_path


def program(folder: Path, name: str, text: str = "") -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def refusal(architecture: str) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        check_runs(architecture)
    return caught.value


def test_an_amd64_builds_for_itself_and_for_i386(machine: Path) -> None:
    check_runs("i386")
    os.unlink(machine / "arch-test")
    check_runs("amd64")


def test_a_machine_without_the_tester_is_told_its_package(machine: Path) -> None:
    os.unlink(machine / "arch-test")
    assert "arch-test is not installed" in str(refusal("i386"))
    assert refusal("i386").hint == "sudo apt install arch-test"


def test_a_machine_without_an_emulator_is_told_its_package(machine: Path) -> None:
    found = refusal("arm64")
    assert "this amd64 runs no programs for arm64" in str(found)
    assert found.hint == "sudo apt install qemu-user-static binfmt-support"


def test_a_machine_with_an_emulator_is_told_how_to_use_it(machine: Path) -> None:
    program(machine, "qemu-aarch64-static")
    assert refusal("arm64").hint.startswith("sudo mount -t binfmt_misc binfmt_misc ")
    (machine / "binfmt_misc").mkdir()
    (machine / "binfmt_misc/register").touch()
    assert refusal("arm64").hint == "sudo update-binfmts --enable qemu-aarch64"
