"""Machines on one bridge, each a network namespace with a thread of this process inside."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")
CLONE_NEWNET = 0x40000000


def enter(pid: int) -> None:
    """Have this thread use the network namespace of a process."""
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.setns(descriptor, CLONE_NEWNET)
    os.close(descriptor)
    assert result == 0, os.strerror(ctypes.get_errno())


class Machine:
    """A namespace. What ``do`` makes there (sockets, threads, processes) stays there."""

    def __init__(self) -> None:
        words = ["unshare", "--net", "sh", "-c", "ip link set lo up; echo up; exec sleep infinity"]
        self._holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "up\n"
        self.pid = self._holder.pid
        self._thread = ThreadPoolExecutor(1, initializer=enter, initargs=(self.pid,))

    def do(self, call: Callable[[], Result]) -> Result:
        """Call in the namespace."""
        return self._thread.submit(call).result()

    def run(self, script: str) -> None:
        """Run a shell script in the namespace."""
        words = ["nsenter", "-t", str(self.pid), "-n", "sh", "-ec", script]
        subprocess.run(words, check=True, timeout=60)

    def end(self) -> None:
        """Leave and remove the namespace."""
        self._thread.shutdown()
        self._holder.kill()
        self._holder.communicate()


@contextmanager
def bridged(**addresses: str) -> Iterator[dict[str, Machine]]:
    """Yield machines by name, with these addresses in one /24. The first one has the bridge."""
    machines = {name: Machine() for name in addresses}
    (first, here), *others = machines.items()
    try:
        here.run(
            "ip link add br0 type bridge forward_delay 0; ip link set br0 up; "
            f"ip address add {addresses[first]}/24 dev br0"
        )
        for name, machine in others:
            here.run(
                f"ip link add {name} type veth peer name eth0 netns {machine.pid}; "
                f"ip link set {name} master br0 up"
            )
            machine.run(f"ip address add {addresses[name]}/24 dev eth0; ip link set eth0 up")
        yield machines
    finally:
        for machine in machines.values():
            machine.end()
