"""A machine for one test, with its own network, processes, mounts, /run and /dev/shm."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests import ROOT

NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
PREPARE = """
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /dev/shm
umount -l /sys; mount -t sysfs sysfs /sys
ip link set lo up
echo ready
sleep infinity & wait # the first process reaps orphans
"""


class Isolated:
    """A running machine. ``pid`` is its first process."""

    def __init__(self, pid: int, environment: Mapping[str, str]) -> None:
        self._command = ["nsenter", "--target", str(pid), "--net", "--mount", "--pid"]
        self._environment = {**os.environ, **environment}

    def run(
        self, *command: str | Path, timeout: float = 300.0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command of the checkout in the machine; output and errors are in ``stdout``."""
        return subprocess.run(
            [*self._command, "env", f"--chdir={ROOT}", *command],
            env=self._environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def processes(self) -> list[str]:
        """Return the names of all processes, except the first and those of this query."""
        lines = self.run("ps", "-e", "-o", "pid=,comm=").stdout.splitlines()
        names = {name for pid, name in map(str.split, lines) if pid != "1"}
        return sorted(names - {"sleep", "ps"})

    def links(self) -> list[str]:
        """Return the names of all network interfaces."""
        listed = self.run("ip", "-brief", "link").stdout
        return [line.split()[0] for line in listed.splitlines()]


@contextmanager
def isolated(**environment: str) -> Iterator[Isolated]:
    """Yield a machine; all its processes end with it."""
    with subprocess.Popen(
        [*NAMESPACES, "sh", "-e", "-c", PREPARE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        try:
            yield Isolated(int(children[0]), environment)
        finally:
            first.kill()
