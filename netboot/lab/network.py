"""The virtual classroom's network: anonymous namespaces, a bridge, one tap for each PC.

The namespaces have no name and no file: the kernel takes them away, with bridge, taps and every
process inside, when the last process in them ends. So nothing is left behind by a crash, by
Ctrl-C, or by ``kill -9``; and no packet of the lab can reach a real network.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from types import FrameType
from typing import NoReturn

from netboot.errors import OperatorError
from netboot.host.programs import run

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000  # <linux/sched.h>
MS_REC, MS_PRIVATE = 0x4000, 1 << 18  # <linux/mount.h>
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

PRIVATE_TMPFS = Path("/dev/shm")
BRIDGE = "lab0"
# Given by us, or a bridge has the lowest of its ports' and so another one whenever a PC or a server
# comes or goes; then the others' ARP tables are wrong, for up to half a minute.
BRIDGE_MAC = "52:54:00:77:ff:01"
BRIDGE_OPTIONS = ("forward_delay", "0", "mcast_snooping", "0")
SERVER = IPv4Interface("10.77.0.1/24")
ROUTER = IPv4Interface("10.77.0.254/24")
# Debian's iPXE of 2019 waits 13 s for an IPv6 router where there is none, so the lab has one.
ROUTER_IPV6 = IPv6Interface("fd77::1/64")

_libc = ctypes.CDLL(None, use_errno=True)


def server_address(number: int) -> IPv4Interface:
    """The address of the server with that number; the first one boots the PCs."""
    return IPv4Interface(f"{SERVER.ip + number - 1}/{SERVER.network.prefixlen}")


def servers_setting(count: int) -> str:
    """``KEY=VALUE`` for a profile whose page servers these are."""
    addresses = (str(server_address(number).ip) for number in range(1, count + 1))
    return f"swap.servers={','.join(addresses)}"


def check_root() -> None:
    """Raises OperatorError for a user who cannot have a virtual network."""
    if os.geteuid() != 0:
        raise OperatorError(
            "the lab makes virtual networks and needs root", hint="sudo .venv/bin/netboot lab ..."
        )


def run_isolated(body: Callable[[], int]) -> NoReturn:
    """Runs ``body`` in a child with network, process and mount namespaces of its own, then exits.

    The exit status is what ``body`` returned. Signals that ask to stop are passed on to it; when
    this process dies, the kernel kills the child and all that it started. Raises OperatorError
    where there can be no namespaces.
    """
    if _libc.unshare(CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWNS) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise OperatorError(
            f"cannot make a network namespace: {reason}",
            hint="is this a container without CAP_SYS_ADMIN?",
        )
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os._exit(_in_child(body))

    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def _in_child(body: Callable[[], int]) -> int:
    os.setpgid(0, 0)  # the terminal's Ctrl-C comes once, through the parent
    _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    _libc.mount(b"proc", b"/proc", b"proc", 0, None)
    # A new network namespace shows its own devices in /sys only after a fresh mount.
    _libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None)
    # Page files and leases of the lab's server vanish with the namespace.
    _libc.mount(b"tmpfs", str(PRIVATE_TMPFS).encode(), b"tmpfs", 0, None)
    try:
        ip("link", "set", "lo", "up")
        status = body()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def ip(*arguments: str) -> None:
    """Run iproute2's ``ip``. Raises OperatorError."""
    run(["ip", *arguments], package="iproute2")


def make_bridge(name: str = BRIDGE, address: IPv4Interface = SERVER) -> None:
    """Makes a classroom's switch, with the server's address on it."""
    ip("link", "add", name, "address", BRIDGE_MAC, "type", "bridge", *BRIDGE_OPTIONS)
    ip("address", "add", str(address), "dev", name)
    ip("link", "set", name, "up")


def add_tap(name: str) -> None:
    """Plugs a tap device, one PC's cable, into the bridge."""
    ip("tuntap", "add", name, "mode", "tap")
    ip("link", "set", name, "master", BRIDGE, "up")
