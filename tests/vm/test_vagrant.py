"""`vagrant up` as its user runs it: Debian's Vagrant and libvirt, in a network of their own."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netboot.images.cache import default_cache
from netboot.profile.sections import Vagrant
from tests import ROOT
from tests.support.isolated import Isolated, isolated

LIBVIRTD_PID = "/run/netboot-lab/libvirtd.pid"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Isolated]:
    """Provide images that were built just now: the test has no network to fetch Debian's packages.

    Of parts built long ago the cache may have dropped some: other tests build for other processors.
    """
    home, state, cached = tmp_path / "home", tmp_path / "state", default_cache() / "images"
    images = tmp_path / "images"
    words = [sys.executable, "-m", "netboot", "build", "--output", str(images)]
    subprocess.run([*words, "--profile", "profiles/lab.yaml"], check=True, cwd=ROOT)
    cached.mkdir(parents=True, exist_ok=True)
    with isolated(VAGRANT_HOME=str(home), VAGRANT_DOTFILE_PATH=str(state)) as machine:
        assert machine.run("mount", "--bind", images, cached).returncode == 0
        yield machine


def assert_nothing_is_left(machine: Isolated, tmp_path: Path) -> None:
    assert (machine.links(), machine.processes()) == (["lo"], [])
    assert machine.run("ls", "/run", "/dev/shm").stdout.split() == ["/dev/shm:", "/run:", "mount"]
    assert [path for path in (tmp_path / "state/machines").rglob("*") if path.is_file()] == []


def test_three_pcs_are_brought_up_and_nothing_of_them_is_left(
    machine: Isolated, tmp_path: Path
) -> None:
    up = machine.run("vagrant", "up", timeout=300, CLIENTS="3", FIRMWARE="bios,uefi")
    assert up.returncode == 0, up.stdout
    for number in (1, 2, 3):
        of_pc = [line for line in up.stdout.splitlines() if f"pc{number}: " in line]
        for stage in ("dhcp", "lease", "swap", "userland"):
            assert any(f" {stage} " in line for line in of_pc), up.stdout
    assert "DISCOVER from iPXE uefi-x64" in up.stdout
    assert machine.run("vagrant", "status").stdout.count("running (libvirt)") == 3

    servers = machine.run("pgrep", "-f", "netboot serve").stdout
    again = machine.run("vagrant", "up", timeout=300)
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("userland:") == 3
    assert machine.run("pgrep", "-f", "netboot serve").stdout == servers

    assert machine.run("vagrant", "halt", "pc3").returncode == 0
    assert "pc3                       shutoff" in machine.run("vagrant", "status").stdout
    # The firmware of each PC is stored, so the environment need not have it.
    gone = machine.run("vagrant", "destroy", "-f")
    assert gone.returncode == 0, gone.stdout
    assert_nothing_is_left(machine, tmp_path)
    assert machine.run("vagrant", "destroy", "-f").returncode == 0


def test_a_pc_that_is_late_is_shown_and_a_killed_lab_is_cleared_away(
    machine: Isolated, tmp_path: Path
) -> None:
    up = machine.run("vagrant", "up", CLIENTS="1", TIMEOUT="4", timeout=300)
    assert up.returncode != 0
    assert "FAILED, not done after 4 s; last: " in up.stdout
    assert "last lines of its console (/run/netboot-lab/pc1.console):" in up.stdout
    assert "iPXE" in up.stdout
    assert "running (libvirt)" in machine.run("vagrant", "status", CLIENTS="1").stdout

    assert machine.run("sh", "-c", f"kill -9 $(cat {LIBVIRTD_PID})").returncode == 0
    while "qemu-system-x86" in machine.processes():
        time.sleep(0.05)
    status = machine.run("vagrant", "status", CLIENTS="1")
    assert "not created (libvirt)" in status.stdout
    assert machine.run("vagrant", "destroy", "-f").returncode == 0
    assert_nothing_is_left(machine, tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("CLIENTS", "4", "Vagrantfile validated successfully."),
        ("CLIENTS", "none", "CLIENTS: expected a number from 1 to 120, found 'none'"),
        ("FIRMWARE", "bios,efi", "FIRMWARE: expected bios or uefi, found 'efi'"),
        ("NIC", "", "NIC: expected e1000, e1000e, rtl8139 or virtio, found ''"),
    ],
)
def test_validate(tmp_path: Path, variable: str, value: str, complaint: str) -> None:
    assert shutil.which("vagrant"), "make setup-vagrant installs it"
    places = {"VAGRANT_HOME": str(tmp_path), "VAGRANT_DOTFILE_PATH": str(tmp_path / "state")}
    with isolated(**places, **{variable: value}) as machine:
        done = machine.run("vagrant", "validate")
    assert complaint in done.stdout
    assert (done.returncode == 0) == ("success" in complaint)


def test_the_vagrantfile_has_the_defaults_of_the_profile() -> None:
    text = (ROOT / "Vagrantfile").read_text()
    shown = Vagrant()
    assert f"'clients' => {shown.clients}, 'memory' => {shown.memory}" in text
    assert f"'firmware' => '{shown.firmware[0]}', 'nic' => '{shown.nic[0]}'" in text
    assert f"'address' => '{shown.address}'" in text
