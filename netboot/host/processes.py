"""Processes as /proc shows them: process trees, and the CPU time that they have used."""

import contextlib
import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return the process ``pid`` and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found = [pid]
    for each in found:
        found.extend(children.get(each, ()))
    return found


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process tree, in seconds.

    This includes children that ended and were reaped. The resolution is a tick, 10 ms (proc(5),
    /proc/pid/stat).
    """
    total = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            total += sum(int(word) for word in _stat(each)[11:15])
    return total / TICKS


def own_cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process without its children. Raises OSError."""
    return sum(int(word) for word in _stat(pid)[11:13]) / TICKS


def _stat(pid: int) -> list[str]:
    """Return /proc/PID/stat from the third field on; the second may contain blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
