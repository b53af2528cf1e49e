"""`netboot lab libvirt`: a real libvirtd beside the machine's own, and nothing left afterwards."""

import sys
import time

import pytest

from tests.support.isolated import Isolated, isolated

pytestmark = [pytest.mark.root, pytest.mark.system]

NETBOOT = (sys.executable, "-m", "netboot")
UP = (*NETBOOT, "lab", "libvirt", "up", "--profile", "profiles/vagrant.yaml")
DOWN = (*NETBOOT, "lab", "libvirt", "down")
VIRSH = ("virsh", "-q", "-c", "qemu:///system?socket=/run/netboot-lab/libvirt/libvirt-sock")
DOMAIN = """
<domain type='qemu'><name>pc1</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>
<devices><interface type='network'><source network='netboot-lab'/></interface></devices></domain>
"""


def assert_nothing_is_left(machine: Isolated) -> None:
    assert (machine.links(), machine.processes()) == (["lo"], [])
    assert machine.run("ls", "/run", "/dev/shm").stdout.split() == ["/dev/shm:", "/run:", "mount"]


def test_up_twice_and_down() -> None:
    with isolated() as machine:
        for _ in range(2):
            done = machine.run(*UP)
            assert done.returncode == 0, done.stdout
        assert machine.processes() == ["libvirtd", "sh", "unshare"]
        assert machine.links() == ["lo", "netboot0"]
        assert "10.77.0.1/24" in machine.run("ip", "address", "show", "netboot0").stdout
        for kind, name in (("net-list", "netboot-lab"), ("pool-list", "default")):
            assert machine.run(*VIRSH, kind, "--name").stdout.split() == [name]
        # Only in the namespaces: files of this machine with these names are not touched.
        assert machine.run("ls", "/run/libvirt").returncode != 0

        assert machine.run(*DOWN).returncode == 0
        assert_nothing_is_left(machine)
        assert machine.run(*DOWN).returncode == 0


def test_down_unused_leaves_pcs_on_and_down_does_not() -> None:
    with isolated() as machine:
        assert machine.run(*UP).returncode == 0
        script = (
            f"cat >/run/pc1.xml <<'E'\n{DOMAIN}E\n{' '.join(map(repr, VIRSH))} create /run/pc1.xml"
        )
        created = machine.run("sh", "-c", f"{script} && rm /run/pc1.xml")
        assert created.returncode == 0, created.stdout
        assert "qemu-system-x86" in machine.processes()
        assert "vnet0" in machine.links()

        assert machine.run(*DOWN, "--unused").returncode == 0
        assert "qemu-system-x86" in machine.processes()
        assert machine.run(*DOWN).returncode == 0
        assert_nothing_is_left(machine)


def test_what_was_killed_is_started_again() -> None:
    with isolated() as machine:
        assert machine.run(*UP).returncode == 0
        assert machine.run("pkill", "-KILL", "libvirtd").returncode == 0
        while machine.processes():
            time.sleep(0.05)
        assert machine.run(*UP).returncode == 0
        assert machine.processes() == ["libvirtd", "sh", "unshare"]


@pytest.mark.parametrize(
    ("before", "setting", "complaint"),
    [
        (
            "ip link add netboot0 type bridge",
            "",
            "interface 'netboot0' exists already, and is not ours",
        ),
        (
            "ip address add 10.77.0.9/16 dev lo",
            "",
            "10.77.0.0/24 is not free: lo is on 10.77.0.0/16",
        ),
        ("true", "interface=auto", "key 'interface': expected one name"),
    ],
)
def test_a_network_of_somebody_else_is_left_alone(
    before: str, setting: str, complaint: str
) -> None:
    with isolated() as machine:
        assert machine.run(*before.split()).returncode == 0
        done = machine.run(*UP, *(["--set", setting] if setting else []))
        assert done.returncode == 2
        assert complaint in done.stdout
        assert machine.processes() == []
