"""The Debian package in a clean system of each release: built, installed, serving, purged.

First without systemd as process 1: the commands of the units run by hand, as their users and with
their capabilities, and the images' unit on a file system that is read-only where the unit has it so.
Then with systemd, in namespaces: the units start, and an upgrade lets the server run.
"""

import subprocess
from pathlib import Path

import pytest

from netboot.deploy import layout, packaged
from netboot.profile.starting import FOLDER
from tests.support.booted import booted
from tests.support.confined import settings
from tools import chroots
from tools.deb.__main__ import build

pytestmark = [
    pytest.mark.root,
    pytest.mark.system,
    pytest.mark.nightly,
    pytest.mark.long,
    pytest.mark.timeout(3600),
]

SYSTEM = "ca-certificates,systemd-sysv"  # a machine has an init
APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends"
UNITS = packaged.units()
# The store is the one that `netboot init` names for swap on the disk.
PROFILE = f"interface: lan0\nswap: {{size: 1x, capacity: 64MiB, store: 'disk:{FOLDER}'}}\n"
ROOM = "ip link set lo up; ip link add lan0 type veth peer name end; ip link set end up; "
ROOM += "ip address add 10.99.0.1/24 dev lan0; ip link set lan0 up"
AS_SERVER = "setpriv --reuid=netboot --regid=netboot --init-groups --no-new-privs "
AS_SERVER += "--inh-caps=+net_bind_service,+net_raw --ambient-caps=+net_bind_service,+net_raw"
AS_PANEL = "setpriv --reuid=netboot-panel --regid=netboot-panel --init-groups --no-new-privs"
ASK_PANEL = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8081/').status)"
# The folders that systemd makes for the units.
FOLDERS = f"""
install -d -o netboot -g netboot -m {layout.STATE_MODE:o} {layout.STATE}
install -d -o netboot-panel -g netboot-panel -m 700 {layout.PANEL_STATE}
"""


def _command(unit: str) -> str:
    return settings(UNITS[unit])["ExecStart"][0]


BUILD_IMAGES = f"""
mkdir -p /var/cache/netboot {layout.IMAGES}
for folder in /var/cache/netboot {layout.IMAGES} /tmp; do mount --bind $folder $folder; done
mount --bind / /mnt; mount -o remount,bind,ro /mnt
for folder in /var/cache/netboot {layout.IMAGES} /tmp /dev /proc; do mount --rbind $folder /mnt$folder; done
env CACHE_DIRECTORY=/var/cache/netboot NETBOOT_PROFILE={layout.PROFILE} \\
    chroot /mnt {_command(packaged.IMAGES_SERVICE)}
test -f {packaged.IMAGES}/manifest.json
"""
SERVE = f"""
mkdir -p /run/systemd/system  # as systemd makes it: the server leaves the panel to its unit
{ROOM}
{FOLDERS}
STATE_DIRECTORY={layout.STATE} {AS_SERVER} {_command(layout.SERVICE)} >/tmp/server 2>&1 &
server=$!
netboot doctor --wait 120 || {{ cat /tmp/server; exit 1; }}
{AS_PANEL} {_command(layout.PANEL_SERVICE)} >/tmp/panel 2>&1 &
panel=$!
for try in $(seq 120); do
    {layout.PACKAGED}/bin/python -c "{ASK_PANEL}" 2>/tmp/asked && break
    sleep 1
done
test ! -s /tmp/asked || {{ cat /tmp/panel; exit 1; }}
netboot status
kill -HUP $server
# Until the new program serves it has no handler for SIGTERM.
for try in $(seq 120); do test "$(grep -c '^netboot: serving' /tmp/server)" = 2 && break; sleep 1; done
netboot doctor --wait 120
kill $panel $server
wait $server
"""
UPGRADE = f"""
{ROOM}
netboot doctor | grep -F 'is it running? systemctl status netboot netboot-images'
systemctl enable --now netboot
netboot doctor --wait 120
before=$(systemctl show -P MainPID netboot)
dpkg -i /netboot-classroom_*.deb
test "$(systemctl show -P MainPID netboot)" = "$before"
netboot doctor --wait 120
systemctl is-active netboot
systemctl is-active netboot-panel
echo nonsense: 1 >>{layout.PROFILE}
systemctl reload netboot
for try in $(seq 120); do journalctl -u netboot | grep -q 'not upgraded: ' && break; sleep 1; done
sed -i /nonsense/d {layout.PROFILE}
netboot doctor --wait 120
test "$(systemctl show -P MainPID netboot)" = "$before"
systemctl disable --now netboot netboot-panel
! systemctl is-active netboot netboot-panel
"""
LEFT = "find / -xdev -path /build -prune -o -iname '*netboot*' -print | grep -v '^/netboot-classroom.*deb$'"


class Machine:
    """A system and what is done in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, commands: str, *, network: bool = True, status: int = 0) -> str:
        """Run ``commands`` as root; return all that they print."""
        done = subprocess.run(
            chroots.entered(self.root, "root", f"set -eu\n{commands}", network=network),
            env=chroots.ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout


@pytest.mark.parametrize("release", chroots.RELEASES)
def test_the_package_is_installed_serves_and_is_purged(release: str, tmp_path: Path) -> None:
    made = build(release, tmp_path)
    with chroots.system(release, SYSTEM) as root:
        machine, package = Machine(root), root / made.name
        package.write_bytes(made.read_bytes())
        install = f"{APT} install ./{package.name}"

        # Where `fab deploy` has a server nothing is installed.
        (root / "opt/netboot").mkdir(parents=True)
        (root / "opt/netboot/current").symlink_to("releases/one")
        told = machine.run(f"cd /; {APT} update >/dev/null; {install}", status=100)
        assert "'fab deploy' has installed this machine's server; remedy: fab uninstall" in told
        machine.run("rm -r /opt/netboot; test ! -e /usr/bin/netboot")

        machine.run(f"cd /; {install}")
        machine.run("netboot --version; netboot check")
        folder = machine.run(f"stat -c %U:%a {layout.STATE}")
        assert folder == f"netboot:{layout.STATE_MODE:o}\n", "netboot restore writes there"
        machine.run("id netboot; id -Gn netboot-panel | grep -w netboot")
        scripts = "/var/lib/dpkg/info/netboot-classroom"
        stops = machine.run(f"grep -l 'systemd-invoke stop' {scripts}.preinst {scripts}.prerm || :")
        assert stops.split() == [f"{scripts}.prerm"], "an upgrade stops no server"
        units = " ".join(f"{name}.service" for name in UNITS)
        told = machine.run(f"systemd-analyze verify --man=no {units} || true")
        assert not [line for line in told.splitlines() if "netboot" in line], told
        enabled = machine.run("find /etc/systemd -name 'netboot*'")
        assert not enabled, "nothing starts before the operator says so"
        told = machine.run("netboot service activate one", status=2)
        assert "the Debian package netboot-classroom has this machine's server" in told

        (root / str(layout.PROFILE).lstrip("/")).write_text(PROFILE)
        machine.run(BUILD_IMAGES)
        machine.run(SERVE, network=False)
        with booted(root, tmp_path / "console") as inside:
            inside.run(UPGRADE)
        machine.run(f"cd /; {install} --reinstall; cat {layout.PROFILE} | grep lan0")

        machine.run(f"{APT} purge netboot-classroom")
        left = machine.run(f"{LEFT} || true").split()
        assert left == []
