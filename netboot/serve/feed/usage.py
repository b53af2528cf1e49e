"""The server's own use of the machine: CPU, memory, how late its event loop is, room on a disk."""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from netboot.host import processes

BLOCK_BYTES = 512  # of st_blocks (stat(2))
LOOK_SECONDS = 0.1


class Lag:
    """The time by which the event loop was late, looked at ten times a second."""

    def __init__(self) -> None:
        self._worst = 0.0

    async def watch(self) -> NoReturn:
        """Look for as long as the server runs."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            self._worst = max(self._worst, loop.time() - due)

    def take(self) -> float:
        """Return the worst since the last call, in seconds."""
        worst, self._worst = self._worst, 0.0
        return worst


class Processor:
    """The CPU time of this process and of its page workers."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._spent: dict[int, float] = {}
        self.of_workers = 0.0  # seconds since the begin

    def take(self, workers: Iterable[int]) -> float:
        """Return what they used since the last call, of one CPU: 1.0 is all of it."""
        now, own = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        spent = {os.getpid(): own.ru_utime + own.ru_stime}
        for pid in workers:
            with contextlib.suppress(OSError, ValueError, IndexError):
                spent[pid] = processes.own_cpu_seconds(pid)
        # A worker that is new has used what it used since then.
        steps = {
            pid: max(0.0, seconds - self._spent.get(pid, 0.0)) for pid, seconds in spent.items()
        }
        own_step = steps.pop(os.getpid())
        self.of_workers += sum(steps.values())
        used = own_step + sum(steps.values())
        elapsed, first = max(now - self._at, 1e-3), not self._spent
        self._at, self._spent = now, spent
        return 0.0 if first else used / elapsed


def resident() -> int:
    """Return the bytes of RAM that this process has."""
    words = Path("/proc/self/statm").read_text().split()
    return int(words[1]) * resource.getpagesize()


def disk(folder: Path) -> tuple[int, int]:
    """Return the free and all bytes of the file system of a folder; zeros if that is not known."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0, 0
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def stored(paths: Iterable[str]) -> int:
    """Return the bytes that files take, as far as they exist."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += os.stat(path).st_blocks * BLOCK_BYTES
    return total
