"""Machines for one test: anonymous network namespaces with cables between them.

The kernel removes a machine and its cables with its last process.
"""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from tests import ROOT

T = TypeVar("T")
CLONE_NEWNET = 0x40000000  # linux/sched.h


class Machine:
    """A network namespace. ``pid`` is a process in it, which ends with ``stack``."""

    def __init__(self, stack: ExitStack) -> None:
        script = "ip link set lo up; echo; exec sleep infinity"
        words = ["unshare", "--net", "sh", "-c", script]
        holder = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        stack.enter_context(holder)
        stack.callback(holder.kill)
        assert holder.stdout is not None
        holder.stdout.readline()
        self.pid = holder.pid

    def command(self, *words: str | Path) -> list[str]:
        """Return the command that runs ``words`` here."""
        enter = ["nsenter", "--target", str(self.pid), "--net"]
        return [*enter, "env", f"PYTHONPATH={ROOT}", *map(str, words)]

    def run(self, *words: str | Path) -> None:
        """Run a command here. Raises CalledProcessError."""
        subprocess.run(self.command(*words), check=True, capture_output=True)

    def configure(self, *lines: str) -> None:
        """Run lines of ip(8)."""
        batch = self.command("ip", "-batch", "-")
        subprocess.run(batch, input="\n".join(lines), text=True, check=True)

    def filter(self, rules: str) -> None:
        """Add rules of nft(8), the chains of one table."""
        table = f"table ip test {{\n{rules}\n}}\n"
        subprocess.run(self.command("nft", "-f", "-"), input=table, text=True, check=True)

    def call(self, work: Callable[[], T]) -> T:
        """Call ``work`` in a thread that is here: its sockets are of this machine."""

        def enter() -> T:
            libc = ctypes.CDLL(None, use_errno=True)
            descriptor = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
            try:
                if libc.setns(descriptor, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(descriptor)
            return work()

        with ThreadPoolExecutor(max_workers=1) as threads:
            return threads.submit(enter).result()


def connect(
    one: Machine, other: Machine, addresses: Mapping[Machine, str], mtu: int = 1500
) -> None:
    """Lay a cable between two machines; ``addresses`` are those of its ends, with their prefix."""
    name = f"c{addresses[one].split('/')[0].replace('.', '')}"
    peer = f"name {name} mtu {mtu} netns {other.pid}"
    one.configure(f"link add {name} mtu {mtu} type veth peer {peer}")
    for machine, address in addresses.items():
        machine.configure(f"addr add {address} dev {name}", f"link set {name} up")


@contextmanager
def machines(number: int) -> Iterator[list[Machine]]:
    """Yield so many machines without cables."""
    with ExitStack() as stack:
        yield [Machine(stack) for _ in range(number)]
