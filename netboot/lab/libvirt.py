"""libvirt for virtual PCs (``vagrant up``): a libvirtd of our own, the bridge, the boot server.

The machine's own libvirtd is not touched, and systemd is not needed. Our libvirtd and its virtual
PCs are in process and mount namespaces that hold its settings and files. The server and its pages
are in other ones. The kernel removes all of that when the first process of the namespaces ends.
Other programs see FOLDER alone: libvirtd's socket, the PCs' serial consoles, logs.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.programs import check_installed, run
from netboot.lab.network import PRIVATE_TMPFS, ip, make_bridge
from netboot.serve.http.status import is_there

FOLDER = Path("/run/netboot-lab")
SOCKETS = FOLDER / "libvirt"
URI = f"qemu:///system?socket={SOCKETS}/libvirt-sock"
STATE = FOLDER / "state"
NETWORK = "netboot-lab"  # the Vagrantfile has the same name, and FOLDER
LIBVIRTD, SERVER = "libvirtd", "server"
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 60.0, 10.0, 0.05
LOG_LINES = 10

_BRIDGE = FOLDER / "bridge"  # name and address of the bridge that we made
_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# Without /sys/fs/cgroup and D-Bus libvirtd makes no cgroups and asks systemd-machined for none.
# user: libvirtd looks up libvirt-qemu even if it is unused, and the package libvirt-daemon does not
# make it. If PCs run as another user than root and only root may open /dev/kvm, libvirtd examines
# QEMU for 4 s at each request. stdio_handler: no virtlogd.
_LIBVIRTD = f"""
umount -l /sys; mount -t sysfs sysfs /sys
for folder in /etc/libvirt /var/lib /var/cache /var/log; do mount -t tmpfs tmpfs $folder; done
mkdir /var/lib/folder; mount --bind {FOLDER} /var/lib/folder
mount -t tmpfs tmpfs /run
mkdir -p {FOLDER} /run/libvirt
mount --move /var/lib/folder {FOLDER}; mount --bind {SOCKETS} /run/libvirt
for file in passwd group; do
    {{ cat /etc/$file; echo libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin; }} >/etc/libvirt/$file
    mount --bind /etc/libvirt/$file /etc/$file
done
cat >/etc/libvirt/qemu.conf <<-END
	user = "root"
	group = "root"
	security_driver = "none"
	stdio_handler = "file"
	namespaces = []
END
cat >/etc/libvirt/libvirtd.conf <<-END
	auth_unix_ro = "none"
	auth_unix_rw = "none"
	unix_sock_group = "root"
	unix_sock_rw_perms = "0777"
END
/usr/sbin/libvirtd &
wait $! # not exec: the first process must reap the QEMUs that libvirtd leaves
"""
# The pages of PCs end with the server.
_SERVER = f'mount -t tmpfs tmpfs {PRIVATE_TMPFS}; exec "$@"'


def check_programs() -> None:
    """Raise OperatorError, with the Debian package, if a part is not installed."""
    check_installed(
        {
            "/usr/sbin/libvirtd": "libvirt-daemon",
            "virsh": "libvirt-clients",
            "qemu-system-x86_64": "qemu-system-x86",
        }
    )


def up(bridge: str, address: IPv4Interface) -> None:
    """Start libvirtd, a network around ``bridge`` and the storage pool ``default``.

    Parts that run already stay. Raises OperatorError.
    """
    with _alone():
        _add_bridge(bridge, address)
        if _pid(LIBVIRTD) is None:
            _start_libvirtd()
        if NETWORK not in _virsh("net-list", "--name").stdout.split():
            _create(
                "net-create",
                f"<network><name>{NETWORK}</name><forward mode='bridge'/>"
                f"<bridge name='{bridge}'/></network>",
            )
        # vagrant-libvirt asks for it even for a PC without a disk.
        if "default" not in _virsh("pool-list", "--name").stdout.split():
            _create(
                "pool-create",
                "<pool type='dir'><name>default</name>"
                "<target><path>/var/lib/libvirt/images</path></target></pool>",
                "--build",
            )


def start_server(command: list[str], http: str) -> None:
    """Start the boot server ``command``, unless one answers at ``http``; return when it serves.

    Raises OperatorError with the last lines of its log.
    """
    with _alone():
        if not is_there(http):
            _end(SERVER)
            server = _contain(SERVER, _SERVER, command)
            _await(server, SERVER, lambda: is_there(http))


def pcs() -> list[str]:
    """Return the names of the virtual PCs that libvirt knows, switched on or not."""
    return _virsh("list", "--all", "--name").stdout.split() if _pid(LIBVIRTD) is not None else []


def down(*, unused: bool = False) -> bool:
    """End server, virtual PCs and libvirtd; remove bridge and folder. Return whether none is left.

    With ``unused`` do this only if there are no virtual PCs.
    """
    if not FOLDER.exists():
        return True
    with _alone():
        if unused and pcs():
            return False
        _end(SERVER)
        _end(LIBVIRTD)
        if _BRIDGE.exists() and (bridge := _BRIDGE.read_text().split()[0]) in _links():
            ip("link", "delete", bridge)
        shutil.rmtree(FOLDER)
        return True


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Make FOLDER if it is missing, and hold its lock."""
    while True:
        FOLDER.mkdir(mode=0o755, exist_ok=True)
        descriptor = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The last holder of the lock may have removed the folder.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), FOLDER.stat()):
                    yield
                    return
        finally:
            os.close(descriptor)


def _add_bridge(bridge: str, address: IPv4Interface) -> None:
    wanted, links = f"{bridge} {address}", _links()
    if _BRIDGE.exists() and _BRIDGE.read_text() != wanted:
        raise OperatorError(
            f"bridge {wanted}: virtual PCs are on bridge {_BRIDGE.read_text()} already",
            hint="sudo netboot lab libvirt down",
        )
    if _BRIDGE.exists() and bridge in links:
        return
    if bridge in links:
        raise OperatorError(
            f"network interface '{bridge}' exists already, and is not ours",
            hint="give the profile's key 'interface' a new name: up makes a bridge of that name",
        )
    for device, network in _networks():
        if network.overlaps(address.network):
            raise OperatorError(
                f"{address.network} is not free: {device} is on {network}",
                hint="change vagrant.address and dhcp.range in the profile",
            )
    _BRIDGE.write_text(wanted)
    make_bridge(bridge, address)


def _links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _networks() -> Iterator[tuple[str, IPv4Network]]:
    done = run(["ip", "-json", "-4", "address"], package="iproute2")
    for link in json.loads(done.stdout):
        for entry in link["addr_info"]:
            yield link["ifname"], IPv4Interface(f"{entry['local']}/{entry['prefixlen']}").network


def _start_libvirtd() -> None:
    shutil.rmtree(SOCKETS, ignore_errors=True)
    SOCKETS.mkdir(mode=0o700)
    if "SUDO_UID" in os.environ:  # vagrant runs without sudo
        os.chown(SOCKETS, int(os.environ["SUDO_UID"]), -1)
    libvirtd = _contain(LIBVIRTD, _LIBVIRTD, [])
    _await(libvirtd, LIBVIRTD, lambda: _virsh("uri", check=False).returncode == 0)


def _contain(name: str, script: str, words: list[str]) -> "subprocess.Popen[bytes]":
    """Start the shell text ``script`` in namespaces of its own; its ``$@`` is ``words``."""
    with (FOLDER / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*_NAMESPACES, "sh", "-e", "-c", script, str(FOLDER), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (FOLDER / f"{name}.pid").write_text(f"{process.pid}\n")
    return process


def _pid(name: str) -> int | None:
    """Return the process that waits for the namespaces of ``name`` to end, None if they ended."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((FOLDER / f"{name}.pid").read_text())
        # Another process may have the number by now: ours has the folder in its command line.
        if str(FOLDER).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    return None


def _end(name: str) -> None:
    """End the namespaces of ``name``; return when all their processes have ended."""
    pid = _pid(name)
    if pid is None:
        return
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    deadline = time.monotonic() + STOP_SECONDS
    while _pid(name) == pid:
        if time.monotonic() > deadline:
            raise OperatorError(f"{name} process {pid} still runs {STOP_SECONDS:g} s after SIGKILL")
        time.sleep(POLL_SECONDS)


def _await(process: "subprocess.Popen[bytes]", name: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            log = (FOLDER / f"{name}.log").read_text(errors="replace").splitlines()
            ended = "does not answer" if process.returncode is None else "has ended"
            raise OperatorError("\n  ".join([f"{name} {ended}:", *log[-LOG_LINES:]]))
        time.sleep(POLL_SECONDS)


def _virsh(*words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return run(
        ["virsh", "--quiet", "--connect", URI, *words],
        problem=f"virsh {words[0]} failed",
        hint=f"libvirtd's messages are in {FOLDER / LIBVIRTD}.log",
        check=check,
    )


def _create(verb: str, xml: str, *options: str) -> None:
    """Make a network or pool that lasts as long as libvirtd runs."""
    with tempfile.NamedTemporaryFile("w", dir=FOLDER) as file:
        file.write(xml)
        file.flush()
        _virsh(verb, file.name, *options)
