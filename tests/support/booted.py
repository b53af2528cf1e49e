"""systemd as process 1 of a system in a folder, in namespaces of its own. Needs root and cgroup v2.

It has no network but loopback. Its groups of processes are below one of ours, and go with it.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.chroots import ENVIRONMENT, PATH

NAMESPACES = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup", "--kill-child")
DEVICES = "null zero full random urandom tty"
SECONDS = 300.0  # for the start, on a busy machine
# $1: the system, $2: our group, $3: a file for the console.
START = f"""
echo 0 >"$2/cgroup.procs"
exec unshare {" ".join(NAMESPACES)} sh -euc '
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sys "$1/sys"
mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$1/run"
mount -t tmpfs -o mode=755 tmpfs "$1/dev"
for each in {DEVICES}; do touch "$1/dev/$each"; mount --bind "/dev/$each" "$1/dev/$each"; done
mkdir "$1/dev/pts" "$1/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
ln -s /proc/self/fd "$1/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
touch "$1/dev/console"; mount --bind "$2" "$1/dev/console"
hostname booted
cd "$1"; mkdir -p .old; pivot_root . .old; cd /; umount -l /.old; rmdir /.old
exec env -i container=unshare PATH={PATH} /lib/systemd/systemd \\
    systemd.unified_cgroup_hierarchy=1 >/dev/console 2>&1 </dev/null
' sh "$1" "$3"
"""


class Booted:
    """A system that systemd runs."""

    def __init__(self, leader: int) -> None:
        self._enter = ["nsenter", f"--target={leader}", *(f"-{each}" for each in "mpuinC")]

    def run(self, commands: str) -> str:
        """Run ``commands`` of sh as root; return all that they print."""
        done = subprocess.run(
            [*self._enter, "sh", "-euc", commands],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@contextmanager
def booted(root: Path, console: Path) -> Iterator[Booted]:
    """Start systemd in the folder ``root``, with its console in a file; yield it, and end it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    group = Path(
        next(each[1] for each in mounts if each[2] == "cgroup2"), f"netboot-{root.parent.name}"
    )
    group.mkdir()
    console.touch()
    starter = subprocess.Popen(["sh", "-euc", START, "sh", str(root), str(group), str(console)])
    try:
        yield Booted(_leader(starter, console))
    finally:
        starter.kill()  # and with it process 1, and all in its namespace
        starter.wait()
        _remove(group)


def _leader(starter: "subprocess.Popen[bytes]", console: Path) -> int:
    """Return the number of process 1 here, once systemd has started."""
    end, children = (
        time.monotonic() + SECONDS,
        Path(f"/proc/{starter.pid}/task/{starter.pid}/children"),
    )
    while time.monotonic() < end and starter.poll() is None:
        for child in children.read_text().split():
            ready = [
                "nsenter",
                f"--target={child}",
                "-m",
                "-p",
                "-C",
                "systemctl",
                "is-system-running",
            ]
            told = subprocess.run(
                ready, env=ENVIRONMENT, capture_output=True, text=True, check=False
            )
            if told.stdout.strip() in ("running", "degraded"):  # it has no terminal to log in at
                return int(child)
        time.sleep(0.5)
    raise AssertionError(f"systemd did not start: {console.read_text(errors='replace')}")


def _remove(group: Path) -> None:
    """Remove a group of processes with those below it, once the processes are gone."""
    end = time.monotonic() + SECONDS
    while group.exists() and time.monotonic() < end:
        for each in sorted(group.rglob("*/"), reverse=True):
            _rmdir(each)
        _rmdir(group)
        time.sleep(0.1)


def _rmdir(group: Path) -> None:
    try:
        group.rmdir()
    except OSError:  # a process ends just now
        return
