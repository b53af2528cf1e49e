"""A LAN of PCs with a real sshd each: namespaces for network, names, mounts and processes.

They share this machine's files. Each has a layer of its own above /etc, /usr, /var, /boot, /opt,
/tmp and /dev/shm, which is lost at its end. They have no systemd, like a container.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tests import ROOT

Serve = Callable[..., list[dict[str, Any]]]  # the fixture `serve`
FAB = [sys.executable, "-m", "fabric"]
NETWORK = "192.168.78"
HERE = f"{NETWORK}.250"  # where `fab` runs

# With a fixed address: netboot/lab/network.py gives the reason.
HERE_MAC = "52:54:00:77:ff:02"
LAN = f"""ip link set lo up; ip link add br0 address {HERE_MAC} type bridge forward_delay 0
ip address add {HERE}/24 dev br0; ip link set br0 up; echo ready; exec sleep infinity"""

# $1: number of the PC, $2: folder with its keys.
PC = f"""set -e
hostname "pc$1"
until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip link set lo up; ip address add {NETWORK}.1$1/24 dev eth0; ip link set eth0 up
mount -t tmpfs tmpfs /mnt
for folder in etc usr var; do
    mkdir "/mnt/$folder" "/mnt/$folder-work"
    mount -t overlay overlay \\
        -o "lowerdir=/$folder,upperdir=/mnt/$folder,workdir=/mnt/$folder-work" "/$folder"
done
cp "$2/host_key" "$2/authorized_keys" "$2/sshd_config" /etc/ssh/
for folder in /boot /opt /run /dev/shm /tmp; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
chmod 755 /boot /opt /run; rm -rf /etc/netboot /var/lib/netboot
mkdir -m 755 /run/sshd
exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config"""

SSHD = """HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
"""


def _inside(pid: int) -> list[str]:
    return ["nsenter", "-t", str(pid), "--net", "--uts", "--mount", "--pid"]


@dataclass
class Pc:
    """A running PC. ``root`` is the folder of its files."""

    number: int
    process: subprocess.Popen[bytes]

    @property
    def name(self) -> str:
        return f"pc{self.number}"

    @property
    def address(self) -> IPv4Address:
        return IPv4Address(f"{NETWORK}.1{self.number}")

    @property
    def pid(self) -> int:
        """Return the process id of its process 1, the only child of `unshare`."""
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return int(Path(children).read_text())

    def path(self, inside: str) -> Path:
        return Path(f"/proc/{self.pid}/root{inside}")

    def run(self, script: str) -> str:
        """Run a command as root on the PC; return its output."""
        command = [*_inside(self.pid), "sh", "-c", script]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def start(self, script: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*_inside(self.pid), "sh", "-c", script], text=True)


class Lan:
    """The switch, and ``folder`` with key and known hosts of the user of `fab`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pcs: dict[int, Pc] = {}
        self.key = folder / "key"
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.touch()
        _keygen(self.key)
        self._process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", LAN], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def add(self, number: int) -> Pc:
        """Switch a PC on; its host key is known."""
        folder = self.folder / f"pc{number}"
        folder.mkdir()
        _keygen(folder / "host_key")
        (folder / "authorized_keys").write_text(self.key.with_suffix(".pub").read_text())
        (folder / "sshd_config").write_text(SSHD)
        with (folder / "sshd.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *("unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc"),
                    *("--kill-child", "sh", "-c", PC, "sh", str(number), str(folder)),
                ],
                stdout=log,
                stderr=log,
            )
        pc = self.pcs[number] = Pc(number, process)
        lan = f"/proc/{self._process.pid}/ns/net"
        while not _has_namespace_of_its_own(process.pid, lan):
            time.sleep(0.01)
        cable = (
            f"ip link add pc{number} type veth peer name eth0 netns {process.pid}; "
            f"ip link set pc{number} master br0 up"
        )
        subprocess.run(["nsenter", f"--net={lan}", "sh", "-ec", cable], check=True)
        self.know(pc, folder / "host_key.pub")
        while "Server listening on 0.0.0.0 port 22" not in (folder / "sshd.log").read_text():
            assert process.poll() is None, (folder / "sshd.log").read_text()
            time.sleep(0.02)
        return pc

    def know(self, pc: Pc, public: Path) -> None:
        """Put a host key into known_hosts."""
        with self.known_hosts.open("a") as file:
            file.write(f"{pc.address} {' '.join(public.read_text().split()[:2])}\n")

    def command(self, *words: str) -> list[str]:
        """Return the command that runs ``words`` on the LAN, beside the PCs."""
        return ["nsenter", f"--net=/proc/{self._process.pid}/ns/net", *words]

    def fab(self, *words: str, keys: bool = True) -> tuple[int, str]:
        """Run a task of fabfile.py; return status and output. ``keys``: it connects to machines."""
        if keys:
            words += ("--key", str(self.key), "--known-hosts", str(self.known_hosts))
        done = subprocess.run(
            self.command(*FAB, *words), cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def close(self) -> None:
        for process in (*(pc.process for pc in self.pcs.values()), self._process):
            process.kill()
            process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _has_namespace_of_its_own(pid: int, lan: str) -> bool:
    here = Path("/proc/self/ns/net").readlink()
    return Path(f"/proc/{pid}/ns/net").readlink() not in (here, Path(lan).readlink())


def _keygen(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True
    )
