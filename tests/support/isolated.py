"""A machine for one test: network, processes, mounts, /run and /dev/shm of its own."""

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
sleep infinity & wait # the first process there buries those that lose their parents
"""


class Isolated:
    """``pid`` is the first process in there."""

    def __init__(self, pid: int, environment: Mapping[str, str]) -> None:
        self._command = ["nsenter", "--target", str(pid), "--net", "--mount", "--pid"]
        self._environment = {**os.environ, **environment}

    def run(
        self, *command: str | Path, timeout: float = 60.0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command of the checkout in there; output and errors are in ``stdout``."""
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
        """The names of all processes in there, but the first and those that ask."""
        lines = self.run("ps", "-e", "-o", "pid=,comm=").stdout.splitlines()
        names = {name for pid, name in map(str.split, lines) if pid != "1"}
        return sorted(names - {"sleep", "ps"})

    def links(self) -> list[str]:
        """The names of all network interfaces in there."""
        listed = self.run("ip", "-brief", "link").stdout
        return [line.split()[0] for line in listed.splitlines()]


@contextmanager
def isolated(**environment: str) -> Iterator[Isolated]:
    """Such a machine; all that runs in there ends with it."""
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
